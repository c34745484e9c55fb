"""Operands of a node lifted to named axes, and how two of their terms lie to each other."""

from __future__ import annotations

from dataclasses import dataclass, field

from compressor.channels.labels import DeferredLabels, Term
from compressor.channels.operands import Operand

Named = Term[str]
Content = tuple[tuple[str, ...], bytes]
"""What makes two terms of one node the same: their axes and their units."""


@dataclass
class Side:
    """One operand while the node is worked on.

    Attributes:
        operand: the value and its axes.
        deferred: labels that it takes on, where it has none of its own.
        names: its axes longer than 1.
        open: names that nobody has spoken for yet.
        terms: over named axes, as of ``version``.
        version: of the units, when they were lifted.
    """

    operand: Operand
    deferred: DeferredLabels | None
    names: frozenset[str]
    open: set[str] = field(default_factory=set)
    terms: list[Named] = field(default_factory=list)
    version: int = -1

    def spans(self) -> frozenset[str]:
        """Names that the operand varies along and has an opinion on."""
        return self.names - self.open


def are_rows(some: tuple[object, ...], axes: tuple[object, ...]) -> bool:
    """Are ``some`` the leading axes of a joint term, so that its ragged last axis is not among them?"""
    return len(some) < len(axes) and some == axes[: len(some)]


def clash(one: tuple[int, ...], two: tuple[int, ...]) -> bool:
    """Do two terms share more than rows, so that no single label could say what a position belongs to?"""
    common = tuple(a for a in one if a in two)
    return bool(common) and not (are_rows(common, one) and are_rows(common, two))


def term_content(term: Named) -> Content:
    """Axes and units of a term, to find the same one again."""
    return term.axes, term.units.tobytes()
