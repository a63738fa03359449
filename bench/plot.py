"""The page's plot as SVG: events a second of stages and limits, and peak memory, for each size of the day."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from results import Results, is_limit

WIDTH, LABEL, BAR, GAP = 880, 210, 14, 8
COLOURS = ("#9ecae1", "#4292c6", "#08519c", "#08306b")
GREY = "#8a8a8a"
STYLE = "text{font:12px system-ui,sans-serif;fill:#333}.t{font-weight:600;font-size:14px}.n{font-size:11px;fill:#666}"


def plot(results: Results, titles: Mapping[str, str]) -> str:
    sizes = results.sizes
    whats = [what for what in titles if results.of(what, sizes[-1])]
    stages = [what for what in whats if not is_limit(what)]
    rates = {what: [results.rate(what, n) if results.of(what, n) else 0.0 for n in sizes] for what in whats}
    memory = {
        what: [results.median(what, n, "together") if results.of(what, n) else 0.0 for n in sizes] for what in stages
    }
    names = {what: titles[what].strip("*") for what in whats}
    top, first = bars("Events a second, by size of the day (grey: limits of one core)", rates, names, 50, limits=True)
    bottom, second = bars("Peak memory of all processes, MB", memory, names, first + 34, limits=False)
    legend = [
        f'<rect x="{LABEL + 130 * index}" y="14" width="12" height="12" fill="{COLOURS[index % len(COLOURS)]}"/>'
        f'<text x="{LABEL + 18 + 130 * index}" y="24">{events:,} events</text>'
        for index, events in enumerate(sizes)
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {second + 10}" width="{WIDTH}" height="{second + 10}" '
        f'role="img" aria-label="Events a second and peak memory"><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>'
    )
    return "\n".join([head, *legend, *top, *bottom, "</svg>"]) + "\n"


def bars(
    title: str, values: Mapping[str, list[float]], names: Mapping[str, str], y: int, *, limits: bool
) -> tuple[list[str], int]:
    """Horizontal bars from `y` down, a group for each entry; the marks and where they end."""
    marks = [f'<text class="t" x="10" y="{y + 4}">{escape(title)}</text>']
    y += 16
    most = max(max(row) for row in values.values()) or 1
    room = WIDTH - LABEL - 90
    for what, row in values.items():
        height = BAR * len(row)
        marks.append(
            f'<text x="{LABEL - 10}" y="{y + height / 2 + 4:.0f}" text-anchor="end">{escape(names[what])}</text>'
        )
        for index, value in enumerate(row):
            limit = limits and is_limit(what)
            fill = GREY if limit else COLOURS[index % len(COLOURS)]
            width = room * value / most
            marks.append(f'<rect x="{LABEL}" y="{y}" width="{width:.1f}" height="{BAR - 2}" rx="2" fill="{fill}"/>')
            marks.append(f'<text class="n" x="{LABEL + width + 6:.1f}" y="{y + BAR - 4}">{value:,.0f}</text>')
            y += BAR
        y += GAP
    return marks, y
