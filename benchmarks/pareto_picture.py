"""The picture of benchmarks/pareto.py as SVG: for each network accuracy against times smaller, and against time."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from math import log2
from typing import Any

from compressor.render.charts import LineChart, line_chart
from compressor.results.detail import Curve, Series

FAMILIES = {
    "dense": "#444444",
    "int8": "#d95f02",
    "codebook": "#1b9e77",
    "codebook trained": "#0b5e46",
    "unify trained": "#7570b3",
    "budget": "#66a61e",
    "pruned": "#e6ab02",
    "pruned int8": "#a6761d",
    "pruned, then small": "#e7298a",
}
WIDTH, HEIGHT, LEFT, TOP, GAP = 340, 240, 60, 40, 80
Cells = Mapping[str, Mapping[str, Any]]


def family(name: str) -> str:
    """Which kind of method a cell is of."""
    trained = " trained" if "trained" in name else ""
    if name.startswith("pruned "):
        return "pruned int8" if name == "pruned int8" else "pruned, then small"
    first = name.split(maxsplit=1)[0]
    return first + trained if first in ("codebook", "unify") else first


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that no other beats in both numbers, by rising x; more is better."""
    kept, best = [], float("-inf")
    for x, y in sorted(points, reverse=True):
        if y > best:
            kept.append((x, y))
            best = y
    return kept[::-1]


def draw(nets: Mapping[str, Cells]) -> str:
    """All networks below each other, and what the colours stand for."""
    panels = [panel for row, (net, cells) in enumerate(nets.items()) if cells for panel in _row(net, cells, row)]
    high = TOP + (HEIGHT + GAP) * len(nets) + 20
    names = [name for name in FAMILIES if any(family(cell) == name for cells in nets.values() for cell in cells)]
    keys = "".join(
        f'<circle cx="{LEFT + 150 * (k % 5)}" cy="{high + 16 * (k // 5) - 20}" r="4" fill="{FAMILIES[name]}"/>'
        f'<text x="{LEFT + 8 + 150 * (k % 5)}" y="{high + 16 * (k // 5) - 16}">{escape(name)}</text>'
        for k, name in enumerate(names)
    )
    size = f'viewBox="0 0 {2 * (WIDTH + LEFT) + 40} {high + 30}"'
    style = 'font-family="sans-serif" font-size="11" fill="#222"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}><rect width="100%" height="100%" fill="#fff"/>' + (
        "".join(panels) + keys + "</svg>\n"
    )


def _row(net: str, cells: Cells, row: int) -> list[str]:
    dense = cells["dense"]["bytes"] if "dense" in cells else max(cell["bytes"] for cell in cells.values())
    smaller = {name: (log2(dense / cell["bytes"]), 100 * cell["accuracy"]) for name, cell in cells.items()}
    faster = {name: (-cell["time"][0], 100 * cell["accuracy"]) for name, cell in cells.items() if "time" in cell}
    top = TOP + row * (HEIGHT + GAP)
    return [
        _panel(f"{net}: top-1 in %, by times smaller", smaller, (LEFT, top), lambda x: f"{2**x:.3g}"),
        _panel("by time of a run, dense = 1", faster, (2 * LEFT + WIDTH, top), lambda x: f"{-x:.3g}"),
    ]


def _panel(title: str, points: Mapping[str, tuple[float, float]], place: tuple[int, int], words: Any) -> str:
    by_family: dict[str, list[tuple[float, float]]] = {}
    for name, point in points.items():
        by_family.setdefault(family(name), []).append(point)
    series = [Series(name="front", points=front(list(points.values())))]
    series += [Series(name=name, points=sorted(found)) for name, found in by_family.items()]
    chart = line_chart(Curve(title=title, x_label="", y_label="", series=series))
    assert chart is not None
    dots = "".join(
        f'<circle cx="{x * WIDTH / 100:.1f}" cy="{y * HEIGHT / 100:.1f}" r="4" fill="{FAMILIES[line.name]}"/>'
        for line in chart.lines[1:]
        for x, y in line.points
    )
    path = " ".join(f"{x * WIDTH / 100:.1f},{y * HEIGHT / 100:.1f}" for x, y in chart.lines[0].points)
    line = f'<polyline points="{path}" fill="none" stroke="#999" stroke-dasharray="4 3"/>'
    return (
        f'<g transform="translate({place[0]},{place[1]})"><text y="-10" font-weight="bold">{escape(title)}</text>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ccc"/>{_axes(chart, words)}{line}{dots}</g>'
    )


def _axes(chart: LineChart, words: Any) -> str:
    below = "".join(
        f'<text x="{tick.at * WIDTH / 100:.1f}" y="{HEIGHT + 15}" text-anchor="middle">{words(float(tick.text))}</text>'
        for tick in chart.x_ticks
    )
    beside = "".join(
        f'<text x="-6" y="{tick.at * HEIGHT / 100 + 4:.1f}" text-anchor="end">{tick.text}</text>'
        for tick in chart.y_ticks
    )
    return below + beside
