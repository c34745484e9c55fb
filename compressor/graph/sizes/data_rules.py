"""Whole numbers computed from symbolic sizes: the arithmetic that exporters write behind ``Shape``.

A small tensor of which some elements are sizes is an object array; each element is followed by itself, so that
``Concat(batch, 12, 64)`` is one open size and two numbers. What cannot be followed becomes a symbol of its own, which
equals nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.graph.ir.evaluate import evaluate
from compressor.graph.ir.movement import MOVEMENT, Movement
from compressor.graph.sizes import dims
from compressor.graph.sizes.dims import Dim, Size
from compressor.graph.sizes.shape_rules import Operands

FOLLOWED_LIMIT = 1 << 10
"""Elements of the largest tensor whose elements are followed one by one."""
CARRIED: Mapping[str, slice] = MappingProxyType({
    op: slice(None) if kind is Movement.JOINS else slice(0, 1)
    for op, kind in MOVEMENT.items()
    if kind not in (Movement.TYPE, Movement.ZEROS)
})  # fmt: skip
"""Operators whose result holds elements of some inputs as they are, and which inputs these are."""
ANY_SIZE = frozenset({ir.DataType.INT64, ir.DataType.INT32})
"""Types that hold every size."""
SIZE_CASTS = ANY_SIZE | {ir.DataType.FLOAT, ir.DataType.DOUBLE}
"""Types between which a size is cast as it is."""

Element = Dim | bool
Follow = Callable[..., Element | None]


class _NotFollowed(Exception):  # noqa: N818 - a signal between two functions, not an error for users
    """An element cannot be written as a size."""


def follow(of: Operands, dtypes: Sequence[ir.DataType | None], opsets: Mapping[str, int]) -> list[Array] | None:
    """What ``of.node`` computes from arrays of which some hold sizes; None where that cannot be said.

    Args:
        of: the node and its inputs; every input that is there has data.
        dtypes: element type of each input.
        opsets: version of each operator set.
    """
    try:
        return _followed(of, dtypes, opsets)
    except (_NotFollowed, ValueError):  # no whole numbers, or arrays that do not fit each other
        return None


def _followed(of: Operands, dtypes: Sequence[ir.DataType | None], opsets: Mapping[str, int]) -> list[Array] | None:
    op = of.node.op_type
    if op in CARRIED:
        return _moved(of, opsets)
    if op == "Cast":
        return _cast(of, dtypes[0])
    if op in _REDUCTIONS:
        return _reduced(of)
    rule = _ELEMENTWISE.get(op)
    if op == "Div" and dtypes[0] not in ANY_SIZE:
        rule = dims.exact_quotient  # of floats, exact where nothing is left over
    # With fmod the remainder has the sign of the dividend, and `dims.mod` that of the divisor.
    if rule is None or of.node.attributes.get_int("fmod", 0) == 1:
        return None
    # Sizes are objects, so numpy's own functions would not do.
    arrays = [_elements(array) for array in of.data if array is not None]
    return [np.asarray(np.frompyfunc(_each(rule, of.unknown), len(arrays), 1)(*arrays), dtype=object)]


def _each(rule: Follow, unknown: Callable[[], Size]) -> Callable[..., Element]:
    def apply(*elements: Element) -> Element:
        found = rule(*elements)
        return unknown() if found is None else found

    return apply


def _elements(array: Array) -> Array:
    """The array with its whole numbers as Python's."""
    if array.dtype.kind == "O":
        return array
    made = np.empty(array.shape, object)
    for place, entry in np.ndenumerate(array):
        made[place] = _whole(entry.item())
    return made


def _whole(number: Any) -> Element:
    if isinstance(number, bool):
        return number
    if isinstance(number, int) or (isinstance(number, float) and number.is_integer()):
        return int(number)
    raise _NotFollowed


def _moved(of: Operands, opsets: Mapping[str, int]) -> list[Array] | None:
    """The node run on the places of its elements instead of the elements."""
    table: list[object] = []
    feeds: dict[str, Array] = {}
    places: set[str] = set()
    moved = CARRIED[of.node.op_type]
    carried = set(range(*moved.indices(len(of.data))))
    for index, (value, array) in enumerate(zip(of.node.inputs, of.data, strict=True)):
        if value is None or array is None:
            continue
        name = str(value.name)
        # What says how to move (indices, axes) has to be numbers, and cannot be what is moved at the same time.
        if index not in carried:
            if array.dtype.kind == "O" or name in places:
                return None
            feeds[name] = array
        elif name not in feeds:
            places.add(name)
            feeds[name] = np.arange(len(table), len(table) + array.size, dtype=np.int64).reshape(array.shape)
            table.extend(_elements(array).ravel())
    found = evaluate(of.node, feeds, opsets)
    if found is None or any(places.size > FOLLOWED_LIMIT for places in found):
        return None
    return [_picked(table, places) for places in found]


def _picked(table: list[object], places: Array) -> Array:
    made = np.empty(places.shape, object)
    for place, index in np.ndenumerate(places):
        made[place] = table[int(index)]
    return made


def _cast(of: Operands, source: ir.DataType | None) -> list[Array] | None:
    target = ir.DataType(of.node.attributes.get_int("to", 0))
    array = of.data[0]
    if array is None or source not in SIZE_CASTS or target not in SIZE_CASTS:
        return None
    if source not in ANY_SIZE and target in ANY_SIZE and any(_doubtful(entry) for entry in array.ravel()):
        return None  # a number that may have a fraction loses it
    return [array]


def _doubtful(entry: object) -> bool:
    return isinstance(entry, Size) and any(name.startswith(dims.UNKNOWN) for name in dims.symbols(entry))


def _reduced(of: Operands) -> list[Array] | None:
    array = of.data[0]
    axes = of.entries(1) if len(of.data) > 1 else (of.ints("axes") or None)
    if array is None or (axes is not None and not all(isinstance(a, int) for a in axes)):
        return None
    if not axes and of.node.attributes.get_int("noop_with_empty_axes", 0) == 1:
        return [array]
    over = {a % array.ndim for a in axes if isinstance(a, int)} if axes else set(range(array.ndim))
    kept = bool(of.node.attributes.get_int("keepdims", 1))
    found = _elements(array)
    # From the last axis on, so that the numbers of the others stay right.
    for axis in sorted(over, reverse=True):
        found = np.asarray(_REDUCTIONS[of.node.op_type].reduce(found, axis=axis, keepdims=kept), dtype=object)
    return [found]


# ---- element by element ---------------------------------------------------------------------------------------


def _sign(gap: Dim) -> int | None:
    """-1, 0 or 1 where the sign of ``gap`` is the same for all sizes, else None."""
    if gap == 0:
        return 0
    # Whole numbers: above zero is at least one.
    return 1 if dims.nonnegative(gap - 1) else -1 if dims.nonnegative(-1 - gap) else None


def _compare(holds: Callable[[int], bool]) -> Follow:
    def rule(one: Dim, two: Dim) -> bool | None:
        sign = _sign(one - two)
        return None if sign is None else holds(sign)

    return rule


def _where(condition: Element, one: Element, two: Element) -> Element | None:
    # The same whichever is chosen.
    if one == two:
        return one
    return (one if condition else two) if isinstance(condition, bool) else None


def _rounded(size: Dim) -> Dim | None:
    return None if _doubtful(size) else size


_ELEMENTWISE: Mapping[str, Follow] = MappingProxyType({
    "Abs": lambda a: a if dims.nonnegative(a) else None,
    "Add": lambda a, b: a + b,
    "Ceil": _rounded,
    "Div": dims.div,
    "Equal": _compare(lambda sign: sign == 0),
    "Floor": _rounded,
    "Greater": _compare(lambda sign: sign > 0),
    "GreaterOrEqual": _compare(lambda sign: sign >= 0),
    "Less": _compare(lambda sign: sign < 0),
    "LessOrEqual": _compare(lambda sign: sign <= 0),
    "Max": dims.maximum,
    "Min": dims.minimum,
    "Mod": dims.mod,
    "Mul": lambda a, b: a * b,
    "Neg": lambda a: -a,
    "Not": lambda a: not a if isinstance(a, bool) else None,
    "Round": _rounded,
    "Sub": lambda a, b: a - b,
    "Where": _where,
})  # fmt: skip
_REDUCTIONS: Mapping[str, np.ufunc] = MappingProxyType({
    "ReduceProd": np.frompyfunc(lambda a, b: a * b, 2, 1),
    "ReduceSum": np.frompyfunc(lambda a, b: a + b, 2, 1),
    "ReduceMax": np.frompyfunc(dims.maximum, 2, 1),
    "ReduceMin": np.frompyfunc(dims.minimum, 2, 1),
})  # fmt: skip
