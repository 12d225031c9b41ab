"""Prints what the bench programs measured as tables; with --write also into docs/performance.md."""

import json
import os
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEER = {"python": "posthog.ai", "node": "@posthog/ai"}


def main() -> None:
    rows, imports, deliveries, prices = [], {}, [], {}
    for line in sys.stdin:
        found = json.loads(line)
        if "delivery" in found:
            deliveries.append(found)
        elif "imports_ms" in found:
            imports[found["language"]] = found["imports_ms"]
        elif "price" in found:
            prices.setdefault(found["price"], {})[found["subject"]] = found["ns"]
        else:
            rows.append(found)
    for block, table in (
        ("bench", caller_table(rows, imports, deliveries) if rows else ""),
        ("bench-prices", price_table(prices)),
    ):
        if table:
            print(table, end="\n\n")
        if table and "--write" in sys.argv:
            write(block, table)


def caller_table(rows: list[dict], imports: dict[str, dict[str, float]], deliveries: list[dict]) -> str:
    out = [
        "| caller's thread, extra µs a call (median, p99; CPU) | bare call | copying hook | llmtrail | peer | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        result = row["result"]
        ours, peer = result["llmtrail"], result[PEER[row["language"]]]

        def cell(r: dict) -> str:
            return f"{r['median_us']:.1f} ({r['p99_us']:.0f}; {r['cpu_us']:.0f})"

        ratio = peer["median_us"] / max(ours["median_us"], 0.1)
        out.append(
            f"| {row['language']}, {row['case']} | {result['bare']['median_us']:.0f} | {cell(result['copying hook'])} "
            f"| {cell(ours)} | {cell(peer)} | {ratio:.1f} × |"
        )
    out += ["", "| import, ms over the bare interpreter | |", "|---|---|"]
    for language, times in imports.items():
        out += [f"| {language}: {name} | {time:.1f} |" for name, time in times.items()]
    if deliveries:
        out += ["", *delivery_table(deliveries)]
    return "\n".join(out)


def delivery_table(deliveries: list[dict]) -> list[str]:
    out = [
        f"| {deliveries[0]['count']:,} generations of 2 KB by hand | capture, µs (median, p99) | delivered, a second "
        "| CPU a generation, µs | peak memory, MB | lost |",
        "|---|---|---|---|---|---|",
    ]
    for found in deliveries:
        for name, run in found["delivery"].items():
            out.append(
                f"| {found['language']}, {name} | {run['capture_us']:.1f} ({run['capture_p99_us']:.0f}) "
                f"| {found['count'] / run['wall_s']:,.0f} | {run['cpu_us']:.0f} "
                f"| {run['memory_mb']:.0f} | {run['lost']:.0f} |"
            )
    return out


def price_table(prices: dict[str, dict[str, float]]) -> str:
    """A row for each subject; how many times it takes what llmtrail takes in the same language."""
    cases = list(prices)
    subjects = list(prices[cases[0]]) if cases else []
    out = ["| ns a price (median) | " + " | ".join(cases) + " |", "|---|" + "---|" * len(cases)]
    for subject in subjects:
        language = subject[subject.rindex("(") :]
        cells = []
        for case in cases:
            took, ours = prices[case][subject], prices[case][f"llmtrail {language}"]
            ratio = "" if subject.startswith("llmtrail") else f" ({took / ours:.1f} ×)"
            cells.append(f"{took:,.0f}{ratio}")
        out.append(f"| {subject} | " + " | ".join(cells) + " |")
    return "\n".join(out) if subjects else ""


def write(block: str, table: str) -> None:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    machine = f"{os.cpu_count()} cores ({model}), {platform.system()} {platform.release()}"
    about = f"{date.today()}, {machine}, Python {platform.python_version()}, Node {node}"
    page = ROOT / "docs/performance.md"
    text = page.read_text()
    head, _, rest = text.partition(f"<!-- {block} -->")
    _, _, tail = rest.partition(f"<!-- /{block} -->")
    page.write_text(f"{head}<!-- {block} -->\nMeasured {about}.\n\n{table}\n<!-- /{block} -->{tail}")


if __name__ == "__main__":
    main()
