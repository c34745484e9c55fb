"""Where the time of a run goes: by node and by operator, of one model or of two beside each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from compressor.results.bench import NodeTimeRow, OperatorTime
from compressor.runtime.profile import NodeTime


def operator_times(sides: Sequence[list[NodeTime]]) -> list[OperatorTime]:
    """Time by operator type, most first."""
    totals: list[dict[str, float]] = [defaultdict(float) for _ in sides]
    counts: list[dict[str, int]] = [defaultdict(int) for _ in sides]
    for nodes, total, number in zip(sides, totals, counts, strict=True):
        for node in nodes:
            total[node.op_type] += node.milliseconds
            number[node.op_type] += 1
    both = len(sides) > 1
    rows = [
        OperatorTime(
            op_type=op,
            count_a=counts[0].get(op, 0),
            count_b=counts[1].get(op, 0) if both else None,
            ms_a=totals[0].get(op, 0.0),
            ms_b=totals[1].get(op, 0.0) if both else None,
        )
        for op in dict.fromkeys(op for total in totals for op in total)
    ]
    return sorted(rows, key=lambda row: -max(row.ms_a, row.ms_b or 0.0))


def node_times(sides: Sequence[list[NodeTime]]) -> list[NodeTimeRow]:
    """Time by node, in the order of A; what only B has comes last."""
    times: list[Mapping[tuple[str, str], float]] = [_by_name(nodes) for nodes in sides]
    # Reversed, so that where both models have a node the provider of A stays.
    providers = {(n.name, n.op_type): n.provider for nodes in reversed(sides) for n in nodes}
    return [
        NodeTimeRow(
            name=key[0],
            op_type=key[1],
            provider=providers[key],
            ms_a=times[0].get(key),
            ms_b=times[1].get(key) if len(times) > 1 else None,
        )
        for key in dict.fromkeys(key for found in times for key in found)
    ]


def _by_name(nodes: list[NodeTime]) -> dict[tuple[str, str], float]:
    """Milliseconds by (name, operator); nodes of one name add up."""
    found: dict[tuple[str, str], float] = defaultdict(float)
    for node in nodes:
        found[node.name, node.op_type] += node.milliseconds
    return dict(found)
