"""Nodes that no rule explains, as text."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from compressor.render import draw
from compressor.results.records import OpaqueRow


def opaque_nodes(console: Console, rows: Sequence[OpaqueRow]) -> None:
    """A line for each node; one sentence where there is none."""
    if not rows:
        draw.line(console, "Every operator that channels reach has a rule.")
        return
    table = draw.table(("operator", "channels", "weights", "node", "why"))
    for row in rows:
        draw.add_row(table, row.operator, f"{row.channels:,}", f"{row.weights:,}", row.node, row.reason)
    # Names and sentences read better from the left.
    for column in table.columns[-2:]:
        column.justify = "left"
    draw.show(console, table, title="Operators through which no channel flows, and what stops there:")
