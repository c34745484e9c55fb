"""Savings as text: a line for each structure, and every layer where it is asked for."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from compressor.render.savings import structures
from compressor.results.records import SavingRow


def _row(structure: str, node: str, after: int, *, lowered: bool = True) -> SavingRow:
    sizes = {"macs_before": 100, "macs_after": after, "bytes_before": 400, "bytes_after": 4 * after}
    return SavingRow(structure=structure, node=node, becomes="less", lowered=lowered, **sizes)


@pytest.mark.parametrize("verbose", [False, True])
def test_totals_and_layers(verbose: bool) -> None:
    file = io.StringIO()
    rows = [_row("one", "a", 10), _row("one", "b", 30), _row("two", "a", 50, lowered=False)]
    structures(Console(file=file, width=100), rows, verbose=verbose)
    text = " ".join(file.getvalue().split())
    assert "one 2 0.80 0.80 two 1 0.50 0.50" in text
    assert ("a one less 0.90 0.90 a two less; zeros stay 0.50 0.50 b one less 0.70" in text) == verbose


def test_nothing_where_nothing_was_asked() -> None:
    file = io.StringIO()
    structures(Console(file=file), [], verbose=True)
    assert not file.getvalue()
