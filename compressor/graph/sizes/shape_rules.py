"""Shapes that hold symbolic sizes, for operators where ONNX's own inference gives a size up that can be followed.

ONNX's inference of a node keeps the name of a symbolic dimension where it is passed on, and says nothing where
arithmetic is done on it. A rule here fills in what it leaves out; an operator without one loses no correctness,
because a size that cannot be followed is an open one.

Sources: ONNX Reshape-21, Slice-13, Concat-13, Conv-22, MaxPool-22, Pad-21, Range-11, Resize-19, Tile-13, and the
chapter on broadcasting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from types import MappingProxyType

import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.graph.ir.elementwise import BROADCASTS
from compressor.graph.sizes.dims import (
    Dim,
    Size,
    SizeFunction,
    div,
    exact_quotient,
    maximum,
    minimum,
    nonnegative,
    size_product,
    total,
)

DimShape = tuple[Dim, ...]
TO_THE_END = (1 << 31) - 1
"""A bound of a slice from which on it means the end of the axis."""


@dataclass(frozen=True)
class Operands:
    """A node and what is known of its inputs.

    Attributes:
        node: the node.
        shapes: of each input, None where it is not known.
        data: of each input, None where it is not known; entries that are no numbers are sizes.
        fresh: makes a size that nothing is known of.
        unknown: makes a number that nothing is known of, not even that it is a size.
        equate: notes two sizes that must be equal, or one of them 1, for the model to run.
    """

    node: ir.Node
    shapes: Sequence[DimShape | None]
    data: Sequence[Array | None]
    fresh: Callable[[], Size]
    unknown: Callable[[], Size]
    equate: Callable[[Dim, Dim], None]

    def shape(self, index: int) -> DimShape | None:
        """The shape of an input; None where it is left out or not known."""
        return self.shapes[index] if index < len(self.shapes) else None

    def entries(self, index: int) -> list[Dim] | None:
        """The elements of a list of whole numbers; None where it is left out or not known."""
        array = self.data[index] if index < len(self.data) else None
        if array is None or array.dtype.kind not in "iuO":
            return None
        return [entry if isinstance(entry, Size) else int(entry) for entry in array.ravel()]

    def ints(self, name: str, default: Sequence[int] = ()) -> list[int]:
        """An attribute that is a list of whole numbers."""
        return list(self.node.attributes.get_ints(name, ()) or default)


ShapeRule = Callable[[Operands], Sequence[DimShape | None] | None]


def broadcast(shapes: Iterable[DimShape], equate: Callable[[Dim, Dim], None]) -> DimShape:
    """The shape that ``shapes`` are broadcast to."""
    # From the right, where broadcasting aligns shapes.
    columns = zip_longest(*(shape[::-1] for shape in shapes), fillvalue=1)
    return tuple(_meet(column, equate) for column in columns)[::-1]


def _meet(sizes: Sequence[Dim], equate: Callable[[Dim, Dim], None]) -> Dim:
    """The size that sizes of one axis are broadcast to: equal ones, beside ones."""
    left = list(dict.fromkeys(size for size in sizes if size != 1)) or [1]
    left = [s for s in left if not any(_clamps(s, other) for other in left)]
    for other in left[1:]:
        # One of them may also be 1: then the equation is not needed, and does no harm.
        equate(left[0], other)
    numbers = [s for s in left if isinstance(s, int)]
    # They are equal, or all but one are 1: either way the largest is the result.
    return numbers[0] if numbers else maximum(*left)


def _clamps(size: Dim, other: Dim) -> bool:
    """Is ``size`` the smaller of ``other`` and some number above 1? Where the two meet they are equal."""
    call = size.terms[0][0][0] if isinstance(size, Size) and len(size.terms) == 1 and size.terms[0][0] else None
    if not isinstance(call, SizeFunction) or call.op != "min" or size != _alone(call):
        return False
    return len(call.args) == 2 and other in call.args and any(isinstance(a, int) and a > 1 for a in call.args)


def _alone(call: SizeFunction) -> Size:
    return Size((((call,), 1),))


def _broadcast(of: Operands) -> list[DimShape] | None:
    known = [shape for shape in of.shapes if shape is not None]
    return [broadcast(known, of.equate)] if len(known) == len(of.shapes) else None


def _matmul(of: Operands) -> list[DimShape] | None:
    one, two = of.shape(0), of.shape(1)
    if one is None or two is None or min(len(one), len(two)) < 2:
        return None
    of.equate(one[-1], two[-2])
    return [(*broadcast((one[:-2], two[:-2]), of.equate), one[-2], two[-1])]


def _concat(of: Operands) -> list[DimShape] | None:
    shapes = [shape for shape in of.shapes if shape is not None]
    # Scalars have no axis to be joined along.
    if len(shapes) < len(of.shapes) or len({len(shape) for shape in shapes}) != 1 or not shapes[0]:
        return None
    axis = of.node.attributes.get_int("axis", 0) % len(shapes[0])
    found: list[Dim] = []
    for a, sizes in enumerate(zip(*shapes, strict=True)):
        if a == axis:
            found.append(total(sizes))
        else:
            for size in sizes[1:]:
                of.equate(sizes[0], size)
            # All are equal, and a number says more than a symbol.
            found.append(next((s for s in sizes if isinstance(s, int)), sizes[0]))
    return [tuple(found)]


def _reshape(of: Operands) -> list[DimShape] | None:
    before = of.shape(0)
    target = of.entries(1) if len(of.shapes) > 1 else list(of.ints("shape"))
    if before is None or target is None:
        return None
    copies = not of.node.attributes.get_int("allowzero", 0)
    sizes: list[Dim] = []
    for a, entry in enumerate(target):
        if entry == 0 and copies:
            # ONNX: an entry of 0 copies the size at the same place.
            sizes.append(before[a] if a < len(before) else of.fresh())
        else:
            # An entry that is computed may turn out to be -1, and then the size is another.
            sizes.append(entry if isinstance(entry, int) or nonnegative(entry) else of.fresh())
    if -1 in sizes:
        place = sizes.index(-1)
        sizes[place] = _left_over(of, before, sizes, place)
    return [tuple(sizes)]


def _left_over(of: Operands, before: DimShape, sizes: Sequence[Dim], place: int) -> Dim:
    """The size at ``place`` of a Reshape to ``sizes``: as the product of all stays, what is left of it."""
    whole, others = size_product(before), size_product(size for a, size in enumerate(sizes) if a != place)
    left = exact_quotient(whole, others)
    if left is not None:
        return left
    # It comes out even at any size only where axes in front of it are what they were, under names of their own.
    for one, two in zip(before[:place], sizes[:place], strict=False):
        if isinstance(one, Size) and isinstance(two, Size):
            of.equate(one, two)
    return of.fresh() if isinstance(others, int) else div(whole, others)


def _flatten(of: Operands) -> list[DimShape] | None:
    before = of.shape(0)
    if before is None:
        return None
    axis = of.node.attributes.get_int("axis", 1)
    axis += len(before) if axis < 0 else 0
    return [(size_product(before[:axis]), size_product(before[axis:]))]


def _expand(of: Operands) -> list[DimShape] | None:
    before, target = of.shape(0), of.entries(1)
    if before is None or target is None:
        return None
    known = tuple(entry if nonnegative(entry) else of.fresh() for entry in target)
    return [broadcast((before, known), of.equate)]


def _filled(of: Operands) -> list[DimShape] | None:
    target = of.entries(0)
    return None if target is None else [tuple(entry if nonnegative(entry) else of.fresh() for entry in target)]


def _range(of: Operands) -> list[DimShape] | None:
    bounds = [of.entries(k) for k in range(3)]
    if any(b is None for b in bounds):
        return None
    start, limit, step = (b[0] for b in bounds if b is not None)
    # With a step that is not known, or runs backwards, the number of elements is another formula.
    if not isinstance(step, int) or step < 1:
        return None
    # Rounded up; an empty range has no negative size.
    return [(maximum(0, div(limit - start + (step - 1), step)),)]


def _tile(of: Operands) -> list[DimShape] | None:
    before, repeats = of.shape(0), of.entries(1)
    if before is None or repeats is None or len(before) != len(repeats):
        return None
    return [tuple(size * (r if nonnegative(r) else of.fresh()) for size, r in zip(before, repeats, strict=True))]


def _slice(of: Operands) -> list[DimShape] | None:
    before = of.shape(0)
    if before is None:
        return None
    if len(of.shapes) > 1:
        starts, ends, axes, steps = (of.entries(k) for k in range(1, 5))
    else:
        starts, ends, axes, steps = list(of.ints("starts")), list(of.ints("ends")), list(of.ints("axes")) or None, None
    lists = len(of.shapes)
    # Given, but not known: the default does not hold.
    if (lists > 3 and of.node.inputs[3] is not None and axes is None) or (lists > 4 and steps is None):
        return None
    if axes is None and starts is None and ends is None:
        return None
    axes = axes if axes is not None else list(range(len(starts or ends or ())))
    sizes = list(before)
    for k, axis in enumerate(axes):
        if not isinstance(axis, int):
            return None
        bounds = [None if given is None else given[k] for given in (starts, ends)]
        cut = _cut(sizes[axis], bounds, 1 if steps is None else steps[k])
        # A slice of nothing has a size, too: 0.
        sizes[axis] = of.fresh() if cut is None else cut
    return [tuple(sizes)]


def _cut(size: Dim, bounds: Sequence[Dim | None], step: Dim) -> Dim | None:
    """The size of a slice; None where it cannot be followed."""
    if not isinstance(step, int) or step == 0 or None in bounds:
        return None
    # Backwards, positions are counted from the last one down to one before the first.
    backwards = step < 0
    start = _place(bounds[0], size, least=0, most=size - backwards)
    end = _place(bounds[1], size, least=-backwards, most=size - backwards)
    if start is None or end is None:
        return None
    return maximum(0, div((start - end if backwards else end - start) + (abs(step) - 1), abs(step)))


def _place(bound: Dim | None, size: Dim, *, least: int, most: Dim) -> Dim | None:
    """A bound of a slice as a place between ``least`` and ``most``, for an axis of ``size``."""
    if isinstance(bound, int) and bound < 0:
        if size + bound == most:
            return most
        place = least if bound <= -TO_THE_END else maximum(least, size + bound)
        # Of an axis without entries, the last position backwards lies before the first.
        return place if most == size or least < 0 else minimum(place, most)
    if isinstance(bound, int) and bound >= TO_THE_END:
        return most
    return minimum(bound, most) if bound is not None and nonnegative(bound) else None


def _split(of: Operands) -> list[DimShape] | None:
    before = of.shape(0)
    if not before:
        return None
    axis, count = of.node.attributes.get_int("axis", 0) % len(before), len(of.node.outputs)
    given = of.entries(1) if len(of.shapes) > 1 else list(of.ints("split")) or None
    if len(of.shapes) > 1 and of.node.inputs[1] is not None and given is None:
        return None
    part = exact_quotient(before[axis], count)
    parts = given if given is not None else [of.fresh() if part is None else part for _ in range(count)]
    known = [entry if nonnegative(entry) else of.fresh() for entry in parts]
    return [(*before[:axis], size, *before[axis + 1 :]) for size in known]


def _pad(of: Operands) -> list[DimShape] | None:
    before = of.shape(0)
    pads = of.entries(1) if len(of.shapes) > 1 else list(of.ints("pads") or of.ints("paddings"))
    if before is None or pads is None:
        return None
    rank = len(before)
    axes = of.entries(3) if len(of.shapes) > 3 else list(range(rank))
    if axes is None or len(pads) != 2 * len(axes):
        return None
    sizes = list(before)
    for k, axis in enumerate(axes):
        if not isinstance(axis, int):
            return None
        grown = sizes[axis] + pads[k] + pads[k + len(axes)]
        sizes[axis] = grown if nonnegative(grown) else maximum(0, grown)
    return [tuple(sizes)]


def _resize(of: Operands) -> list[DimShape] | None:
    before, sizes = of.shape(0), of.entries(3)
    if before is None or "axes" in of.node.attributes:
        return None
    if sizes is not None and len(sizes) == len(before):
        stretched = of.node.attributes.get_string("keep_aspect_ratio_policy", "stretch") == "stretch"
        return [tuple(s if stretched and nonnegative(s) else of.fresh() for s in sizes)]
    scales = next((a for a in of.data[1:3] if a is not None and a.dtype.kind == "f" and a.size == len(before)), None)
    if scales is None:
        return None
    factors = [float(f) for f in scales.ravel()]
    return [
        # The size is rounded down, which is exact for whole factors alone.
        tuple(size * int(f) if f.is_integer() else of.fresh() for size, f in zip(before, factors, strict=True))
    ]


def _window(of: Operands, kernel: Sequence[Dim] | None, channels: Dim) -> list[DimShape] | None:
    before = of.shape(0)
    if before is None or len(before) < 3 or kernel is None or not all(isinstance(k, int) for k in kernel):
        return None
    count = len(before) - 2
    ones = [1] * count
    pads, steps, holes = of.ints("pads", ones), of.ints("strides", ones), of.ints("dilations", ones)
    pads = of.ints("pads", [0] * 2 * count)
    automatic = of.node.attributes.get_string("auto_pad", "NOTSET")
    up = of.node.attributes.get_int("ceil_mode", 0)
    found: list[Dim] = []
    for a, size in enumerate(before[2:]):
        reach = holes[a] * (int(str(kernel[a])) - 1) + 1
        # SAME pads until the output is the input over the stride, rounded up.
        if automatic.startswith("SAME"):
            found.append(div(size + (steps[a] - 1), steps[a]))
        elif up and steps[a] > 1:
            # Rounding up leaves out a last window that would start in the padding, which no polynomial expresses.
            found.append(of.fresh())
        else:
            padded = 0 if automatic == "VALID" else pads[a] + pads[a + count]
            found.append(div(size + (padded - reach + steps[a]), steps[a]))
    return [(before[0], channels, *found)] * len(of.node.outputs)


def _conv(of: Operands) -> list[DimShape] | None:
    before, weight = of.shape(0), of.shape(1)
    if weight is None or len(weight) < 3:
        return None
    if before is not None and len(before) == len(weight):
        of.equate(before[1], weight[1] * of.node.attributes.get_int("group", 1))
    return _window(of, of.ints("kernel_shape") or weight[2:], weight[0])


def _tied(axis: int, index: int, weight_axis: int) -> ShapeRule:
    """Notes that an axis of the first input is as long as one of a weight; ONNX's own inference gives the result."""

    def rule(of: Operands) -> None:
        before, weight = of.shape(0), of.shape(index)
        if before is not None and weight is not None and len(before) > max(axis, 0) and weight:
            of.equate(before[axis], weight[weight_axis])

    return rule


def _gemm(of: Operands) -> None:
    one, two = of.shape(0), of.shape(1)
    if one is not None and two is not None and len(one) == len(two) == 2:
        turned = [of.node.attributes.get_int(name, 0) for name in ("transA", "transB")]
        of.equate(one[0 if turned[0] else 1], two[1 if turned[1] else 0])


def _pool(of: Operands) -> list[DimShape] | None:
    before = of.shape(0)
    return None if before is None or len(before) < 2 else _window(of, of.ints("kernel_shape") or None, before[1])


SHAPE_RULES: Mapping[str, ShapeRule] = MappingProxyType(
    dict.fromkeys(BROADCASTS, _broadcast)
    | {
        "AveragePool": _pool, "Concat": _concat, "ConstantOfShape": _filled, "Conv": _conv, "Expand": _expand,
        "Flatten": _flatten, "LpPool": _pool, "MatMul": _matmul, "MaxPool": _pool, "Pad": _pad, "Range": _range,
        "Reshape": _reshape, "Resize": _resize, "Slice": _slice, "Split": _split, "Tile": _tile,
        # Where all axes of an input are open, weights say how many channels it has.
        "BatchNormalization": _tied(1, 1, 0), "ConvTranspose": _tied(1, 1, 0), "Gemm": _gemm, "GRU": _tied(-1, 1, -1),
        "InstanceNormalization": _tied(1, 1, 0), "LayerNormalization": _tied(-1, 1, -1), "LSTM": _tied(-1, 1, -1),
        "RNN": _tied(-1, 1, -1),
    }
)  # fmt: skip
"""Operator of the standard domain -> its rule."""
