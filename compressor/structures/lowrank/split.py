"""A layer in the graph becomes two: the kernel on fewer channels and a pointwise layer, or two products.

The layer that comes last keeps the node's name, its output and its bias, so that whatever names them still finds them.
"""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from compressor.graph.ir.edit import add_constant, free_name, take_over
from compressor.operators.table import operator_of
from compressor.reconstruct.form import Matrix, OperandForm
from compressor.reconstruct.layers import LayerPair
from compressor.reconstruct.product import Contraction
from compressor.reconstruct.windows import ConvWindows
from compressor.structures.lowrank.factors import Factors

DATA_SIDE = ("transA", "transB")
"""Attributes of a product that turn its operands; what the first product gives is turned already."""


def write_factors(layer: LayerPair, form: OperandForm, factors: Factors) -> tuple[str, str]:
    """Writes a layer as its two factors, in place.

    Args:
        layer: of the model that is changed.
        form: how it reads its operands.
        factors: in the numbers that its element type holds.

    Returns:
        Names of the two new weights.
    """
    node, graph = layer.node, layer.node.graph
    assert graph is not None
    name = str(layer.weight.initializer.name)
    dtype = layer.weight.read().dtype
    arrays = [array.astype(dtype) for array in _arrays(form, factors)]
    weights = [add_constant(graph, f"{name}.{k}", array) for k, array in zip(("first", "second"), arrays, strict=True)]
    # The bias, if any, belongs to the layer that comes last.
    more = list(node.inputs[2:])
    x = node.inputs[1 - layer.held]
    pointwise = isinstance(form, ConvWindows)
    group = form.groups if isinstance(form, ConvWindows) else 1
    thin_first = factors.side == "outputs"
    middle = _made(layer, x, weights[0], [], group if pointwise and not thin_first else None, last=False)
    final = _made(layer, middle.outputs[0], weights[1], more, group if pointwise and thin_first else None, last=True)
    in_a_row(node, middle, final)
    return str(weights[0].name), str(weights[1].name)


def in_a_row(node: ir.Node, middle: ir.Node, final: ir.Node) -> None:
    """Puts two nodes in the place of one, of which ``final`` reads what ``middle`` gives."""
    graph, inner = node.graph, middle.outputs[0]
    assert graph is not None
    inner.name, inner.type = free_name(graph, f"{node.outputs[0].name}.factor"), node.outputs[0].type
    graph.insert_before(node, middle)
    graph.insert_before(node, final)
    take_over(node, final.outputs[0])
    middle.name = free_name(graph, f"{final.name}.factor")


def _made(
    layer: LayerPair,
    data: ir.Value | None,
    weight: ir.Value,
    more: list[ir.Value | None],
    group: int | None,
    *,
    last: bool,
) -> ir.Node:
    """One of the two nodes: pointwise where it has a ``group``, else of the kind of the layer."""
    node = layer.node
    if group is not None:
        return ir.node("Conv", [data, weight, *more], attributes={"group": group} if group > 1 else None)
    pair: list[ir.Value | None] = [None, None]
    pair[layer.held], pair[1 - layer.held] = weight, data
    attributes = dict(node.attributes.items())
    operator = operator_of(node)
    if last and operator.window is None:
        # What the first product gives is turned and scaled already.
        for key in (DATA_SIDE[1 - layer.held], operator.factor):
            attributes.pop(key, None)
    made = ir.Node(node.domain, node.op_type, [*pair, *more], attributes=list(attributes.values()))
    made.meta.update(node.meta)
    return made


def _arrays(form: OperandForm, factors: Factors) -> tuple[Matrix, Matrix]:
    """The factors as the two nodes hold them."""
    if isinstance(form, Contraction):
        thin = replace(form, shape=form.resized(outs=factors.rank))
        # The factor of a Gemm is taken up by the first matrix alone.
        thick = replace(form, shape=form.resized(inner=factors.rank), scale=1.0)
        return thin.weight(factors.first), thick.weight(factors.second)
    assert isinstance(form, ConvWindows)
    ones = (1,) * (len(form.shape) - 2)
    if factors.side == "outputs":
        kernel = replace(form, shape=form.resized(outs=factors.rank)).weight(factors.first)
        return kernel, factors.second.reshape(-1, factors.rank, *ones)
    kernel = replace(form, shape=form.resized(inner=factors.rank)).weight(factors.second)
    return factors.first.reshape(-1, factors.first.shape[2], *ones), kernel
