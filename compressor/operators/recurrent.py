"""Recurrent layers (ONNX LSTM-22, GRU-22, RNN-22): hidden units, the same number in each direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import Coupling, Unexplained
from compressor.channels.labels import Term
from compressor.graph.ir.nodes import optional_input
from compressor.operators import propagate
from compressor.operators.facts import GateProduct
from compressor.operators.operator import Operator
from compressor.operators.recurrence import GATE_COUNTS, PEEPHOLE_GATES, STATES, B, R, W, X
from compressor.operators.reference import Reference
from compressor.operators.signature import Call

# q and r count gates; d directions; j is the hidden axis as the recurrence reads it, tied to h below.
_WEIGHTS = "d ([q] h) i, d ([q] h) j, d ([r] h)?, b?"
_TIME_FIRST = f"[t] b i, {_WEIGHTS}, d b h?, d b h?, d ([p] h)? -> [t] d b h, d b h, d b h"
_BATCH_FIRST = f"b [t] i, {_WEIGHTS}, b d h?, b d h?, d ([p] h)? -> b [t] d h, b d h, b d h"


def _signature(call: Call) -> str:
    return _BATCH_FIRST if call.attribute("layout") else _TIME_FIRST


def _recurrent(node: ir.Node, coupling: Coupling, combine: Callable[[], None]) -> None:
    """Ties the hidden units of all weights, before and after they meet the data."""
    weight, recurrence = node.inputs[W], node.inputs[R]
    if weight is None or recurrence is None or not (weight.is_initializer() and recurrence.is_initializer()):
        raise Unexplained("its weights are not constants")
    _share_hidden(node, coupling, weight, recurrence)
    combine()
    for term in coupling.layout(weight):
        if term.axes == (0,):
            coupling.freeze(node, weight, [0], "whole directions cannot go")


def _share_hidden(node: ir.Node, coupling: Coupling, weight: ir.Value, recurrence: ir.Value) -> None:
    """One unit for each hidden position of each direction, on both weights and both axes of the recurrence."""
    directions, _, hidden = coupling.shape(recurrence)
    one, two = coupling.deferred(weight), coupling.deferred(recurrence)
    assert one is not None
    assert two is not None
    # Joint over directions: each may lose its own hidden units, all of them equally many.
    units = coupling.hidden_units(recurrence, directions * hidden).reshape(directions, hidden)
    tiled = Term((0, 1), np.tile(units, (1, GATE_COUNTS[node.op_type])))
    along = Term((0, 2), units)
    for deferred, terms in ((one, [tiled]), (two, [tiled, along])):
        for term in terms:
            axis = term.axes[-1]
            if axis in deferred.open:
                deferred.terms.append(term)
                # The term spans the directions too, so that axis is spoken for as well.
                deferred.open -= {0, axis}
                deferred.roles[axis] = "in" if term is along else "out"
            _match(node, coupling, recurrence if deferred is two else weight, term)


def _match(node: ir.Node, coupling: Coupling, value: ir.Value, term: Term[int]) -> None:
    """Merges ``term`` with the labels that ``value`` has along its last axis; without any there, ``term`` is frozen.

    Two nodes that share a weight agree by this, whichever came first.
    """
    for found in coupling.layout(value, assign_fresh=False):
        if term.axes[-1] in found.axes:
            why = coupling.reason(node, value, term.axes, "is shared with another node")
            index = tuple(slice(None) if a in found.axes else None for a in term.axes)
            coupling.units.union(term.units, found.units[index], why)
            return
    coupling.units.freeze(term.units, coupling.reason(node, value, term.axes, "another user needs it whole"))


def _mask_data(node: ir.Node, reference: Reference) -> None:
    """Zeros in the weights silence what goes, unless it may be infinite."""
    if reference.thorough:
        for index in (X, *STATES):
            if optional_input(node, index) is not None:
                reference.fill(node, index, 0.0)


def _one_product(node: ir.Node) -> Sequence[GateProduct]:
    return (GateProduct(tuple(range(GATE_COUNTS[node.op_type]))),)


def _gru_products(node: ir.Node) -> Sequence[GateProduct]:
    """Update and reset; then the candidate, whose product with the hidden states the reset multiplies, or these."""
    first = GateProduct((0, 1))
    if node.attributes.get_int("linear_before_reset", 0):
        return first, GateProduct((2,), reads_state=False), GateProduct((2,), reads_input=False)
    return first, GateProduct((2,), reset=1)


def _record(name: str, products: Callable[[ir.Node], Sequence[GateProduct]]) -> Operator:
    return Operator(
        name,
        signature=_signature,
        around=_recurrent,
        masked=_mask_data,
        sizes={"q": GATE_COUNTS[name], "r": 2 * GATE_COUNTS[name], "p": PEEPHOLE_GATES, "h": "hidden_size"},
        work="t b d (q h) i + t b d (q h) j",
        constants=propagate.recurrent,
        bias=B,
        states=STATES,
        products=products,
    )


OPERATORS = (
    _record("LSTM", _one_product),
    _record("GRU", _gru_products),
    _record("RNN", _one_product),
)
