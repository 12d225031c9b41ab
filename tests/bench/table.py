"""Prints what the bench programs measured as tables; with --write also into docs/performance.md."""

import json
import os
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path

import plot

ROOT = Path(__file__).resolve().parents[2]
# The streams that tell what one chunk takes.
LONG, SHORT = 200, 20
PEER = {"python": "posthog.ai", "node": "@posthog/ai"}


def main() -> None:
    rows, imports, deliveries, prices = [], {}, [], {}
    flow, middleware, loops, gil, memory, growth = [], [], [], [], [], {}
    for line in sys.stdin:
        found = json.loads(line)
        if "delivery" in found:
            deliveries.append(found)
        elif "imports_ms" in found:
            imports[found["language"]] = found["imports_ms"]
        elif "throughput" in found:
            flow.append(found)
        elif "middleware" in found:
            middleware.append(found["middleware"])
        elif "event_loop" in found:
            loops.append(found)
        elif "gil" in found:
            gil.append(found)
        elif "memory_mb" in found:
            memory.append(found)
        elif "growth" in found:
            growth.setdefault(found["growth"], {})[found["of"]] = found["curve"]
        elif "price" in found:
            prices.setdefault(found["price"], {})[found["subject"]] = found["ns"]
        else:
            rows.append(found)
    for block, table in (
        ("bench", caller_table(rows, imports, deliveries) if rows else ""),
        ("bench-prices", price_table(prices)),
        ("bench-flow", flow_table(flow) if flow else ""),
        ("bench-middleware", middleware_table(middleware) if middleware else ""),
        ("bench-loop", loop_table(loops) if loops else ""),
        ("bench-gil", gil_table(gil) if gil else ""),
        ("bench-memory", memory_table(memory) if memory else ""),
        ("bench-growth", growth_table(growth) if growth else ""),
    ):
        if table:
            print(table, end="\n\n")
        if table and "--write" in sys.argv:
            write(block, table)
    if growth and "--write" in sys.argv:
        (ROOT / "docs/img/growth.svg").write_text(plot.drawn(growth))


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
    out += [*chunk_rows(rows), "", "| import, ms over the bare interpreter | |", "|---|---|"]
    for language, times in imports.items():
        out += [f"| {language}: {name} | {time:.1f} |" for name, time in times.items()]
    if deliveries:
        out += ["", *delivery_table(deliveries)]
    return "\n".join(out)


def chunk_rows(rows: list[dict]) -> list[str]:
    """What one chunk more takes: a long stream less a short one."""
    found = {(row["language"], row["case"]): row["result"] for row in rows}
    out = []
    for (language, case), long in found.items():
        short = found.get((language, case.replace(f"{LONG} chunks", f"{SHORT} chunks")))
        if short is None or not case.endswith(f"{LONG} chunks"):
            continue

        def one(name: str, long: dict = long, short: dict = short) -> float:
            return (long[name]["median_us"] - short[name]["median_us"]) / (LONG - SHORT)

        ours, peer = one("llmtrail"), one(PEER[language])
        name = case.replace(f"{LONG} chunks", "a chunk")
        out.append(
            f"| {language}, {name} | {one('bare'):.1f} | {one('copying hook'):.2f} | {ours:.2f} | {peer:.2f} "
            f"| {peer / max(ours, 0.01):.1f} × |"
        )
    return out


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


def flow_table(flow: list[dict]) -> str:
    out = [
        "| observed calls, one worker | delivered, a second | CPU a call, µs | peak memory, MB | lost |",
        "|---|---|---|---|---|",
    ]
    for found in flow:
        run = found["result"]
        out.append(
            f"| {found['throughput']} KB | {run['a_second']:,.0f} | {run['cpu_us']:,.0f} | {run['memory_mb']:.0f} "
            f"| {run['lost']:.0f} |"
        )
    return "\n".join(out)


def middleware_table(rows: list[dict]) -> str:
    out = ["| rust, extra µs a call (median, p99) | bare call | llmtrail |", "|---|---|---|"]
    out += [
        f"| {row['case']} | {row['bare_us']:.1f} | {row['extra_us']:.1f} ({row['extra_p99_us']:.0f}) |"
        for row in rows
    ]
    return "\n".join(out)


def loop_table(loops: list[dict]) -> str:
    out = [
        "| node, a 10 MB response | loop held at most, ms (median, most) | CPU a call, ms |",
        "|---|---|---|",
    ]
    for found in loops:
        for name, run in found["result"].items():
            held = f"{run['median_ms']:.2f} ({run['most_ms']:.1f})"
            out.append(f"| {found['event_loop'].partition(', ')[2]}: {name} | {held} | {run['cpu_ms']:.1f} |")
    return "\n".join(out)


def gil_table(rows: list[dict]) -> str:
    out = [
        "| python, another thread's progress beside ten 10 MB responses a second, of alone | bare client "
        "| bare client, and the worker's time in another process | llmtrail |",
        "|---|---|---|---|",
    ]
    for row in rows:
        of = "free-threaded" if row["free_threaded"] else "with the GIL"
        shares = " | ".join(f"{row['gil'][name]:.1%}" for name in ("bare", "elsewhere", "llmtrail"))
        out.append(f"| {of} | {shares} |")
    return "\n".join(out)


def memory_table(rows: list[dict]) -> str:
    out = [
        "| memory, MB | idle, over bare | of it not of files | 10,000 queued, over idle "
        f"| dead server, {rows[0]['dead']:,} captures |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (
            f"{row['memory_mb'][name]:.1f}" if name in row["memory_mb"] else ""
            for name in ("idle", "own", "queued", "dead")
        )
        out.append(f"| {row['language']}, {row['observer']} | {' | '.join(cells)} |")
    return "\n".join(out)


def growth_table(growth: dict[str, dict[str, list]]) -> str:
    out = ["| µs a call | | | linear or better |", "|---|---|---|---|"]
    for axis, curves in growth.items():
        for name, curve in curves.items():
            (x0, y0), (x1, y1) = curve[0], curve[-1]
            title = plot.TITLES[axis]
            linear = "yes" if plot.is_linear(curve) else "no"
            out.append(f"| {name}; {title} | {x0:,}: {y0:,.0f} | {x1:,}: {y1:,.0f} | {linear} |")
    return "\n".join(out)


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
