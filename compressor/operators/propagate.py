"""How constant channels pass through operators, for :attr:`compressor.operators.operator.Operator.constants`.

Each function looks at one node and notes in :class:`Constants` what its output holds and what it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np
import onnx_ir as ir

from compressor.channels.labels import UnitArray
from compressor.channels.node_operands import NamedOperand
from compressor.core.arrays import Mask
from compressor.graph.ir.nodes import number_of
from compressor.operators.constants import (
    ConstantOperand,
    Constants,
    KnownNumbers,
    Named,
    Read,
    broadcast_over,
    term_over,
)
from compressor.operators.recurrence import STATES, B

NO_UNITS: UnitArray = np.zeros(0, np.int64)


def outcomes(node: ir.Node, constants: Constants) -> list[Named]:
    """Terms that the output takes over from the operands, each once."""
    operands = constants.operands(node)
    return _each(t for part in operands.parts for t in part.terms if set(t.axes) <= operands.kept)


def contracted(node: ir.Node, constants: Constants, parts: Sequence[NamedOperand] | None = None) -> list[Named]:
    """Terms of ``parts`` (all operands) that the output does not have, each once."""
    operands = constants.operands(node)
    found = operands.parts if parts is None else parts
    return _each(t for part in found for t in part.terms if not set(t.axes) <= operands.kept)


def _each(terms: Iterable[Named]) -> list[Named]:
    found: dict[frozenset[str], Named] = {}
    for term in terms:
        found.setdefault(frozenset(term.axes), term)
    return list(found.values())


# ---- position by position ----------------------------------------------------------------------------------


def elementwise(node: ir.Node, constants: Constants) -> None:
    """A function of constants is a constant."""
    value, operands = node.inputs[0], constants.operands(node)
    if operands.parts:
        _learn(node, constants, lambda columns, units: _image(node, constants, columns, units))
    elif value is not None:
        units = constants.units(value)
        settings = [v for v in node.inputs[1:] if v is not None]
        columns = [constants.known(value, units), *(constants.scalar(v) for v in settings)]
        constants.learn(node.outputs[0], [(units, _image(node, constants, columns, units))])


def absorbing(node: ir.Node, constants: Constants) -> None:
    """A product, which is zero where one of its operands is."""

    def times(columns: Sequence[KnownNumbers], units: UnitArray) -> KnownNumbers:
        # A zero wins over a factor that is not known, of which running the node would show nothing.
        return np.where(_any_zero(columns, units), 0.0, _image(node, constants, columns, units))

    _learn(node, constants, times)


def quotient(node: ir.Node, constants: Constants) -> None:
    """Zero divided by anything else; where that were zero, the model would give no number anyway."""

    def divided(columns: Sequence[KnownNumbers], units: UnitArray) -> KnownNumbers:
        zero = np.broadcast_to((columns[0] == 0) & (columns[1] != 0), units.shape)
        return np.where(zero, 0.0, _image(node, constants, columns, units))

    _learn(node, constants, divided)


def _any_zero(columns: Sequence[KnownNumbers], units: UnitArray) -> Mask:
    return np.asarray(np.logical_or.reduce([np.broadcast_to(c == 0, units.shape) for c in columns]))


def _learn(
    node: ir.Node, constants: Constants, result: Callable[[Sequence[KnownNumbers], UnitArray], KnownNumbers]
) -> None:
    """``result`` of what is known of each operand, term by term."""
    claims = []
    for term in outcomes(node, constants):
        columns = [constants.numbers(node, p, term.axes) for p in constants.operands(node).parts]
        claims.append((term.units, result(columns, term.units)))
    constants.learn(node.outputs[0], claims)


def _image(node: ir.Node, constants: Constants, columns: Sequence[KnownNumbers], units: UnitArray) -> KnownNumbers:
    """The node run on its operands' constants; NaN where one is unknown; the shape of ``units``."""
    result = np.full(units.shape, np.nan)
    known = np.logical_and.reduce([np.broadcast_to(~np.isnan(c), units.shape) for c in columns])
    if known.any():
        inputs = {}
        for value, column in zip([v for v in node.inputs if v is not None], columns, strict=True):
            numbers = column.reshape(()) if column.size == 1 else np.broadcast_to(column, units.shape)[known]
            inputs[value] = numbers.astype(constants.dtype(value))
        made = constants.run(node, inputs)
        if made is not None and made[0].dtype.kind not in "OSU":
            result[known] = made[0].astype(np.float64)
    return result


def batch_norm(node: ir.Node, constants: Constants) -> None:
    """``scale * (x - mean) / sqrt(variance + epsilon) + bias``; a scale of zero leaves the bias alone."""
    if node.attributes.get_int("training_mode", 0):
        return
    epsilon = number_of(node, "epsilon")

    def result(columns: Sequence[KnownNumbers], units: UnitArray) -> KnownNumbers:
        x, scale, bias, mean, variance = columns
        # An unknown input makes this NaN even where a scale of zero cancels it, so that case is looked at below.
        usual = scale * (x - mean) / np.sqrt(variance + epsilon) + bias
        return np.broadcast_to(np.where(scale == 0, bias, usual), units.shape)

    _learn(node, constants, result)


def instance_norm(node: ir.Node, constants: Constants) -> None:
    """The bias alone where the channel or its scale is zero; channels among its spatial axes stay."""
    for term in outcomes(node, constants):
        if not set(term.axes) <= {"n", "c"}:
            constants.stay(term.units)

    def result(columns: Sequence[KnownNumbers], units: UnitArray) -> KnownNumbers:
        return np.where(_any_zero(columns[:2], units), columns[2], np.nan)

    _learn(node, constants, result)


# ---- movement ----------------------------------------------------------------------------------------------


def carry(node: ir.Node, constants: Constants) -> None:
    """Data is moved, picked or joined, not changed: a unit stays what it is in every input that has it."""
    for out in node.outputs:
        units, numbers = _carried(node, constants, out)
        constants.learn(out, [(units, numbers)])


def carry_zero(node: ir.Node, constants: Constants) -> None:
    """As :func:`carry`, for operators that keep a channel of zeros (averages, resampling) but round others."""
    for out in node.outputs:
        units, numbers = _carried(node, constants, out)
        constants.learn(out, [(units, np.where(numbers == 0, 0.0, np.nan))])


def pad(node: ir.Node, constants: Constants, number: float) -> None:
    """What is added holds ``number``; a channel stays constant only if it holds that too."""
    out = node.outputs[0]
    units, numbers = _carried(node, constants, out)
    # Padding has units of its own, which the input does not have.
    added = ~np.isin(units, constants.units(node.inputs[0]))
    constants.learn(out, [(units, np.where(added | (numbers == number), number, np.nan))])


def _carried(node: ir.Node, constants: Constants, out: ir.Value) -> tuple[UnitArray, KnownNumbers]:
    units = constants.units(out)
    numbers, seen = np.full(units.shape, np.nan), np.zeros(units.shape, np.bool_)
    for value in node.inputs:
        mine = np.isin(units, constants.units(value))
        if value is not None and mine.any():
            found = constants.known(value, units)
            numbers = np.where(mine, np.where(seen & (numbers != found), np.nan, found), numbers)
            seen |= mine
    copies = constants.coupling.deferred_labels.get(out)  # labels taken from users, along axes that are mere copies
    for term in copies.terms if copies is not None else ():
        numbers[np.isin(units, constants.coupling.units.find(term.units))] = np.nan
    return units, numbers


# ---- sums of products --------------------------------------------------------------------------------------


def product(
    node: ir.Node, constants: Constants, inputs: Collection[int], bias: int | None = None, factor: str = ""
) -> None:
    """A sum of products of the first operands, as many as ``inputs``, plus a bias.

    Args:
        node: its operands are its inputs in order.
        constants: what is known.
        inputs: that are multiplied.
        bias: the input that is added; None: the operator has none.
        factor: attribute that the bias is multiplied by.
    """
    parts = constants.operands(node).parts
    factors = parts[: len(inputs)]
    # Parts leave missing inputs out, so the bias is found by its place among those that are there.
    given = [k for k, v in enumerate(node.inputs) if v is not None]
    added = [parts[given.index(bias)]] if bias is not None and bias in given else []
    weights = read_factors(node, constants, factors)
    beta = node.attributes.get_float(factor, 1.0) if factor else 1.0
    claims = []
    for term in outcomes(node, constants):
        zero = np.zeros(term.units.shape, np.bool_)
        for part, weight in zip(factors, weights, strict=True):
            zero |= constants.numbers(node, part, term.axes) == 0 if weight is None else _unused(weight, term)
        rest = np.zeros(term.units.shape)
        for part in added:
            rest = rest + beta * constants.numbers(node, part, term.axes)
        claims.append((term.units, np.where(zero, rest, np.nan)))
    constants.learn(node.outputs[0], claims)


def _unused(weight: ConstantOperand, term: Named) -> Mask:
    """Positions of ``term`` whose weights are all zero, or meet nothing but zeros."""
    # A weight that does not vary along the term counts the same at every position of it.
    if term_over(weight.terms, term.axes) is None:
        return np.asarray(not weight.nonzero.any())
    return ~weight.used(term.axes)


def attention(node: ir.Node, constants: Constants) -> None:
    """Queries times keys; values are averaged, so that zeros stay zeros."""
    parts = constants.operands(node).parts
    read_factors(node, constants, parts[:2])
    claims = []
    for term in outcomes(node, constants):
        zero = constants.numbers(node, parts[2], term.axes) == 0
        claims.append((term.units, np.where(np.broadcast_to(zero, term.units.shape), 0.0, np.nan)))
    constants.learn(node.outputs[0], claims)


def recurrent(node: ir.Node, constants: Constants) -> None:
    """Inputs times weights, hidden units times recurrent weights.

    Without weights, bias and initial state a unit stays zero, because by default its candidate is the hyperbolic
    tangent of their sum.
    """
    parts = {p.value: p for p in constants.operands(node).parts}
    factors = list(parts.values())[:3]
    added = [parts[v] for k, v in enumerate(node.inputs) if k in (B, *STATES) and v in parts]
    # Without idle units at first: which hidden units are idle comes of these weights.
    weights = _weights(node, constants, factors, _sums(node, constants, factors))
    busy, idle, claims = [NO_UNITS], [NO_UNITS], []
    for term in outcomes(node, constants):
        # Other activations may make something of a sum of zero.
        zero = np.full(term.units.shape, "activations" not in node.attributes)
        for weight in weights[1:]:
            zero &= False if weight is None else _unused(weight, term)
        for part in added:
            zero &= constants.numbers(node, part, term.axes) == 0
        claims.append((term.units, np.where(zero, 0.0, np.nan)))
        busy.append(term.units[~zero])
        idle.append(term.units[zero])
    for out in node.outputs:
        constants.learn(out, claims)
    # A unit that is busy at one position or in one direction is not idle.
    read_factors(node, constants, factors, np.setdiff1d(np.concatenate(idle), np.concatenate(busy)))


def read_factors(
    node: ir.Node, constants: Constants, factors: Sequence[NamedOperand], idle: UnitArray = NO_UNITS
) -> list[ConstantOperand | None]:
    """Notes what is summed over; returns the factors that are constant, without what meets only zeros.

    ``idle`` are units that are zero inside the node.
    """
    constants.products.add(node)
    met = _sums(node, constants, factors, idle)
    weights = _weights(node, constants, factors, met)
    summed = frozenset(axis for term, _ in met for axis in term.axes)
    for term, silent in met:
        holders = tuple(w for w in weights if w is not None and term_over(w.terms, term.axes) is not None)
        # Only constant weights show which positions are read; without any, all that may be other than zero are.
        if holders:
            constants.reads.append(Read(term, holders, summed))
        else:
            constants.stay(term.units[~silent])
    # What no factor accounts for is summed over in a way that nothing is known of.
    for term in contracted(node, constants):
        if term_over([t for t, _ in met], term.axes) is None:
            constants.stay(term.units)
    return weights


def _sums(
    node: ir.Node, constants: Constants, factors: Sequence[NamedOperand], idle: UnitArray = NO_UNITS
) -> list[tuple[Named, Mask]]:
    """Terms that are summed over, and their positions that are zero whatever the weights."""
    # Zeros of weights are looked at one by one later; here those of activations count.
    active = [p for p in factors if constants.shaped(node, p) is None]
    found = []
    for term in contracted(node, constants, factors):
        silent = np.isin(term.units, idle)
        for part in active:
            silent |= constants.numbers(node, part, term.axes) == 0
        found.append((term, silent))
    return found


def _weights(
    node: ir.Node, constants: Constants, factors: Sequence[NamedOperand], met: Sequence[tuple[Named, Mask]]
) -> list[ConstantOperand | None]:
    arrays = [constants.shaped(node, p) for p in factors]
    return [None if a is None else _weight(p, a != 0, met) for p, a in zip(factors, arrays, strict=True)]


def _weight(part: NamedOperand, nonzero: Mask, sums: Sequence[tuple[Named, Mask]]) -> ConstantOperand:
    names = tuple(n for n in part.names if any(n in t.axes for t in part.terms))
    found = np.asarray(nonzero.any(axis=tuple(d for d, n in enumerate(part.names) if n not in names)))
    for term, silent in sums:
        if term_over(part.terms, term.axes) is not None:
            found = found & ~broadcast_over(silent, term.axes, names)
    return ConstantOperand(found, names, part.terms)
