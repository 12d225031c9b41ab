"""Compares the instructions that each stage of the flow takes with the committed counts: `counts.py PROGRAM [--write]`.

A count of instructions is the same from run to run, which a time on a shared machine is not. It says nothing of waiting
and of caches; it says whether a stage does more than it did.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = Path(__file__).with_name("counts.json")
TOLERANCE = 0.10
PROGRAM = "*llmtrail_counts::"


def counted(program: str) -> dict[str, int]:
    """The instructions of each stage, for one exchange or event of the corpus."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                "valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out",
                f"--toggle-collect={PROGRAM}counted*", f"--dump-before={PROGRAM}written*",
                program, str(ROOT / "tests/corpus"),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(done.stderr)
        stages = [line.split() for line in done.stdout.splitlines()]
        counts = {}
        for number, (stage, items) in enumerate(stages, 1):
            (total,) = re.findall(r"^totals: (\d+)", Path(f"{folder}/out.{number}").read_text(), re.MULTILINE)
            counts[stage] = int(total) // int(items)
        return counts


def main() -> None:
    counts = counted(sys.argv[1])
    if "--write" in sys.argv:
        COMMITTED.write_text(json.dumps(counts, indent=2) + "\n")
    committed = json.loads(COMMITTED.read_text())
    print("| stage | instructions an event | committed | |\n|---|---|---|---|")
    for stage, count in counts.items():
        before = committed.get(stage)
        change = f"{count / before - 1:+.1%}" if before else "new"
        print(f"| {stage} | {count:,} | {before or 0:,} | {change} |")
    moved = {
        stage: (count, committed.get(stage))
        for stage, count in counts.items()
        if stage not in committed or abs(count / committed[stage] - 1) > TOLERANCE
    }
    if moved or counts.keys() != committed.keys():
        raise SystemExit(
            f"Not within {TOLERANCE:.0%} of {COMMITTED.relative_to(ROOT)}: {', '.join(moved) or 'its stages'}. What is "
            "slower needs a reason; if it has one, or if it is quicker, `make counts WRITE=--write` renews the counts."
        )


if __name__ == "__main__":
    main()
