"""What rules use to rewrite attributes, shapes and indices once channels are gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.labels import UnitArray
from compressor.core.arrays import Array, Mask
from compressor.errors import PlanError
from compressor.graph.ir.edit import FreeNames, add_constant
from compressor.graph.ir.nodes import input_of, optional_input
from compressor.graph.ir.opsets import node_of, place_of, stated

SLICE_SETTINGS = ("starts", "ends", "axes", "steps")
BEFORE_FIRST = -(2**31)
"""The end of a Slice that runs backwards through the first position."""


@dataclass(frozen=True)
class _Bounds:
    """Of a Slice along one axis."""

    start: int
    end: int
    step: int


class Repairer:
    """Edits the nodes of the graph that a :class:`ChannelMask` was made for; weights are not its business."""

    def __init__(self, cut: ChannelMask) -> None:
        self.cut = cut
        self.coupling = cut.coupling
        self.graph = cut.coupling.graph
        self._after: dict[ir.Value, tuple[int, ...]] = {}
        self._fresh = FreeNames(self.graph)

    # ---- facts ----------------------------------------------------------------------------------------------

    def before(self, value: ir.Value | None) -> tuple[int, ...]:
        """Shape of ``value`` before the cut; () for an input that is left out."""
        return self.cut.before(value)

    def after(self, value: ir.Value | None) -> tuple[int, ...]:
        """Shape that ``value`` has after the cut; raises PlanError where rows would differ or nothing is left."""
        if value is None:
            return ()
        if value not in self._after:
            self._after[value] = self.cut.after(value)
        return self._after[value]

    def changed(self, value: ir.Value | None, axis: int) -> bool:
        """Does ``value`` lose positions along ``axis``?"""
        return any(
            axis in t.axes and not self.cut.keeps(t).all() for t in self.coupling.layout(value, assign_fresh=False)
        )

    def keep(self, value: ir.Value | None, axes: tuple[int, ...]) -> Mask:
        """Which positions of ``value`` stay along ``axes``; bool of their sizes."""
        return self.cut.keep(value, axes)

    def renumber(self, value: ir.Value | None, axis: int) -> UnitArray:
        """New position of each old one along ``axis``, int64[size]; of one that goes, that of the kept one before
        it."""
        return np.cumsum(self.cut.keep(value, (axis,))) - 1

    def follow(self, node: ir.Node, axis: int, positions: UnitArray) -> UnitArray:
        """What is left of ``positions``, which a node takes of its first input along ``axis``, numbered as after the
        cut."""
        kept = self.cut.keep(node.outputs[0], (axis,))
        return self.renumber(node.inputs[0], axis)[positions[kept]]

    def whole_rows(self, value: ir.Value | None, axis: int, rows: int) -> int | None:
        """How many of ``rows`` equal parts of ``axis`` are left, where whole parts go; None: parts only shrink."""
        kept = self.cut.keep(value, (axis,)).reshape(rows, -1)
        if kept.all() or not (kept.all(axis=1) | ~kept.any(axis=1)).all():
            return None
        return int(kept.any(axis=1).sum())

    # ---- edits ----------------------------------------------------------------------------------------------

    def set_input(self, node: ir.Node, index: int, array: Array) -> ir.Value:
        """Gives input ``index`` a constant of its own; what it read before stays for its other users."""
        value = self.constant(f"{node.name}.input{index}", array)
        if index >= len(node.inputs):
            node.resize_inputs(index + 1)
        node.replace_input_with(index, value)
        return value

    def state(self, node: ir.Node, name: str, numbers: Array) -> None:
        """Sets what a node says of ``name``, as the input or the attribute that it is in the operator set."""
        place = place_of(node.op_type, name, self.coupling.opset)
        if place is None:
            node.attributes[name] = ir.AttrInt64s(name, numbers.tolist())
        else:
            self.set_input(node, place, numbers)

    def constant(self, name: str, array: Array) -> ir.Value:
        """A new initializer with a name nobody has."""
        return add_constant(self.graph, name, array, self._fresh)

    def unique(self, name: str) -> str:
        """``name``, with a number behind it if somebody has it already."""
        return self._fresh(name)

    def set_shape(
        self, node: ir.Node, index: int, axes: Sequence[int] | None = None, scaled: Sequence[int] = ()
    ) -> None:
        """Rewrites the entries of a shape input whose sizes changed in the node's output.

        Args:
            node: Reshape, Expand, Resize or ConstantOfShape.
            index: which input is the shape.
            axes: axis of each entry; None: the last entries' axes, aligned at the right.
            scaled: axes that :meth:`scale_shape` has seen to.
        """
        out = node.outputs[0]
        before, after = self.before(out), self.after(out)
        target = optional_input(node, index)
        if target is None:
            return
        shape = self.coupling.shapes(target)
        count = len(before) if shape is None else shape[0]
        places = list(axes) if axes is not None else list(range(len(before) - count, len(before)))
        dynamic = self.coupling.shapes.dynamic(out)
        entries = np.asarray([-1 if dynamic[a] else after[a] for a in places], np.int64)
        changed = np.asarray([before[a] != after[a] and a not in scaled for a in places], np.bool_)
        static = self.coupling.shapes.const(target)
        if static is None:
            if changed.any():
                self._override_input(node, index, changed, entries)
            return
        # 1 in Expand and -1 in Reshape already mean "as it comes".
        keep = (static == -1) | ((static == 1) & (node.op_type == "Expand"))
        new = np.where((changed | self._stale_copies(node, static)) & ~keep, entries, static)
        if (new == -1).sum() > 1:
            raise PlanError(f"node {node.name!r} ({node.op_type}) would need two sizes found at run time")
        if not np.array_equal(new, static):
            self.set_input(node, index, new.astype(static.dtype))

    def varying(self, value: ir.Value) -> list[int]:
        """Axes of ``value`` that lose positions and whose size the caller chooses."""
        dynamic = self.coupling.shapes.dynamic(value)
        return [a for a, sizes in enumerate(zip(self.before(value), self.after(value), strict=True))
                if dynamic[a] and sizes[0] != sizes[1]]  # fmt: skip

    def scale_shape(self, node: ir.Node, index: int, axes: Sequence[int]) -> None:
        """Scales entries of a shape input that hold a batch beside channels that go.

        Args:
            node: Reshape or Expand.
            index: which input is the shape; one that is no constant, or copies such sizes (0 in Reshape).
            axes: of the output, that lose the same share at every size.
        """
        target = node.inputs[index]
        if not axes or target is None or self.coupling.shapes.const(target) is not None:
            return
        before, after = self.before(node.outputs[0]), self.after(node.outputs[0])
        count = (self.coupling.shapes(target) or (len(before),))[0]
        old, new = np.ones(count, np.int64), np.ones(count, np.int64)
        # Counted from the end: the shape may have fewer entries than the output has axes, as they are added in front.
        for axis in axes:
            old[axis - len(before)], new[axis - len(before)] = before[axis], after[axis]
        steps = self._scaling(target, old, new)
        for step in steps:
            node.prepend(step)
        node.replace_input_with(index, steps[-1].outputs[0])

    def _scaling(self, value: ir.Value, old: Array, new: Array) -> list[ir.Node]:
        """Nodes that make ``value * new / old`` of whole numbers that are multiples of what ``old`` has beside
        ``new``."""
        # Divided first, by what has no factor in common with what follows: sizes are multiples of it, so that nothing
        # is rounded away, and no product overflows that the size itself does not.
        common = np.gcd(old, new)
        made: list[ir.Node] = []
        for op, factors in (("Div", old // common), ("Mul", new // common)):
            current = made[-1].outputs[0] if made else value
            constant = self.constant(f"{value.name}.{op.lower()}", factors)
            made.append(ir.node(op, [current, constant], name=self.unique(f"{value.name}.{op.lower()}ed")))
            made[-1].outputs[0].name = self.unique(f"{made[-1].name}.out")
        return made

    def _stale_copies(self, node: ir.Node, static: Array) -> Mask:
        """Entries 0 of a Reshape, which copy the input's size at the same place, where that size changes."""
        before, after = self.before(node.inputs[0]), self.after(node.inputs[0])
        if node.op_type != "Reshape" or node.attributes.get_int("allowzero", 0) == 1:
            return np.zeros(static.shape, np.bool_)
        moved = [k < len(before) and before[k] != after[k] for k in range(static.size)]
        stale: Mask = np.asarray(moved, np.bool_) & (static == 0)
        return stale

    def _override_input(self, node: ir.Node, index: int, changed: Mask, entries: Array) -> None:
        target = input_of(node, index)
        choice = self._where(str(target.name), changed, entries, target)
        node.prepend(choice)
        node.replace_input_with(index, choice.outputs[0])

    def rescale(self, value: ir.Value, before: Array, after: Array) -> None:
        """Turns planned sizes that are read at run time back into the original ones, for all users of ``value``.

        ``size * before / after``, which is exact also where a size holds a batch beside the channels it lost.
        """
        users = list(value.uses())
        producer = value.producer()
        assert producer is not None
        for node in self._scaling(value, after, before):
            producer.append(node)
            producer = node
        current = producer.outputs[0]
        for user, index in users:
            user.replace_input_with(index, current)
        outputs = value.graph.outputs if value.graph is not None and value.is_graph_output() else []
        for index, output in enumerate(outputs):
            # Whoever runs the model is a user, too, and knows the value by its name.
            if output is value:
                current.type, current.shape = value.type, value.shape
                outputs[index] = current
        if outputs:
            current.name, value.name = value.name, self.unique(f"{value.name}.planned")

    def _where(self, name: str, changed: Mask, entries: Array, value: ir.Value) -> ir.Node:
        condition = self.constant(f"{name}.pruned", changed)
        chosen = self.constant(f"{name}.sizes", entries.astype(np.int64))
        node = ir.node("Where", [condition, chosen, value], name=self.unique(f"{name}.where"))
        node.outputs[0].name = self.unique(f"{node.name}.out")
        return node

    def take_from_front(self, value: ir.Value, stays: Callable[[ir.Node], bool]) -> ir.Value:
        """Users of ``value``, which holds one number, get as many positions as are left; what they read now.

        Args:
            value: keeps its size.
            stays: which users go on reading all of it.
        """
        before, after = self.before(value), self.after(value)
        # All its positions hold the same number, so it does not matter which are taken: the first are a plain Slice.
        users = [(user, index) for user, index in value.uses() if not stays(user)]
        axes = [a for a, size in enumerate(before) if size != after[a]]
        name = self.unique(f"{value.name}.kept")
        bounds = {"starts": [0] * len(axes), "ends": [after[a] for a in axes], "axes": axes}
        slicing = node_of("Slice", value, bounds, self.coupling.opset, lambda k, a: self.constant(f"{name}.{k}", a))
        slicing.name = name
        part = slicing.outputs[0]
        part.name, part.type = self.unique(f"{name}.out"), value.type
        producer = value.producer()
        assert producer is not None
        producer.append(slicing)
        for user, index in users:
            user.replace_input_with(index, part)
        if producer.graph is not None and producer.graph is not self.graph:  # what a body returns
            results = producer.graph.outputs
            for place, result in enumerate(results):
                results[place] = part if result is value else result
        return part

    def replace_by_constant(self, node: ir.Node, array: npt.NDArray[np.generic]) -> None:
        """Users of the node's only output read ``array`` instead; the node is dead."""
        value = self.constant(f"{node.outputs[0].name}.fixed", array)
        node.outputs[0].replace_all_uses_with(value)

    def slice_axis(self, node: ir.Node, axis: int, positions: UnitArray) -> None:
        """Makes a Slice take ``positions`` along ``axis``: new bounds, or a Gather before it if they have gaps."""
        if not positions.size:
            self._set_bounds(node, axis, _Bounds(0, 0, 1))
            return
        steps = np.diff(positions)
        if (steps == steps[:1]).all() and (self._steps() or (steps == 1).all()):
            step = int(steps[0]) if steps.size else 1
            end = int(positions[-1]) + (1 if step > 0 else -1)
            # Slice-13 counts negative bounds from the back: -1 would be the last position, not one before the first.
            self._set_bounds(node, axis, _Bounds(int(positions[0]), end if end >= 0 else BEFORE_FIRST, step))
            return
        # No bounds take positions with gaps: the Gather picks them, and the Slice then takes all that it gets.
        self._set_bounds(node, axis, _Bounds(0, np.iinfo(np.int32).max, 1))
        index = self.constant(f"{node.name}.kept{axis}", positions)
        name = f"{node.name}.gather{axis}"
        gather = ir.node("Gather", [node.inputs[0], index], attributes={"axis": axis}, name=name)
        gather.outputs[0].name = self.unique(f"{name}.out")
        node.prepend(gather)
        node.replace_input_with(0, gather.outputs[0])

    def _set_bounds(self, node: ir.Node, axis: int, bounds: _Bounds) -> None:
        rank = len(self.before(node.outputs[0]))
        # Everything is written, also what was left out: a step may be needed where there was none.
        given = [stated(node, name, self.coupling.opset, self.coupling.shapes.const) for name in SLICE_SETTINGS]
        count = len(given[0]) if given[0] is not None else 0
        defaults = (None, None, np.arange(count), np.ones(count, np.int64))
        columns = [np.array(g if g is not None else d) for g, d in zip(given, defaults, strict=True)]
        place = [int(a) % rank for a in columns[2]].index(axis)
        for column, new in ((columns[0], bounds.start), (columns[1], bounds.end), (columns[3], bounds.step)):
            # Bounds may be int32, and "to the end" is larger than that.
            column[place] = min(new, np.iinfo(column.dtype).max)
        for name, column in zip(SLICE_SETTINGS[: 4 if self._steps() else 3], columns, strict=False):
            self.state(node, name, column)

    def _steps(self) -> bool:
        """Can a Slice leave out positions between its bounds?"""
        return place_of("Slice", "steps", self.coupling.opset) is not None
