"""BatchNormalization that exporters folded into a layer: put back for training, folded away again at the end.

A layer ``y = W x + b`` becomes ``y = gamma (W x - mean) / sqrt(var + epsilon) + beta`` with the statistics of ``W x``
over calibration data, ``gamma = sqrt(var + epsilon)`` and ``beta = mean + b``, so that nothing changes. Each filter is
first brought to the norm sqrt(2) that He initialisation gives it (arXiv:1502.01852, eq. 10), which gamma makes up for:
behind a normalisation only the direction of a filter counts, but a step turns it by rate / norm², and what folding
left of the norms, in a ResNet 0.3 to 2, would train some layers forty times as fast as others. Folding back gives
``W' = s W`` and ``b' = beta - s mean`` with ``s = gamma / sqrt(var + epsilon)``, which is exact. Where filters must
keep the ratios of their weights, ties give them one factor, which brings the mean of their squared norms to He's.

Which layers. Conv and ConvTranspose. Gemm, and MatMul whose only reader adds a bias, on inputs of two axes where an
activation follows whose result stays inside: the scale of class scores means something, and must not be lost. The
weight is a constant that nothing else reads, because one weight cannot take up the scales of two layers. A bias may
be shared, as exporters merge equal constants; all but one of its layers end with a bias of their own, and a layer
that had none ends with one. Where ``MatMul`` and ``Add``, or ``Gemm`` before operator set 11, need the bias, it stays
where it is and the normalisation works on top of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.data import Batch
from compressor.errors import ModelError, UsageError
from compressor.graph.ir.edit import add_constant, constant_array, free_name
from compressor.graph.ir.exporter_metadata import OWN_PREFIX
from compressor.graph.ir.nodes import is_constant, tensor_of
from compressor.operators.table import operator_of
from compressor.runtime.taps import tap
from compressor.train.module.scalable_layers import (
    ScalableLayer,
    Unfit,
    check_place,
    is_matrix,
    is_own,
    layer_before,
    layer_of,
    write_constant,
)

EPSILON = 1e-5
MOMENTUM = 0.9
FILTER_NORM = 2**0.5
"""Norm that filters get: of a filter with n weights of variance 2 / n."""
MARK = f"{OWN_PREFIX}bias"
"""Property of a node that was put in: the name of the bias that it took over, or nothing."""

Vector = npt.NDArray[np.float64]
GroupNumbers = npt.NDArray[np.int64]
"""A group, counted from 0, for each output channel."""


@dataclass(frozen=True)
class Insertion:
    """A model with BatchNormalization.

    Attributes:
        model: computes what the original does.
        nodes: layers that are normalised now, by name.
        skipped: layers that are not, by name, and why.
    """

    model: ir.Model
    nodes: tuple[str, ...]
    skipped: Mapping[str, str]


@dataclass
class ChannelMoments:
    """Mean and variance of each channel (axis 1) over all other axes, batch by batch (Chan's update), in float64."""

    count: int = 0
    mean: Vector = field(default_factory=lambda: np.zeros(()))
    _squares: Vector = field(default_factory=lambda: np.zeros(()))

    @property
    def variance(self) -> Vector:
        """Over all entries, without Bessel's correction."""
        return self._squares / self.count

    def add(self, values: npt.NDArray[np.generic]) -> None:
        """Takes in an array [n, channels, ...]."""
        axes = tuple(a for a in range(values.ndim) if a != 1)
        rows = values.size // values.shape[1] if values.size else 0
        if not rows:
            return
        mean = values.mean(axes, dtype=np.float64)
        squares = np.square(values - np.expand_dims(mean, axes)).sum(axes)
        total = self.count + rows
        gap = mean - self.mean
        self.mean = self.mean + gap * (rows / total)
        self._squares = self._squares + squares + np.square(gap) * (self.count * (rows / total))
        self.count = total


def insert(
    model: ir.Model, batches: Iterable[Batch], provider: str, ties: Mapping[str, GroupNumbers] | None = None
) -> Insertion:
    """Puts a BatchNormalization behind every layer that can have one; see the module.

    What a layer wrote keeps its name, and is now what the BatchNormalization writes. Train the result with
    ``GraphModule(..., train_bn=True)``, write the weights back into it and :func:`fold_batchnorm` it.

    Args:
        model: not changed.
        batches: calibration samples; the outputs of all layers for one batch are held at a time.
        provider: where the activations are computed.
        ties: by name of a weight, which of its filters get one factor; each gets its own otherwise.

    Raises:
        ModelError: the model takes one sample at a time, or does not run.
        UsageError: there are no samples.
        ProviderUnavailable: the provider is not there.
    """
    _check_batch(model)
    copy = model.clone()
    layers, skipped = _layers(copy)
    moments = _observe(copy, layers, batches, provider)
    placed = []
    for layer in layers:
        try:
            grown = _grown(layer, (ties or {}).get(str(layer.weight.name)))
            _put(copy.graph, layer, moments.get(str(layer.output.name)), grown)
            placed.append(str(layer.node.name))
        except Unfit as reason:
            skipped[str(layer.node.name)] = str(reason)
    return Insertion(copy, tuple(placed), skipped)


def fold_batchnorm(model: ir.Model) -> ir.Model:
    """A copy of a model from :func:`insert` without the BatchNormalization that was put in.

    It has the nodes of the original, and its initializers with their names and shapes; only layers that had no bias,
    or one that was shared, have a new one.

    Raises:
        ModelError: the layer in front of such a node is gone or has lost its weight.
    """
    copy = model.clone()
    for node in list(copy.graph):
        if MARK in node.metadata_props:
            _take_out(copy.graph, node)
    return copy


def takes_batchnorm(model: ir.Model) -> bool:
    """Whether :func:`insert` finds a place in ``model``; its statistics may still show that one does not fit."""
    try:
        _check_batch(model)
    except ModelError:
        return False
    return bool(_layers(model)[0])


def _check_batch(model: ir.Model) -> None:
    inputs = [v for v in model.graph.inputs if not v.is_initializer() and v.shape is not None and len(v.shape) > 1]
    # A fixed batch of one has no statistics over samples worth the name.
    if inputs and all(v.shape is not None and v.shape[0] == 1 for v in inputs):
        raise ModelError(
            f"input {inputs[0].name!r} takes one sample at a time, of which there are no batch statistics; export "
            "the model with a dynamic batch, or train it without inserted BatchNormalization"
        )


def _layers(model: ir.Model) -> tuple[list[ScalableLayer], dict[str, str]]:
    found: list[ScalableLayer] = []
    skipped: dict[str, str] = {}
    for node in model.graph.all_nodes():
        if not operator_of(node).has_kernel:
            continue
        try:
            layer = layer_of(node, model.graph)
            check_place(layer)
            found.append(layer)
        except Unfit as reason:
            skipped[str(node.name)] = str(reason)
    return found, skipped


def _observe(
    model: ir.Model, layers: list[ScalableLayer], batches: Iterable[Batch], provider: str
) -> dict[str, ChannelMoments]:
    """Moments by the name of what a layer writes; none where a matrix product has more than two axes."""
    if not layers:
        return {}
    matrix = {str(layer.output.name): is_matrix(layer.node) for layer in layers}
    moments = {name: ChannelMoments() for name in matrix}
    empty = True
    for arrays in tap(model, list(matrix), (b.inputs for b in batches), provider):
        empty = False
        for name, array in zip(matrix, arrays, strict=True):
            # Channels of a product with more axes lie on the last one, where BatchNormalization does not look.
            if matrix[name] and array.ndim != 2:
                moments.pop(name, None)
            elif name in moments:
                moments[name].add(array)
    if empty:
        raise UsageError("there are no samples to take statistics of; give calibration data")
    return moments


def _grown(layer: ScalableLayer, groups: GroupNumbers | None) -> Vector:
    """The factor that brings each filter, or the mean of a group, to :data:`FILTER_NORM`; 1 where all are zero."""
    squares = np.square(layer.filters).sum(axis=1)
    # Filters that share a factor get the mean of their group.
    if groups is not None:
        squares = (np.bincount(groups, squares) / np.bincount(groups))[groups]
    norms = np.sqrt(squares)
    # A filter of zeros stays as it is.
    return FILTER_NORM / np.where(norms > 0, norms, FILTER_NORM)


def _put(graph: ir.Graph, layer: ScalableLayer, moments: ChannelMoments | None, grown: Vector) -> None:
    if moments is None:
        raise Unfit("its input has more than two axes, so that its channels are not on axis 1")
    if not moments.count:
        raise Unfit("it wrote nothing for any sample")
    output, dtype = layer.output, layer.dtype.numpy()
    # A bias that the node can do without goes into the shift of the normalisation, and the node loses it.
    moved = layer.bias if layer.bias_is_optional else None
    bias = np.zeros(()) if layer.bias is None else constant_array(layer.bias).astype(np.float64).reshape(-1)
    stays, goes = (bias, 0.0) if moved is None else (0.0, bias)
    # Overflow in float16 is looked for below; numpy need not warn of it.
    with np.errstate(over="ignore"):
        mean = ((moments.mean - bias) * grown + stays).astype(dtype)
        variance = (moments.variance * grown**2).astype(dtype)
    if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
        raise Unfit("its statistics are beyond the range of its element type")
    # Only from here on is anything changed, so that an unfit layer is left as it was.
    write_constant(layer.weight, layer.scaled(grown))
    # From the rounded statistics, so that scale and shift cancel them.
    scale = np.sqrt(variance.astype(np.float64) + EPSILON) / grown
    offset = (mean.astype(np.float64) - stays) / grown + stays + goes
    name = str(output.name)
    constants = [
        add_constant(graph, f"{name}.bn.{key}", array.astype(dtype))
        for key, array in (("scale", scale), ("bias", offset), ("mean", mean), ("var", variance))
    ]
    node = ir.node(
        "BatchNormalization",
        [None, *constants],
        attributes={"epsilon": EPSILON, "momentum": MOMENTUM},
        name=f"{name}.bn",
        metadata_props={MARK: "" if moved is None else str(moved.name)},
    )
    made = node.outputs[0]
    made.shape, made.type = output.shape, output.type
    # Before the node reads the layer's output: else it would be made to read itself.
    output.replace_all_uses_with(made, replace_graph_outputs=True)
    # The known name goes to what readers see, and the layer's own result gets another.
    made.name, output.name = name, free_name(graph, f"{name}.raw")
    node.replace_input_with(0, output)
    graph.insert_after(layer.end, node)
    if moved is not None:
        layer.node.resize_inputs(2)


def _take_out(graph: ir.Graph, node: ir.Node) -> None:
    raw, made = node.inputs[0], node.outputs[0]
    try:
        layer = layer_before(raw, graph)
    except Unfit as reason:
        raise ModelError(f"inserted BatchNormalization {node.name!r} cannot be folded: {reason}") from None
    scale, offset = _affine(node)
    if layer.bias is not None:
        # What the layer still adds by itself passes through the scale.
        offset = offset + scale * constant_array(layer.bias).astype(np.float64).reshape(-1)
    write_constant(layer.weight, layer.scaled(scale))
    constants = [v for v in node.inputs[1:] if v is not None]
    name = made.name
    # A name can be given away only while nobody has it.
    made.name = None
    made.replace_all_uses_with(layer.output, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    layer.output.name = name
    # Statistics may be shared with another inserted node that is not folded yet.
    for value in constants:
        if not value.uses() and value.is_initializer():
            graph.initializers.pop(str(value.name))
    _give_bias(graph, layer, node.metadata_props[MARK], offset)


def _affine(node: ir.Node) -> tuple[Vector, Vector]:
    """What the normalisation multiplies by and then adds."""
    arrays = [
        constant_array(v).astype(np.float64) for v in node.inputs[1:] if tensor_of(v) is not None and v is not None
    ]
    if len(arrays) != 4:
        raise ModelError(f"inserted BatchNormalization {node.name!r} has lost its statistics; insert it again")
    gamma, beta, mean, variance = arrays
    scale = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", EPSILON))
    return scale, beta - scale * mean


def _give_bias(graph: ir.Graph, layer: ScalableLayer, name: str, offset: Vector) -> None:
    """Writes the bias: where the layer has it, where it had it, or into a new one."""
    array = offset.astype(layer.dtype.numpy())
    if layer.bias is not None:
        # Overwritten only if no other layer reads it.
        if is_own(layer.bias):
            write_constant(layer.bias, array.reshape(constant_array(layer.bias).shape))
            return
        new = add_constant(graph, f"{layer.bias.name}.own", array.reshape(constant_array(layer.bias).shape))
        layer.end.replace_input_with(next(k for k, v in enumerate(layer.end.inputs) if v is layer.bias), new)
        return
    value = _named(graph, name)
    # The bias from before is still in the graph, unread, so that its name and place stay.
    if value is not None and not value.uses() and not value.is_graph_output():
        write_constant(value, array.reshape(constant_array(value).shape))
    else:
        own = str(layer.weight.name)
        own = f"{own.removesuffix('weight')}bias" if own.endswith("weight") else f"{own}.bias"
        value = add_constant(graph, own, array)
    layer.node.resize_inputs(3)
    layer.node.replace_input_with(2, value)


def _named(graph: ir.Graph, name: str) -> ir.Value | None:
    """The constant of that name."""
    if not name:
        return None
    made = (v for node in graph if is_constant(node) for v in node.outputs)
    return graph.initializers.get(name) or next((v for v in made if v.name == name), None)
