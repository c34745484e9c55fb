"""Channels that hold one number whatever the input is, and which channels a node reads.

A channel of zeros adds nothing where a weight contracts it, whatever the weight; a weight of zeros adds
nothing, whatever the channel. The functions of :mod:`compressor.operators.propagate` say for each operator how
constant channels pass through it (a bias alone behind a filter of zeros, what a ReLU makes of it) and what it
sums over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.channels.labels import FROZEN, Term, UnitArray
from compressor.channels.node_operands import NamedOperand, NodeOperands
from compressor.core.arrays import Array, Mask
from compressor.graph.ir.captures import captured_values
from compressor.graph.ir.evaluate import evaluate
from compressor.graph.ir.randomness import draws

NumberKind = TypeVar("NumberKind", bound=np.generic)
Named = Term[str]
KnownNumbers = npt.NDArray[np.float64]
"""One number for each position; NaN where it is not known."""


@dataclass(frozen=True)
class ConstantOperand:
    """A constant operand of a product.

    Attributes:
        nonzero: where it counts, over ``names``; False also where it meets nothing but zeros.
        names: the axes that its terms lie on.
        terms: whose positions they are.
    """

    nonzero: Mask
    names: tuple[str, ...]
    terms: tuple[Named, ...]

    def used(self, axes: Sequence[str], live: Mask | None = None, summed: Collection[str] = ()) -> Mask:
        """Positions along ``axes`` with a weight other than zero, for a unit of ``live`` where given.

        ``summed`` are axes of which it does not matter who is live: of two that are summed over, heads and features of
        them say, each would wait for the other.
        """
        found = self.nonzero
        for term in self.terms:
            if live is not None and not set(term.axes) & {*axes, *summed}:
                found = found & broadcast_over(live[term.units], term.axes, self.names)
        some = np.asarray(found.any(axis=tuple(d for d, n in enumerate(self.names) if n not in axes)))
        return turned(some, [n for n in self.names if n in axes], axes)


@dataclass(frozen=True)
class Read:
    """A sum over the units of ``term``, each times every one of ``weights``; over all ``summed`` axes in the end."""

    term: Named
    weights: tuple[ConstantOperand, ...]
    summed: frozenset[str]

    def needed(self, live: Mask) -> UnitArray:
        """Units that count for something live; ``live`` is bool by unit."""
        masks = [w.used(self.term.axes, live, self.summed) for w in self.weights]
        return self.term.units[np.logical_and.reduce(masks)]


class Constants:
    """What is known of the values of a coupled graph, filled in node by node in the graph's order.

    Attributes:
        coupling: whose channels.
        products: nodes whose sums over channels are accounted for.
        reads: those sums that have constant weights.
        stays: units that something else depends on.
    """

    def __init__(self, coupling: Coupling) -> None:
        self.coupling = coupling
        self.products: set[ir.Node] = set()
        self.reads: list[Read] = []
        self.stays: list[UnitArray] = []
        self._known: dict[ir.Value, tuple[UnitArray, KnownNumbers]] = {}
        self._computed: dict[ir.Value, Array | None] = {}
        # Marked only, and computed when asked for: of most of these nothing is ever needed.
        for node in coupling.graph.all_nodes():
            inputs = [v for v in node.inputs if v is not None]
            # A body reads more than the inputs of its node, and random numbers differ from run to run.
            whole = not draws(node) and not captured_values(node)
            if inputs and whole and all(self.static(v) for v in inputs):
                self._computed.update(dict.fromkeys(node.outputs))

    def stay(self, units: UnitArray) -> None:
        """Records that these units cannot be removed."""
        self.stays.append(units.ravel())

    # ---- what the file holds -------------------------------------------------------------------------------

    def static(self, value: ir.Value) -> bool:
        """Does ``value`` hold what the file holds, or something computed from that alone?"""
        return value in self._computed or self.coupling.shapes.const(value) is not None

    def array(self, value: ir.Value | None) -> Array | None:
        """The data of a static value; None where it is not known, or is no numbers."""
        if value is None or not self.static(value):
            return None
        found, node = self.coupling.shapes.const(value), value.producer()
        if found is None and node is not None:
            if self._computed[value] is None:
                made = self.run(node, {v: self.array(v) for v in node.inputs if v is not None})
                self._computed.update(zip(node.outputs, made or (), strict=False))
            found = self._computed[value]
        return None if found is None or found.dtype.kind in "OSU" or not found.size else found

    def run(self, node: ir.Node, inputs: Mapping[ir.Value, Array | None]) -> list[Array] | None:
        """Outputs of ``node`` on ``inputs``; None where they are not known."""
        feeds = {str(v.name): a for v, a in inputs.items() if a is not None}
        if len(feeds) < len({v for v in node.inputs if v is not None}) or draws(node):
            return None
        return evaluate(node, feeds, self.coupling.graph.opset_imports)

    # ---- what is known of channels -------------------------------------------------------------------------

    def units(self, value: ir.Value | None) -> UnitArray:
        """Units in ``value``, sorted, without the frozen one."""
        parts = [t.units.ravel() for t in self.coupling.layout(value, assign_fresh=False)]
        found = np.unique(np.concatenate([np.zeros(1, np.int64), *parts]))
        return np.asarray(found[found != FROZEN])

    def known(self, value: ir.Value, units: UnitArray) -> KnownNumbers:
        """What each of ``units`` is everywhere in ``value``; NaN where unknown."""
        if value not in self._known and (array := self.array(value)) is not None:
            names = [str(d) for d in range(array.ndim)]
            terms = self.coupling.layout(value, assign_fresh=False)
            self._remember(value, [(t.units, uniform(array, names, [str(a) for a in t.axes])) for t in terms])
        holders, numbers = self._known.get(value, (np.zeros(0, np.int64), np.zeros(0)))
        if not holders.size:
            return np.full(units.shape, np.nan)
        # A unit above the last one known would get a place behind the end.
        place = np.minimum(np.searchsorted(holders, units), holders.size - 1)
        return np.where(holders[place] == units, numbers[place], np.nan)

    def learn(self, value: ir.Value, claims: Iterable[tuple[UnitArray, KnownNumbers]]) -> None:
        """Takes numbers at positions of ``value``; a unit is known if all its positions hold one number."""
        # What a file holds is known exactly, and nothing has to be claimed of it.
        if not self.static(value):
            self._remember(value, claims)

    def _remember(self, value: ir.Value, claims: Iterable[tuple[UnitArray, KnownNumbers]]) -> None:
        pairs = [(u.ravel(), np.broadcast_to(x, u.shape).ravel()) for u, x in claims]
        units = np.concatenate([np.zeros(0, np.int64), *(u for u, _ in pairs)])
        numbers = np.concatenate([np.zeros(0), *(x for _, x in pairs)])
        holders, place = np.unique(units, return_inverse=True)
        low, high = np.full(holders.size, np.inf), np.full(holders.size, -np.inf)
        with np.errstate(invalid="ignore"):  # NaN spreads: one unknown position makes the unit unknown
            np.minimum.at(low, place, numbers)
            np.maximum.at(high, place, numbers)
        # Infinity times zero is no number, so infinite channels count as unknown.
        sure = (low == high) & np.isfinite(low) & (holders != FROZEN)
        self._known[value] = holders[sure], low[sure]

    def scalar(self, value: ir.Value) -> KnownNumbers:
        """The one number in ``value``, as an array without axes; NaN if there are several, or unknown."""
        array = self.array(value)
        return np.asarray(np.nan) if array is None else uniform(array, [""] * array.ndim, ())

    def dtype(self, value: ir.Value) -> np.dtype[np.generic]:
        """Element type of ``value``."""
        found = self.coupling.shapes.dtype(value)
        return np.dtype(np.float32) if found is None else found.numpy()

    # ---- operands of a node --------------------------------------------------------------------------------

    def operands(self, node: ir.Node) -> NodeOperands:
        """How operands met at ``node``; no parts where its rule says nothing about that."""
        return self.coupling.node_operands.get(node, NodeOperands((), {}, frozenset()))

    def shaped(self, node: ir.Node, part: NamedOperand) -> Array | None:
        """The data of a static operand, one axis for each of its names."""
        array, sizes = self.array(part.value), self.operands(node).sizes
        return None if array is None else array.reshape([sizes[n] for n in part.names])

    def numbers(self, node: ir.Node, part: NamedOperand, axes: Sequence[str]) -> KnownNumbers:
        """The constant at each position along ``axes``, in a shape that broadcasts; NaN where unknown."""
        array = self.shaped(node, part)
        if array is not None:
            return uniform(array, part.names, axes)
        term = term_over(part.terms, axes)
        if term is None:
            return np.full((1,) * len(axes), np.nan)
        return turned(self.known(part.value, term.units), term.axes, axes)


def term_over(terms: Iterable[Named], axes: Iterable[str]) -> Named | None:
    """The term over ``axes``, in any order."""
    wanted = set(axes)
    return next((t for t in terms if set(t.axes) == wanted), None)


def turned(array: npt.NDArray[NumberKind], axes: Sequence[str], wanted: Sequence[str]) -> npt.NDArray[NumberKind]:
    """``array`` with its axes in the order of ``wanted``; both name the same ones."""
    return array.transpose([axes.index(a) for a in wanted])


def broadcast_over(
    array: npt.NDArray[NumberKind], axes: Sequence[str], names: Sequence[str]
) -> npt.NDArray[NumberKind]:
    """``array`` over ``axes``, in a shape that broadcasts against an array over ``names``."""
    sizes = dict(zip(axes, array.shape, strict=True))
    found = turned(array, axes, [n for n in names if n in axes])
    return found.reshape([sizes.get(n, 1) for n in names])


def uniform(array: Array, names: Sequence[str], axes: Sequence[str]) -> KnownNumbers:
    """The number at each position along ``axes``, of size 1 where it lacks one; NaN for several."""
    # Types that are not numpy's own (bfloat16, float8) are compared as float32, which holds them exactly.
    plain = array if array.dtype.kind in "biuf" else array.astype(np.float32)
    others = tuple(d for d, n in enumerate(names) if n not in axes)
    low, high = plain.min(axis=others), plain.max(axis=others)
    found = np.where(low == high, low.astype(np.float64), np.nan)
    return broadcast_over(np.asarray(found), [n for n in names if n in axes], axes)
