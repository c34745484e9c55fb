"""Nodes that no rule explains, as text."""

from __future__ import annotations

import io

from rich.console import Console

from compressor.render.opaque import opaque_nodes
from compressor.results.records import OpaqueRow


def shown(*rows: OpaqueRow) -> str:
    file = io.StringIO()
    opaque_nodes(Console(file=file, width=100), rows)
    return " ".join(file.getvalue().split())


def test_a_line_for_each_node() -> None:
    facts = {"reason": "a::Thing has no rule", "weights": 2}
    text = shown(*(OpaqueRow(operator="a::Thing", node=f"n{k}", channels=1600 * k, **facts) for k in (1, 0)))
    assert "a::Thing 1,600 2 n1 a::Thing has no rule a::Thing 0 2 n0 a::Thing has no rule" in text


def test_one_sentence_where_there_is_none() -> None:
    assert shown() == "Every operator that channels reach has a rule."
