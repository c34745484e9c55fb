"""What structures could save, as text."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from compressor.core.formatting import count, share
from compressor.render import draw
from compressor.results.records import SavingRow


def structures(console: Console, rows: Sequence[SavingRow], *, verbose: bool) -> None:
    """A line for each structure; every layer where it is asked for."""
    if not rows:
        return
    table = draw.table(("structure", "layers", "MACs saved", "bytes saved"))
    for name in dict.fromkeys(row.structure for row in rows):
        own = [row for row in rows if row.structure == name]
        draw.add_row(table, name, f"{len(own):,}", *_saved(own))
    draw.show(console, table, title="What structures could save, of the layers that suit them:")
    if verbose:
        table = draw.table(("layer", "structure", "becomes", "MACs saved", "bytes saved"))
        for row in sorted(rows, key=lambda row: [r.node for r in rows].index(row.node)):
            words = row.becomes if row.lowered else f"{row.becomes}; zeros stay"
            draw.add_row(table, row.node, row.structure, words, *_saved([row]))
        draw.show(console, table, title=f"By layer ({count(len(rows), 'row')}):")


def _saved(rows: Sequence[SavingRow]) -> tuple[str, str]:
    """Shares of the multiply-accumulates and the bytes of these layers."""
    macs, stored = (
        [sum(getattr(row, f"{what}_{when}") for row in rows) for when in ("before", "after")]
        for what in ("macs", "bytes")
    )
    return share(macs[0] - macs[1], macs[0]), share(stored[0] - stored[1], stored[0])
