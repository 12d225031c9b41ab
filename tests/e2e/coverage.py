"""Merges what the end-to-end tests proved into docs/coverage.md.

    coverage.py ROWS.jsonl... --write    writes the page
    coverage.py ROWS.jsonl... --check    fails where the committed page says something else

A row is `{"language", "sdk", "version", "call", "checks": {"recorded": "ok", ...}}`; a check that is not `ok` is the
reason why there is nothing to prove. Tests write them to the file that `LLMTRAIL_COVERAGE` names.
"""

import json
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/coverage.md"
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


def main() -> int:
    *paths, mode = sys.argv[1:]
    rows = rows_of(paths)
    made = page(rows)
    if mode == "--write":
        PAGE.write_text(made)
        print(f"{len(rows)} rows: {PAGE.name}")
        return 0
    if PAGE.read_text() == made:
        print(f"{len(rows)} rows, as docs/coverage.md has them")
        return 0
    print("docs/coverage.md is not what these runs gave: make coverage", file=sys.stderr)
    committed = set(PAGE.read_text().splitlines())
    print("\n".join(line for line in made.splitlines() if line not in committed), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
