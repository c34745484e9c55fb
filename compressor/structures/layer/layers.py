"""Which layers can be taken apart, and why others cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from compressor.allocation.views import LinearView, linear_layers, view_of
from compressor.channels.coupling import Coupling
from compressor.core.globs import any_match
from compressor.operators.operator import Operator
from compressor.operators.table import operator_of
from compressor.reconstruct.form import Shape, Unrepairable
from compressor.reconstruct.layers import LayerPair
from compressor.structures.layer.geometry import Geometry, divisible


@dataclass(frozen=True, eq=False)
class CandidateLayer:
    """A layer that can become two.

    Attributes:
        view: the layer as matrices.
        geometry: its sizes.
    """

    view: LinearView
    geometry: Geometry

    @property
    def name(self) -> str:
        """Name of the node."""
        return self.view.layer.name


Suits = Callable[[Operator, ir.Node, int, Shape], str | None]
"""Why a layer does not suit a structure: of its record, node, the input that is the weight, and its shape."""


def candidate_layers(
    model: ir.Model,
    coupling: Coupling,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    suits: Suits | None = None,
) -> tuple[list[CandidateLayer], dict[str, str]]:
    """Layers that can be taken apart, in the order of the graph, and node -> why others cannot.

    Args:
        model: analysed.
        coupling: of its channels, which knows the sizes of values.
        include: only layers whose node or weight matches one of these globs, if there are any.
        exclude: no layer whose node or weight matches one of these.
        suits: what the structure asks of a layer; None: that it can be divided into two.
    """
    layers, refused = linear_layers(model)
    users = Counter(layer.weight.initializer for layer in layers)
    found: list[CandidateLayer] = []
    for layer in layers:
        names = (layer.name, str(layer.weight.initializer.name))
        # What the user left out is no refusal, and stays out of the report.
        if (include and not any_match(names, include)) or any_match(names, exclude):
            continue
        made = _candidate(layer, coupling, users[layer.weight.initializer], suits or divisible)
        if isinstance(made, str):
            refused[layer.name] = made
        else:
            found.append(made)
    return found, refused


def _candidate(layer: LayerPair, coupling: Coupling, users: int, suits: Suits) -> CandidateLayer | str:
    """The layer, or why it stays."""
    node, weight = layer.node, layer.weight.read().shape
    # Two thinner layers in one place would change the weight of the other.
    if users > 1:
        return "several layers share its weight"
    # What a layer becomes is written in real numbers.
    if layer.weight.reals is not None:
        return "its weight is quantised"
    try:
        reason = suits(operator_of(node), node, layer.held, weight)
        if reason is not None:
            return reason
        view = view_of(layer, coupling)
    except Unrepairable as error:
        return str(error)
    shapes = [None if v is None else coupling.shapes(v) for v in (*node.inputs, node.outputs[0])]
    geometry = Geometry.of(node, layer.held, shapes)
    return "its sizes are not known" if geometry is None else CandidateLayer(view, geometry)
