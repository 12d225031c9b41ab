"""Merges what the end-to-end tests proved into docs/coverage.md.

    coverage.py ROWS.jsonl... --write    writes the page
    coverage.py ROWS.jsonl... --check    fails where the committed page says something else
    coverage.py --tested                 writes what `doctor` knows of it from the committed page; --agree checks that

A row is `{"language", "sdk", "version", "call", "checks": {"recorded": "ok", ...}}`; a check that is not `ok` is the
reason why there is nothing to prove. Tests write them to the file that `LLMTRAIL_COVERAGE` names.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/coverage.md"
# What `doctor` knows of it: SDK to its oldest and newest version.
TESTED = ROOT / "core/src/doctor/tested.json"
COLUMNS = (
    "recorded", "scope", "tokens", "cost", "errors", "tool_calls", "stream", "stream_left", "stream_cut", "retries",
    "wire", "caller",
)  # fmt: skip
HEAD = """# What is covered

Made by the end-to-end tests themselves (`make coverage`): a row is a test of one call of one version of one SDK, made
through the real SDK against a server on loopback that plays the provider. `instrument()`: the process was observed and
the client was not wrapped.

| column | ok says |
|---|---|
| recorded | the call is one event, with the output that the provider gave |
| scope | it is in the trace, session and user that it was made in |
| tokens | they are those of the provider's answer |
| cost | it is the sum of its parts, and the one worked out by hand where there is one |
| errors | status, type and message are the provider's |
| tool_calls | they are in the output |
| stream, stream_left, stream_cut | a stream read to its end, left early, or cut by the connection is recorded as such |
| retries | attempts of the SDK's own are one event that says how many |
| wire | the server gets the same bytes and headers as without llmtrail |
| caller | the caller gets the same items as without llmtrail |

A letter stands for the reason why there is nothing to prove; the reasons are below the tables. `–`: the tests of that
language do not look at it in this row.
"""


def rows_of(paths: list[str]) -> list[dict]:
    found = {}
    for path in paths:
        for line in Path(path).read_text().splitlines():
            row = json.loads(line)
            assert row["checks"], f"no checks: {row}"
            assert all(row["checks"].values()), f"an empty cell: {row}"
            unknown = set(row["checks"]) - set(COLUMNS)
            assert not unknown, f"no column for {unknown}: {row}"
            # The same row of a second run (another version of Node) must not say anything else.
            key = (row["language"], row["sdk"], row["version"], row["call"])
            assert found.setdefault(key, row)["checks"] == row["checks"], f"two runs differ: {key}"
    return [found[key] for key in sorted(found)]


def letter(number: int) -> str:
    return (letter(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)


def page(rows: list[dict]) -> str:
    reasons: dict[str, str] = {}
    out = [HEAD]
    for language, title in (("python", "Python"), ("node", "Node")):
        ours = [row for row in rows if row["language"] == language]
        out.append(f"## {title}\n")
        out.append(f"| SDK | version | call | {' | '.join(COLUMNS)} |")
        out.append("|---|---|---" + "|---" * len(COLUMNS) + "|")
        for row in ours:
            cells = []
            for column in COLUMNS:
                said = row["checks"].get(column)
                if said is None or said == "ok":
                    cells.append(said or "–")
                else:
                    cells.append(f"[{reasons.setdefault(said, letter(len(reasons)))}](#reasons)")
            out.append(f"| {row['sdk']} | {row['version']} | `{row['call']}` | {' | '.join(cells)} |")
        out.append("")
    out.append("## Reasons\n")
    out += [f"- **{name}**: {reason}" for reason, name in reasons.items()]
    return "\n".join(out) + "\n"


def numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def tested(text: str) -> str:
    """The first and the last version of each SDK in a page's tables; a sibling in brackets is the same SDK."""
    found: dict[str, dict[str, set[str]]] = {}
    language = ""
    for line in text.splitlines():
        if line.startswith("## "):
            language = line[3:].lower()
        row = re.match(r"\| ([@\w/.-]+)(?: \([^)]*\))? \| (\d\S*) \| `([^`]*)` \|", line)
        if row:
            sdks = [row.groups()[:2], *re.findall(r"through ([@\w/-]+) (\d[\w.-]*)", row[3])]
            for name, version in sdks:
                found.setdefault(language, {}).setdefault(name, set()).add(version)
    ranges = {
        language: {
            name: {"oldest": min(versions, key=numbers), "newest": max(versions, key=numbers)}
            for name, versions in sorted(sdks.items())
        }
        for language, sdks in sorted(found.items())
    }
    return json.dumps(ranges, indent=2) + "\n"


def agree() -> int:
    """Whether what `doctor` knows is what the page says."""
    if TESTED.read_text() == tested(PAGE.read_text()):
        return 0
    print(f"{TESTED} is not what docs/coverage.md says: make coverage", file=sys.stderr)
    return 1


def main() -> int:
    if sys.argv[1:] == ["--tested"]:
        TESTED.write_text(tested(PAGE.read_text()))
        return 0
    if sys.argv[1:] == ["--agree"]:
        return agree()
    *paths, mode = sys.argv[1:]
    rows = rows_of(paths)
    made = page(rows)
    if mode == "--write":
        PAGE.write_text(made)
        TESTED.write_text(tested(made))
        print(f"{len(rows)} rows: {PAGE.name}")
        return 0
    if PAGE.read_text() == made:
        print(f"{len(rows)} rows, as docs/coverage.md has them")
        return agree()
    print("docs/coverage.md is not what these runs gave: make coverage", file=sys.stderr)
    committed = set(PAGE.read_text().splitlines())
    print("\n".join(line for line in made.splitlines() if line not in committed), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
