"""Training that was thrown away, in the same words wherever it is told."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from compressor.render import draw
from compressor.results.detail import UndoneRow


def undone_texts(rows: Iterable[UndoneRow]) -> list[str]:
    """A sentence each."""
    return [f"{text[:1].upper()}{text[1:]}." for text in map(str, rows)]


def show_undone(console: Console, rows: Iterable[UndoneRow]) -> None:
    """Prints a line each."""
    for text in undone_texts(rows):
        draw.line(console, text, style="yellow")
