"""Which layers a recovery repairs: linear operators with a constant weight that no longer see what they saw."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.core.arrays import Array
from compressor.graph.ir.captures import captured_values, nodes_by_name
from compressor.graph.ir.edit import add_constant
from compressor.graph.ir.nodes import input_of, optional_input, twin_of
from compressor.operators.table import operator_of
from compressor.reconstruct.form import OperandForm, Shape, Unrepairable
from compressor.reconstruct.product import contraction
from compressor.reconstruct.scale import normalisation
from compressor.reconstruct.weights import (
    REPLACEABLE,
    ReadWeight,
    constant_behind,
    growing,
    may_be_replaced,
    readers,
    weight_of,
)
from compressor.reconstruct.windows import windows


@dataclass(frozen=True)
class LayerKind:
    """How the layers of one operator are read.

    Attributes:
        make: the form, from the node, the input that is the weight, and the shapes of input, weight and output.
        held: inputs that may be the weight, in order of preference.
        bias: the input that is the bias; None: the operator has none.
        factor: attribute that the bias is multiplied by.
    """

    make: Callable[[ir.Node, int, tuple[Shape, Shape, Shape]], OperandForm]
    held: tuple[int, ...]
    bias: int | None = None
    factor: str = ""


def layer_kind(node: ir.Node) -> LayerKind | None:
    """How a linear operator is read, by its record; None for others, of which those that multiply are skipped."""
    operator = operator_of(node)
    # An Einsum of one operand is no product.
    if operator.linear and len(node.inputs) > 1:
        # The weight of a product may be on either side; the right one is looked at first, as most are there.
        make, held = (contraction, (1, 0)) if operator.window is None else (windows, (1,))
        return LayerKind(make, held, operator.bias, operator.bias_factor)
    if operator.statistics:
        return LayerKind(normalisation, tuple(operator.scale), operator.bias)
    return None


@dataclass(frozen=True)
class LayerPair:
    """A node of the smaller model, and the same node of the dense one.

    Attributes:
        node: in the smaller model.
        dense: in the dense model.
        held: the input that is the weight.
        weight: of the smaller model.
        dense_weight: of the dense model.
        kind: how the operator is read.
    """

    node: ir.Node
    dense: ir.Node
    held: int
    weight: ReadWeight
    dense_weight: ReadWeight
    kind: LayerKind
    _forms: dict[tuple[tuple[Shape, Shape, Shape], bool], OperandForm] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def constants(self) -> tuple[ir.Value, ir.Value | None]:
        """What holds the numbers of the weight, and the bias."""
        bias = optional_input(self.node, self.kind.bias)
        found = None if bias is None else constant_behind(bias)
        return self.weight.initializer, bias if found is None else found.initializer

    @property
    def name(self) -> str:
        """What reports call the layer: the name of its node."""
        return str(self.node.name)

    @property
    def x(self) -> str:
        """Name of the input that is no weight."""
        return str(input_of(self.dense, 1 - self.held).name)

    @property
    def y(self) -> str:
        """Name of the layer's output in the dense model."""
        return str(self.dense.outputs[0].name)

    def form(self, shapes: tuple[Shape, Shape, Shape], *, dense: bool = False) -> OperandForm:
        """How the node reads operands of these shapes: input, weight, output."""
        key = (shapes, dense)
        # Asked for every batch, which may be of one sample, and made by solving the signature of the operator.
        if key not in self._forms:
            self._forms[key] = self.kind.make(self.dense if dense else self.node, self.held, shapes)
        return self._forms[key]


class Kept:
    """What the cut left of the dense net's activations, by name."""

    def __init__(self, cut: ChannelMask) -> None:
        self._cut = cut
        graph = cut.coupling.graph
        made = (v for n in graph for v in n.outputs)
        self._values = {str(v.name): v for v in (*graph.inputs, *graph.initializers.values(), *made)}

    @property
    def sums(self) -> set[str]:
        """Values that lack a branch, as a residual block went."""
        return {block.name for block in self._cut.blocks}

    def touched(self, name: str) -> bool:
        """Did a value lose positions in the cut?"""
        return name in self._values and self._cut.touches(self._values[name])

    def __call__(self, name: str, array: Array) -> Array:
        """The positions of ``array`` that stay, in row-major order.

        Raises:
            Unrepairable: it has other sizes than the cut was planned for.
        """
        value = self._values.get(name)
        try:
            return array if value is None else self._cut.taken(value, array)
        # The model may have been run at sizes at which units lie elsewhere along an axis.
        except ValueError:
            raise Unrepairable(f"the sizes of {name!r} are not those that the cut was planned for") from None


def affected(graph: ir.Graph, kept: Kept, replaced: Collection[str] = ()) -> tuple[set[str], set[str]]:
    """Values that lost positions, and those with them that are computed from such, or from a sum without its branch.

    Args:
        graph: of the smaller model.
        kept: what the cut left.
        replaced: nodes whose weights are about to be replaced: what they read counts as touched, and all that follows
            from what they give as computed from it.
    """
    touched = {str(v.name) for n in graph for v in n.outputs if kept.touched(str(v.name))}
    touched |= {str(v.name) for n in graph if n.name in replaced for v in n.inputs if v is not None}
    after = touched | kept.sums
    # In the order of the graph, so that one pass reaches everything that follows.
    for node in graph:
        inputs = [v for v in (*node.inputs, *captured_values(node)) if v is not None]
        if any(str(v.name) in after for v in inputs):
            after.update(str(v.name) for v in node.outputs)
    return touched, after


def repairable_layers(
    pruned: ir.Model, original: ir.Model, wrong: set[str], *, written: bool = True
) -> tuple[list[LayerPair], dict[str, str]]:
    """Layers that read one of the values ``wrong``, and node -> reason for those that cannot be repaired.

    Of layers whose weights only came out equal, none can be: :func:`untie_weights` is for before. Where nothing is to
    be ``written``, as before a cut, a weight may be an input that callers may replace: a cut makes a constant of it.
    """
    layers, skipped = _readers_of(wrong, pruned, original)
    if written:
        skipped |= {layer.name: REPLACEABLE for layer in layers if may_be_replaced(layer.constants)}
        layers = [layer for layer in layers if layer.name not in skipped]
    # Only to say so: values inside bodies are not outputs of a stage, and no sweep could stop there.
    _inside_bodies(pruned, skipped)
    return _writable(layers, skipped), skipped


def untie_weights(pruned: ir.Model, original: ir.Model, wrong: set[str]) -> None:
    """Weights that ``original`` has apart and that only came out equal are apart again, in place.

    Clean-up after a cut merges equal initializers; two weights may be equal then and have to differ after repair.
    """
    seen: dict[ir.Value, ir.Value] = {}
    for layer in _readers_of(wrong, pruned, original)[0]:
        dense, graph = layer.dense_weight.initializer, layer.node.graph
        first = seen.setdefault(layer.weight.initializer, dense)
        if first is not dense and layer.weight.place is None and layer.weight.reals is None and graph is not None:
            layer.node.replace_input_with(layer.held, add_constant(graph, str(dense.name), layer.weight.read()))


def _readers_of(wrong: set[str], pruned: ir.Model, original: ir.Model) -> tuple[list[LayerPair], dict[str, str]]:
    """Layers that read a value of ``wrong``, and why others that do are none."""
    dense = nodes_by_name(original.graph)
    layers: list[LayerPair] = []
    skipped: dict[str, str] = {}
    for node in pruned.graph:
        if not any(v is not None and str(v.name) in wrong for v in node.inputs):
            continue
        try:
            found = _layer(node, twin_of(node, dense), (pruned, original))
        except Unrepairable as reason:
            skipped[str(node.name)] = str(reason)
            continue
        if found is not None:
            layers.append(found)
    return layers, skipped


def _layer(node: ir.Node, dense: ir.Node | None, models: tuple[ir.Model, ir.Model]) -> LayerPair | None:
    """None where no operand is a weight."""
    kind = layer_kind(node)
    if kind is None:
        if operator_of(node).multiplies and any(v and v.is_initializer() for v in node.inputs):
            raise Unrepairable(f"{node.op_type} is not reconstructed")
        return None
    for held in kind.held:
        weight = weight_of(node.inputs[held], models[0].opset_imports)
        if weight is None:
            continue
        # A cut may have taken a node apart or replaced it; then there is nothing to imitate.
        if dense is None or len(dense.inputs) <= held:
            raise Unrepairable("the dense model has no such node")
        original = weight_of(dense.inputs[held], models[1].opset_imports)
        if original is None or node.inputs[1 - held] is None:
            raise Unrepairable("the dense model has no such weight")
        bias = _constant_bias(node, kind)
        return LayerPair(node, dense, held, growing(weight, bias), original, kind)
    return None


def _constant_bias(node: ir.Node, kind: LayerKind) -> ReadWeight | None:
    bias = optional_input(node, kind.bias)
    if bias is None:
        return None
    found = constant_behind(bias)
    if found is None:
        raise Unrepairable("its bias is computed")
    # On a grid it is written where it is.
    if found.reals is not None and len(readers(found.initializer)) > 1:
        raise Unrepairable("its bias is quantised, and another node reads it too")
    if not np.isfinite(found.read()).all():
        raise Unrepairable("its bias is not finite")
    if kind.factor and node.attributes.get_float(kind.factor, 1.0) == 0:
        raise Unrepairable("its bias is multiplied by zero")
    return found


def _inside_bodies(pruned: ir.Model, skipped: dict[str, str]) -> None:
    """Linear operators in the bodies of If and Loop: left alone."""
    outer = set(pruned.graph)
    for node in pruned.graph.all_nodes():
        if node not in outer and layer_kind(node) is not None:
            skipped.setdefault(str(node.name), "it stands in the body of a control-flow operator")


def _writable(layers: list[LayerPair], skipped: dict[str, str]) -> list[LayerPair]:
    """Layers whose weight nobody else reads, or reads in the same way and is repaired with them."""
    by_weight: dict[ir.Value, list[LayerPair]] = {}
    for layer in layers:
        by_weight.setdefault(layer.weight.initializer, []).append(layer)
    good = []
    for initializer, users in by_weight.items():
        # A reader that is not repaired with them would get numbers that were fitted for someone else.
        others = readers(initializer) - {(layer.name, layer.held) for layer in users}
        first = users[0]
        alike = all(u.weight.same(first.weight) and u.node.op_type == first.node.op_type for u in users)
        if initializer.is_graph_output() or others or not alike:
            who = f"node {min(others)[0]!r}" if others else "another layer"
            skipped |= {layer.name: f"{who} reads its weight too, in another way" for layer in users}
        else:
            good += users
    # In the order of the graph again, which grouping by weight had broken.
    return [layer for layer in layers if layer in good]
