"""The masked reference: the original graph in which removed positions do not count.

Weights of the reference are zeroed by the caller. That alone makes a removed channel vanish wherever a weight
contracts it. Where activations are summed without a weight (products of activations, reductions, norms) the
removed positions get a neutral value here, and means run over the kept positions only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.labels import Term
from compressor.core.arrays import Array, Mask
from compressor.graph.ir.nodes import become_identity, dims_of, number_of, optional_input
from compressor.graph.ir.opsets import node_of, version_of
from compressor.graph.tensors.weights import DerivedTensor

NOT_SELECTABLE = frozenset(map(np.dtype, ("bool", "int8", "int16", "uint16")))
"""Types that Where of ONNX Runtime 1.24 does not take."""


def without_axis(term: Term[int], axis: int) -> Term[int]:
    """``term`` of a value that lost ``axis``, along which the term does not vary."""
    return Term(tuple(a - (a > axis) for a in term.axes), term.units)


def _as_type(number: float, dtype: np.dtype[np.generic]) -> Array:
    """A scalar of this type; what is beyond it, such as the least float32 in half precision, is infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(np.asarray(number).astype(dtype))


class Reference:
    """Edits a clone of the graph; what stays is looked up in the original by name.

    ``masked`` counts the nodes that needed a mask, ``statistics`` those whose mean or variance was masked, and
    ``sized`` says whether a mask spells out a size that depends on the input. A ``thorough`` reference masks
    what a zeroed weight would cancel too, because zero times infinity is not zero.
    """

    def __init__(
        self, cut: ChannelMask, graph: ir.Graph, originals: dict[str, ir.Value], *, thorough: bool = False
    ) -> None:
        self.cut, self.graph = cut, graph
        self.thorough = thorough
        self._originals = originals
        self.masked = 0
        self.statistics = 0
        self.sized = False
        self._count = 0

    def _unique(self, name: str) -> str:
        while (found := f"{name}.{self._count}") in self._originals:
            self._count += 1
        self._count += 1
        return found

    def original(self, value: ir.Value | None) -> ir.Value | None:
        """The value of the same name in the analysed graph."""
        return None if value is None else self._originals.get(str(value.name))

    def mask(self, value: ir.Value | None) -> Mask | None:
        """Keep mask of ``value``, None where nothing of it goes."""
        source = self.original(value)
        found = self.cut.mask(source)
        if found is not None and source is not None:
            dynamic = self.cut.coupling.shapes.dynamic(source)
            # Such a mask has as many positions as the size probed, so the reference runs at that size alone.
            self.sized = self.sized or any(d and s > 1 for d, s in zip(dynamic, found.shape, strict=True))
        return found

    def shape(self, value: ir.Value | None) -> tuple[int, ...]:
        """Shape of ``value`` before the cut."""
        return self.cut.before(self.original(value))

    def share(self, value: ir.Value | None, axes: Sequence[int]) -> float:
        """Kept positions along ``axes``, as a share of all of them (the same in every row by balance)."""
        mask = self.mask(value)
        if mask is None:
            return 1.0
        # A row that goes as a whole is in no result that is kept, and does not count for the share.
        live = mask.any(axis=tuple(axes), keepdims=True)
        return float(mask[np.broadcast_to(live, mask.shape)].mean())

    def dtype(self, value: ir.Value | None) -> np.dtype[np.generic]:
        """Element type of ``value``."""
        source = self.original(value)
        found = self.cut.coupling.shapes.dtype(source) if source is not None else None
        return np.dtype(np.float32) if found is None else found.numpy()

    def constant(self, array: Array) -> ir.Value:
        """A new initializer of the reference."""
        name = self._unique("masked")
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self.graph.register_initializer(value)
        return value

    def add(self, before: ir.Node, op: str, inputs: Sequence[ir.Value | None], **attributes: int | float) -> ir.Value:
        """A node in front of ``before``; its output."""
        return self._put(before, ir.node(op, list(inputs), attributes=attributes))

    def _put(self, before: ir.Node, node: ir.Node) -> ir.Value:
        node.name = self._unique("masked.node")
        node.outputs[0].name = self._unique("masked.out")
        before.prepend(node)
        return node.outputs[0]

    def fill(self, node: ir.Node, index: int, neutral: float | ir.Value) -> None:
        """Sets the removed positions of input ``index`` to ``neutral``, a number or a scalar of the graph."""
        value = node.inputs[index]
        mask = self.mask(value)
        if mask is None or value is None:
            return
        self.masked += 1
        if value.const_value is not None and value.is_initializer() and not isinstance(neutral, ir.Value):
            # Not by a node: kernels of the runtime may take weights that are computed for something else.
            node.replace_input_with(index, self._filled_weight(value.const_value, mask, neutral))
            return
        dtype = self.dtype(value)
        filler = neutral if isinstance(neutral, ir.Value) else self.constant(_as_type(neutral, dtype))
        # Where takes them as int32, which holds their values exactly.
        through = ir.DataType.from_numpy(dtype) if dtype in NOT_SELECTABLE else None
        if through is not None:
            value, filler = (self.add(node, "Cast", [v], to=int(ir.DataType.INT32)) for v in (value, filler))
        filled = self.add(node, "Where", [self.constant(mask), value, filler])
        if through is not None:
            filled = self.add(node, "Cast", [filled], to=int(through))
        node.replace_input_with(index, filled)

    def _filled_weight(self, tensor: ir.TensorProtocol, mask: Mask, neutral: float) -> ir.Value:
        """A new initializer: a weight with its removed positions set to a number, made when it is written."""

        def part(rows: Array, first: int) -> Array:
            own = mask[first : first + len(rows)] if mask.shape[0] > 1 else mask
            return np.where(own, rows, _as_type(neutral, rows.dtype))

        filled = DerivedTensor(tensor, part, dims_of(tensor))
        name = filled.name = self._unique("masked")
        value = ir.Value(name=name, shape=ir.Shape(filled.shape), type=ir.TensorType(tensor.dtype), const_value=filled)
        self.graph.register_initializer(value)
        return value

    def silence(self, node: ir.Node, index: int) -> None:
        """Sets the whole of input ``index``, which holds real numbers, to zero."""
        dtype = self.dtype(node.inputs[index])
        # Not a product with zero, which makes no number of infinities.
        inputs = [self.constant(np.zeros((), np.bool_)), node.inputs[index], self.constant(np.zeros((), dtype))]
        node.replace_input_with(index, self.add(node, "Where", inputs))

    def reduce(self, node: ir.Node, op: str, value: ir.Value, axes: Sequence[int]) -> ir.Value:
        """A reduction ``op`` of ``value`` along ``axes``, which stay with size 1, in the form of the graph's operator
        set."""
        settings = {"axes": list(axes), "keepdims": 1}
        return self._put(node, node_of(op, value, settings, version_of(self.graph), lambda _, a: self.constant(a)))

    def source_of(self, node: ir.Node) -> ir.Node:
        """The node of the analysed graph that ``node`` was cloned from."""
        source = self.original(node.outputs[0])
        producer = source.producer() if source is not None else None
        assert producer is not None
        return producer

    def varies(self, value: ir.Value | None, axes: Sequence[int]) -> bool:
        """Do removed positions lie along ``axes``, so that an operator which runs over them sees some?"""
        mask = self.mask(value)
        return mask is not None and any(mask.shape[a] > 1 for a in axes)

    def scale_output(self, node: ir.Node, factor: float) -> None:
        """Multiplies the node's result; the node itself becomes the name of it."""
        constant = self.constant(np.asarray(factor).astype(self.dtype(node.outputs[0])))
        self.replace(node, self.add(node, "Mul", [self._twin(node), constant]))

    def fill_output(self, node: ir.Node, mask: Mask) -> None:
        """Sets the removed positions of the node's result to zero; the node itself becomes the name of it."""
        zero = self.constant(np.zeros((), self.dtype(node.outputs[0])))
        self.replace(node, self.add(node, "Where", [self.constant(mask), self._twin(node), zero]))
        self.masked += 1

    def _twin(self, node: ir.Node) -> ir.Value:
        """The result of a copy of the node."""
        # Made before the node becomes an Identity, which keeps the name of the output for those that look it up.
        inputs: list[ir.Value | None] = list(node.inputs)
        twin = ir.Node(node.domain, node.op_type, inputs, list(node.attributes.values()), name=f"{node.name}.kept")
        twin.outputs[0].name = f"{node.name}.kept.out"
        node.prepend(twin)
        return twin.outputs[0]

    def replace(self, node: ir.Node, value: ir.Value) -> None:
        """Turns ``node`` into an Identity of ``value``, so that its output keeps its name."""
        become_identity(node, value)


def mask_sums(node: ir.Node, reference: Reference) -> None:
    """Removed positions are zero where they are summed."""
    for index in range(len(node.inputs)):
        reference.fill(node, index, 0.0)


def mask_weights(node: ir.Node, reference: Reference) -> None:
    """Removed positions of weights are zero; so need not be those of data, which these multiply."""
    for index, value in enumerate(node.inputs):
        if reference.thorough or (value is not None and value.is_initializer()):
            reference.fill(node, index, 0.0)


def mask_product(node: ir.Node, reference: Reference) -> None:
    """Sets removed positions of the operands of a product to zero; not needed where one is a weight, which has
    zeros."""
    if reference.thorough or not any(
        v is not None and v.is_initializer() and reference.mask(v) is not None for v in node.inputs[:2]
    ):
        mask_sums(node, reference)


def layer_norm(node: ir.Node, reference: Reference) -> None:
    """LayerNormalization and RMSNormalization with statistics over the kept positions."""
    value = node.inputs[0]
    rank = len(reference.shape(value))
    axis = node.attributes.get_int("axis", -1)
    axes = list(range(axis % rank, rank))
    mask = reference.mask(value)
    # Statistics that see no removed position are right as they are.
    if value is None or mask is None or not reference.varies(value, axes):
        return
    normal = _standardise(node, reference, value, mask, axes, centred=node.op_type == "LayerNormalization")
    scaled = reference.add(node, "Mul", [normal, node.inputs[1]])
    if optional_input(node, 2) is not None:
        scaled = reference.add(node, "Add", [scaled, node.inputs[2]])
    reference.replace(node, scaled)


def mean_variance(node: ir.Node, reference: Reference) -> None:
    """MeanVarianceNormalization with statistics over the kept positions.

    Where channels are normalised each on its own, the operator stays and the removed ones are set to zero after it:
    its formula takes the root of a difference of means, which rounding can make negative in a channel that masking
    left constant. What it makes of a channel that stays must be the same in both models, a NaN included.
    """
    value = node.inputs[0]
    rank = len(reference.shape(value))
    axes = [a % rank for a in node.attributes.get_ints("axes", (0, 2, 3))]
    mask = reference.mask(value)
    if value is None or mask is None:
        return
    if reference.varies(value, axes):
        reference.replace(node, _standardise(node, reference, value, mask, axes))
    else:
        reference.fill_output(node, mask)


def mask_instance_norm(node: ir.Node, reference: Reference) -> None:
    """InstanceNormalization whose spatial axes hold channels (a group normalisation written with reshapes)."""
    value = node.inputs[0]
    rank = len(reference.shape(value))
    axes = list(range(2, rank))
    mask = reference.mask(value)
    if value is None or mask is None or not reference.varies(value, axes):
        return
    normal = _standardise(node, reference, value, mask, axes)
    shape = [1, -1] + [1] * (rank - 2)
    scale, bias = (_put_reshape(node, reference, v, shape) for v in node.inputs[1:3])
    reference.replace(node, reference.add(node, "Add", [reference.add(node, "Mul", [normal, scale]), bias]))


def group_norm(node: ir.Node, reference: Reference) -> None:
    """GroupNormalization with statistics over the kept positions of each group."""
    value = node.inputs[0]
    mask = reference.mask(value)
    if value is None or mask is None:
        return
    shape = reference.shape(value)
    groups = node.attributes.get_int("num_groups", 1)
    # The mask is 1 along axes of which nothing goes, as channels or the image, whose size may depend on the input.
    image = shape[2:] if any(size > 1 for size in mask.shape[2:]) else mask.shape[2:]
    kept = np.broadcast_to(mask, (len(mask), shape[1], *image)).reshape(len(mask), groups, shape[1] // groups, -1)
    # Positions of the image have an axis of their own, as their number may depend on the input.
    split = _put_reshape(node, reference, value, [0, groups, kept.shape[2], -1])
    normal = _standardise(node, reference, split, kept, [2, 3])
    # The shape is read at run time, since the batch may vary.
    back = reference.add(node, "Reshape", [normal, reference.add(node, "Shape", [value])])
    # GroupNormalization has scale and bias for each group in opset 18, for each channel from 21 on.
    per_channel = reference.shape(node.inputs[1])[0] == shape[1]
    ones = [1] * (len(shape) - 2)
    repeats = 1 if per_channel else shape[1] // groups
    affine = [v if per_channel else _repeat(node, reference, v, repeats) for v in node.inputs[1:3]]
    scale, bias = (_put_reshape(node, reference, v, [1, -1, *ones]) for v in affine)
    reference.replace(node, reference.add(node, "Add", [reference.add(node, "Mul", [back, scale]), bias]))


def _repeat(node: ir.Node, reference: Reference, value: ir.Value | None, count: int) -> ir.Value:
    column = _put_reshape(node, reference, value, [-1, 1])
    wide = reference.add(node, "Expand", [column, reference.constant(np.asarray([1, count], np.int64))])
    return _put_reshape(node, reference, wide, [-1])


def _standardise(  # one formula: with and without a mean
    node: ir.Node, reference: Reference, value: ir.Value, mask: Mask, axes: Sequence[int], *, centred: bool = True
) -> ir.Value:
    """``value``, normalised along ``axes`` by the statistics of its kept positions.

    That is (x - mean) / sqrt(variance + epsilon); not ``centred``: x / sqrt(mean square + epsilon). For
    MeanVarianceNormalization it is (x - mean) / sqrt(variance): ONNX Runtime leaves out the 1e-9 of the standard, so
    that rows in which all numbers are equal become NaN in both models.
    """
    dtype = reference.dtype(node.inputs[0])
    # Rows that go as a whole have no statistics that anybody reads.
    live = mask.any(axis=tuple(axes), keepdims=True)
    share = float(mask[np.broadcast_to(live, mask.shape)].mean())
    reference.statistics += share < 1.0
    # A mean over all positions, removed ones being zero, is this factor too small.
    factor = reference.constant(np.asarray(1.0 / share).astype(dtype))
    keep = reference.constant(mask.astype(dtype))

    def mean(x: ir.Value) -> ir.Value:
        return reference.add(node, "Mul", [reference.reduce(node, "ReduceMean", x, axes), factor])

    kept = reference.add(node, "Mul", [value, keep])
    if centred:
        # Masked once more: taking the mean off makes removed positions differ from zero.
        kept = reference.add(node, "Mul", [reference.add(node, "Sub", [kept, mean(kept)]), keep])
    variance = mean(reference.add(node, "Mul", [kept, kept]))

    if node.op_type != "MeanVarianceNormalization":
        epsilon = reference.constant(np.asarray(number_of(node, "epsilon")).astype(dtype))
        variance = reference.add(node, "Add", [variance, epsilon])
    return reference.add(node, "Div", [kept, reference.add(node, "Sqrt", [variance])])


def _put_reshape(node: ir.Node, reference: Reference, value: ir.Value | None, shape: Sequence[int]) -> ir.Value:
    return reference.add(node, "Reshape", [value, reference.constant(np.asarray(shape, np.int64))])
