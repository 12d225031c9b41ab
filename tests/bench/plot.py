"""Draws the curves of `growth.py` as an SVG that is readable on a light and on a dark page."""

from __future__ import annotations

import math
from itertools import pairwise

TITLES = {"kb": "prompt, KB", "turns": "turns of a conversation", "together": "calls at once"}
COLOURS = {
    "python, on the caller": ("#0969da", "#58a6ff"),
    "node, on the caller": ("#1a7f37", "#3fb950"),
    "the worker's CPU": ("#9a6700", "#d29922"),
}
WIDTH, HEIGHT, LEFT, TOP, GAP = 280, 220, 56, 34, 48
# Below this a difference of two times is noise.
LEAST = 1.0


def drawn(growth: dict[str, dict[str, list[tuple[float, float]]]]) -> str:
    """`growth`: by axis and by what grows the points of a curve, in µs a call. Both scales are logarithmic."""
    top = max(y for curves in growth.values() for curve in curves.values() for _, y in curve)
    decades = math.ceil(math.log10(max(top, 10)))
    style = "".join(
        f".c{n}{{stroke:{light}}}.t{n}{{fill:{light}}}" for n, (light, _) in enumerate(COLOURS.values())
    )
    dark = "".join(f".c{n}{{stroke:{d}}}.t{n}{{fill:{d}}}" for n, (_, d) in enumerate(COLOURS.values()))
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + len(growth) * (WIDTH + GAP)} {HEIGHT + 96}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        "<style>text{fill:#57606a}.grid{stroke:#57606a;stroke-opacity:.25}.limit{stroke:#57606a;stroke-dasharray:4 4}"
        f"polyline{{fill:none;stroke-width:2}}{style}"
        f"@media(prefers-color-scheme:dark){{text{{fill:#8b949e}}.grid{{stroke:#8b949e}}.limit{{stroke:#8b949e}}{dark}}}"
        "</style>",
        '<text x="8" y="18">µs a call (both scales are logarithmic; the broken line is linear growth)</text>',
    ]

    def up(y: float) -> float:
        return TOP + HEIGHT - math.log10(max(y, LEAST)) / decades * HEIGHT

    for number, (axis, curves) in enumerate(growth.items()):
        left = LEFT + number * (WIDTH + GAP)
        most = max(x for curve in curves.values() for x, _ in curve)

        def across(x: float, left: int = left, most: float = most) -> float:
            return left + math.log10(x) / math.log10(most) * WIDTH

        for decade in range(decades + 1):
            y = up(10**decade)
            out.append(f'<line class="grid" x1="{left}" x2="{left + WIDTH}" y1="{y:.0f}" y2="{y:.0f}"/>')
            if number == 0:
                label = f"{10**decade:,}"
                out.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{label}</text>')
        for x in sorted({x for curve in curves.values() for x, _ in curve}):
            place = f'x="{across(x):.0f}" y="{TOP + HEIGHT + 16}" text-anchor="middle"'
            out.append(f"<text {place}>{x:,}</text>")
        middle = left + WIDTH / 2
        out.append(
            f'<text x="{middle:.0f}" y="{TOP + HEIGHT + 36}" text-anchor="middle">{TITLES[axis]}</text>'
        )
        # From the lower left corner on: who grows as this line does grows linearly. A cost of each call is flat.
        span = 0.0 if axis == "together" else math.log10(most)
        if span:
            end = min(span, decades)
            out.append(
                f'<line class="limit" x1="{left}" y1="{up(1):.0f}" x2="{across(10**end):.0f}" y2="{up(10**end):.0f}"/>'
            )
        for name, curve in curves.items():
            which = list(COLOURS).index(name)
            points = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in curve)
            out.append(f'<polyline class="c{which}" points="{points}"/>')
    shown = [name for name in COLOURS if any(name in curves for curves in growth.values())]
    for place, name in enumerate(shown):
        which, x = list(COLOURS).index(name), LEFT + place * 200
        out.append(f'<text class="t{which}" x="{x}" y="{TOP + HEIGHT + 56}">● {name}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def is_linear(curve: list[tuple[float, float]]) -> bool:
    """Whether no step is steeper than linear, with a fifth for noise, where there is more than noise."""
    return all(
        y1 <= 1.2 * x1 / x0 * max(y0, LEAST) for (x0, y0), (x1, y1) in pairwise(curve) if y1 > 10 * LEAST
    )
