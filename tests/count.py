"""Adds up what the test runners said and closes with one line that says how many tests ran."""

import re
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / ".work/results"
ANSI = re.compile(r"\x1b\[[0-9;]*m")

# What each runner's closing lines look like: cargo test, pytest, vitest.
PATTERNS = {
    "cargo": re.compile(
        r"test result: \w+\. (?P<passed>\d+) passed; (?P<failed>\d+) failed; (?P<skipped>\d+) ignored"
    ),
    "pytest": re.compile(
        r"^(?=.* in [\d.]+s)(?:.*?(?P<failed>\d+) failed)?(?:.*?(?P<passed>\d+) passed)?"
        r"(?:.*?(?P<skipped>\d+) skipped)?",
        re.M,
    ),
    "vitest": re.compile(
        r"^\s*Tests\s+(?:(?P<failed>\d+) failed \| )?(?P<passed>\d+) passed(?: \| (?P<skipped>\d+) skipped)?",
        re.M,
    ),
}


def main() -> int:
    total = {"passed": 0, "failed": 0, "skipped": 0}
    for path in sorted(RESULTS.glob("*.txt")):
        text = ANSI.sub("", path.read_text(errors="replace"))
        counts = dict.fromkeys(total, 0)
        for pattern in PATTERNS.values():
            for found in pattern.finditer(text):
                for name, number in found.groupdict().items():
                    counts[name] += int(number or 0)
        print(
            f"{path.stem}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped"
        )
        for name, number in counts.items():
            total[name] += number
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return 0 if total["passed"] and not total["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
