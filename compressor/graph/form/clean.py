"""Dead nodes and friends: passes that change no output. Each says in its name what it removes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    RemoveUnusedNodesPass,
    RemoveUnusedOpsetsPass,
)

from compressor.core.arrays import Array
from compressor.graph.form.copies import leave_out_copies, write_tiles_as_expands
from compressor.graph.form.plain_picks import write_plain_picks
from compressor.graph.ir.captures import has_graph, let_go
from compressor.graph.ir.control_flow import BEFORE_STATE
from compressor.graph.ir.evaluate import evaluate_settled
from compressor.graph.ir.meta_keys import COPY_OF, HANDED_OVER
from compressor.graph.ir.movement import MOVES
from compressor.graph.ir.nodes import is_standard
from compressor.graph.ir.randomness import draws
from compressor.graph.sizes.inference import UNPACKS
from compressor.graph.sizes.known import initializer_of
from compressor.graph.sizes.shapes import Shapes

FOLD_LIMIT = 1 << 26
"""Elements of the largest constant that is computed."""
SMALL_CONSTANT = 1 << 16
"""Elements below which a copy of a constant costs nothing worth saving."""
NEGLIGIBLE = 1 << 12
"""Bytes by which a file may grow for a constant that saves a node, and below which a weight may be copied."""
CLEANING_ROUNDS = 8
"""Rounds, at most: merging makes identities and the other way round, and a chain of those is rarely longer."""
DRAW = "draw"
"""Attribute that tells random nodes apart for as long as equal ones are looked for."""


def remove_dead(model: ir.Model) -> None:
    """Nodes and initializers that no output depends on, and operator sets nobody uses."""
    remove_unused(model)
    RemoveUnusedOpsetsPass()(model)


def remove_unused(model: ir.Model) -> None:
    """Nodes and initializers that no output depends on."""
    while True:
        holders = [node for node in model.graph.all_nodes() if has_graph(node)]
        RemoveUnusedNodesPass()(model)
        # What the bodies of nodes that went read may be dead only now.
        if not [node for node in holders if node.graph is None and let_go(node)]:
            break
    # The pass drops empty names at the end of inputs. A Loop has to name what stands before its
    # state, empty or not.
    for node in model.graph.all_nodes():
        if node.op_type == "Loop" and len(node.inputs) < BEFORE_STATE:
            node.resize_inputs(BEFORE_STATE)


def simplify(model: ir.Model, shapes: Shapes) -> None:
    """Static values become constants; identities, duplicates and dead nodes go."""
    # First, or a weight that an exporter hands to several layers by identities would become a copy for each.
    drop_identities(model)
    fold_constants(model, shapes)
    write_plain_picks(model, shapes)
    _drop_unused_initializers(model.graph)
    write_tiles_as_expands(model, shapes)
    leave_out_copies(model, shapes)
    for _ in range(CLEANING_ROUNDS):
        # All three only take nodes away, so an equal number means that nothing more is found.
        before = model.graph.num_nodes()
        drop_identities(model)
        _merge_equal(model)
        remove_unused(model)
        if model.graph.num_nodes() == before:
            break
    RemoveUnusedOpsetsPass()(model)


def _merge_equal(model: ir.Model) -> None:
    """Nodes that compute the same become one; two draws are two, also of Bernoulli, which the pass takes for none."""
    drawing = [node for node in model.graph.all_nodes() if draws(node)]
    for number, node in enumerate(drawing):
        node.attributes[DRAW] = ir.AttrInt64(DRAW, number)
    declared = {graph: [(value, value.type, value.shape) for value in graph.outputs] for graph in model.graphs()}
    CommonSubexpressionEliminationPass()(model)
    for node in drawing:
        del node.attributes[DRAW]
    # The pass gives a result's name to the value that stays, and not what is declared of it.
    for graph in model.graphs():
        for value, (before, dtype, shape) in zip(graph.outputs, declared[graph], strict=True):
            if value is not before:
                value.type, value.shape = dtype, shape


def tidy(model: ir.Model, *, simplify: bool) -> None:
    """After surgery: dead code; constants that are equal become one.

    Values keep their names, by which recovery finds what a layer of the original read.
    """
    remove_dead(model)
    if simplify:
        _merge_constants(model)


def _merge_constants(model: ir.Model) -> None:
    """Equal whole numbers become one initializer, and single floats that were one in the file.

    Not other floats: a bias of zeros and a bound of zeros are equal until one of them is trained.
    """
    first: dict[tuple[object, ...], ir.Value] = {}
    for name, value in list(model.graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or tensor.size > SMALL_CONSTANT or value.is_graph_input() or value.is_graph_output():
            continue
        floats = tensor.dtype.is_floating_point()
        if floats and tensor.size > 1:
            continue
        data = repr(tensor.numpy().tolist()) if tensor.dtype == ir.DataType.STRING else tensor.tobytes()
        origin = value.meta.get(COPY_OF, name) if floats else ""
        kept = first.setdefault((tensor.dtype, tuple(tensor.shape), data, origin), value)
        if kept is not value:
            value.replace_all_uses_with(kept)
            del model.graph.initializers[name]


def drop_identities(model: ir.Model) -> None:
    """Identity nodes, and what is one: a Concat of one value, and Dropout as it is at inference, its mask unread and no
    training mode asked for.

    A node of a branch or body reads values of the graphs around it, but these cannot be results of the branch: where
    the node makes a result and takes its input from elsewhere, it stays. onnx-ir's pass of that name does not ask.
    """
    for graph in list(model.graphs()):
        # A list, because nodes are removed on the way.
        for node in list(graph):
            if _is_identity(node) and _pass_on(node, graph):
                graph.remove(node, safe=True)


def _is_identity(node: ir.Node) -> bool:
    if not is_standard(node) or not node.inputs or node.inputs[0] is None or HANDED_OVER in node.meta:
        return False
    if node.op_type == "Identity" or (node.op_type == "Concat" and len(node.inputs) == 1):
        return True
    idle = not any(v.uses() or v.is_graph_output() for v in node.outputs[1:])
    return node.op_type == "Dropout" and len(node.inputs) < 3 and idle


def _pass_on(node: ir.Node, graph: ir.Graph) -> bool:
    """Put the input of an identity in the place of its output; False where it has to stay.

    A result of the graph keeps its name: its maker takes it over, if it is a node of the same graph and makes no
    result already.
    """
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None
    if result.is_graph_output():
        maker = source.producer()
        if maker is None or maker.graph is not graph or source.is_graph_output():
            return False
        places = [k for k, output in enumerate(graph.outputs) if output is result]
        # Names are swapped, so that the result keeps the one that the caller knows and none occurs twice.
        source.name, result.name = result.name, source.name
        for place in places:
            graph.outputs[place] = source
    if source.shape is None:
        source.shape = result.shape
    source.type = source.type or result.type
    result.replace_all_uses_with(source)
    return True


def fold_constants(model: ir.Model, shapes: Shapes) -> None:
    """Replaces nodes by constants where their value is static, and where constants meet constants.

    A constant that is larger than what it is made of (a dequantised weight, an expanded mask) stays computed.
    Mere movement of a large weight is folded only where the weight has no other user, because a copy would untie
    what the exporter tied.
    """
    for node in list(model.graph):
        if node.op_type == "Constant" or node.op_type in UNPACKS or any(v.is_graph_output() for v in node.outputs):
            continue
        # What shape inference has followed is known even where an operand is no constant, such as the size of an input.
        arrays: Sequence[Array | None] | None = [shapes.const(v) for v in node.outputs]
        if arrays is None or any(a is None for a in arrays):
            arrays = _constant(node, model, shapes)
        if not arrays or any(a is None for a in arrays) or _grows(node, arrays):
            continue
        for value, array in zip(node.outputs, arrays, strict=True):
            if array is not None and value.uses():
                _replace(model.graph, value, array)
        model.graph.remove(node, safe=True)
        let_go(node)
    _drop_unused_initializers(model.graph)


def _grows(node: ir.Node, arrays: Sequence[Array | None]) -> bool:
    made = sum(a.nbytes for a in arrays if a is not None)
    tensors = [initializer_of(v) for v in node.inputs if v is not None]
    return made > max(NEGLIGIBLE, sum(t.nbytes for t in tensors if t is not None))


def _constant(node: ir.Node, model: ir.Model, shapes: Shapes) -> Sequence[Array | None] | None:
    """What the node computes where all its inputs are constants of the file; None where it must stay."""
    tensors = {str(v.name): initializer_of(v) for v in node.inputs if v is not None}
    given = {name: t for name, t in tensors.items() if t is not None and t.dtype != ir.DataType.STRING}
    if not given or len(given) < len(tensors) or not is_standard(node) or draws(node):
        return None
    # What has no known size counts as too large.
    sizes = [int(np.prod(s, dtype=object)) if (s := shapes(v)) is not None else FOLD_LIMIT + 1 for v in node.outputs]
    if max(sizes) > min(FOLD_LIMIT, max(2 * sum(int(t.size) for t in given.values()), SMALL_CONSTANT)):
        return None
    if node.op_type in MOVES and _ties(node, shapes):
        return None  # a mere copy for one of several users: folding it would untie the weight
    return evaluate_settled(node, {name: t.numpy() for name, t in given.items()}, model.opset_imports)


def _ties(node: ir.Node, shapes: Shapes) -> bool:
    """Would folding copy a weight that has several users, or of which somebody reads the original?

    Parts cut out of one weight (the gates of a recurrent layer) are no copies: together they are as large as it.
    """
    for value in node.inputs:
        tensor = initializer_of(value) if value is not None else None
        if value is None or tensor is None or tensor.nbytes <= NEGLIGIBLE or len(value.uses()) < 2:
            continue
        users = [n for n, _ in value.uses()]
        made = sum(int(np.prod(shapes(v) or (FOLD_LIMIT,))) for n in users for v in n.outputs)
        if made > tensor.size or not all(_all_constant(n) for n in users):
            return True
    return False


def _all_constant(node: ir.Node) -> bool:
    return all(v is None or initializer_of(v) is not None for v in node.inputs)


def _replace(graph: ir.Graph, value: ir.Value, array: Array) -> None:
    name = str(value.name)
    # `ascontiguousarray` makes one axis of a scalar, which has none.
    tensor = ir.tensor(np.ascontiguousarray(array).reshape(array.shape), name=name)
    constant = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    # Gives its name up to the constant.
    value.name = f"{name}.folded"
    graph.register_initializer(constant)
    value.replace_all_uses_with(constant)


def _drop_unused_initializers(graph: ir.Graph) -> None:
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del graph.initializers[name]
