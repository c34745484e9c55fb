"""Limits on a result and their verdicts, in the same words wherever they are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from rich.console import Console

from compressor.core.formatting import distance_value, metric_value, quantity
from compressor.render import draw
from compressor.results.records import GateRow

GATE_HEADINGS = ("gate", "limit", "measured", "", "of")

GATE_AMOUNTS: Mapping[str, Callable[[float, bool], str]] = MappingProxyType(
    {
        "max_drop": lambda value, share: metric_value(value, share=share),
        "max_size": lambda value, share: f"{value:.1%}" if share else quantity(round(value), "B"),
        "max_distance": lambda value, share: distance_value(value, share=share),
        "min_speedup": lambda value, _: f"{value:.3g}x",
        "max_latency": lambda value, _: f"{value:.3g} ms",
    }
)
"""Gate -> how its limit, and what was measured, is written; the second argument says that it is a share."""


def gate_cells(gate: GateRow, name: str | None = None) -> tuple[str, str, str, str, str]:
    """What stands under :data:`GATE_HEADINGS`; by default under the flag that sets the gate."""
    name = "--" + gate.name.replace("_", "-") if name is None else name
    return name, _amount(gate, gate.limit), _amount(gate, gate.measured), gate.verdict, gate.of


def gates_unsure(gates: Sequence[GateRow]) -> list[str]:
    """A sentence for each gate that samples are too few to tell of."""
    return [f"Not sure: {gate.unsure}." for gate in gates if gate.unsure]


def gate_name(gate: GateRow) -> str:
    """As a recipe names it: with its stage, where it is of one."""
    return f"{gate.stage}: {gate.name}" if gate.stage else gate.name


def show_gates(console: Console, gates: Sequence[GateRow], names: Sequence[str | None] | None = None) -> None:
    """Prints a table of the gates, or nothing where there are none."""
    if not gates:
        return
    drawn = draw.table(GATE_HEADINGS)
    # Words read better from the left.
    drawn.columns[-1].justify = "left"
    for gate, name in zip(gates, names or [None] * len(gates), strict=True):
        draw.add_row(drawn, *gate_cells(gate, name))
    draw.show(console, drawn)
    for text in gates_unsure(gates):
        draw.line(console, text, style="yellow")


def _amount(gate: GateRow, value: float | None) -> str:
    """A limit or a measurement, in the unit of the gate."""
    return "-" if value is None else GATE_AMOUNTS[gate.name](value, gate.share)
