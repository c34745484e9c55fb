"""The nodes of a model that no rule explains, and what that costs, for ``inspect``."""

from __future__ import annotations

from collections.abc import Iterable

from compressor.channels.verify import operator_name
from compressor.pruning.cut.analysis import Analysis
from compressor.results.records import FrozenRow, OpaqueRow


def opaque_rows(analysis: Analysis, frozen: Iterable[FrozenRow]) -> list[OpaqueRow]:
    """One row for each node that channels could reach and none can pass, those that stop most first.

    Nodes that read constants alone are left out: nothing arrives there that could be stopped.

    Args:
        analysis: the analysed model.
        frozen: what had to stay in it, and at which node.
    """
    places = list(frozen)
    rows = []
    for node, why in analysis.coupling.opaque.items():
        own = [row for row in places if row.node == node.name]
        computed = any(value is not None and analysis.shapes.const(value) is None for value in node.inputs)
        if own or computed:
            channels, weights = sum(row.channels for row in own), sum(not row.channels for row in own)
            told = {"operator": operator_name(node), "node": str(node.name), "reason": why}
            rows.append(OpaqueRow(**told, channels=channels, weights=weights))
    return sorted(rows, key=lambda row: (-row.channels, -row.weights))
