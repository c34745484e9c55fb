"""One normal form for whatever an exporter wrote, so that the rest of the program meets one form only.

No local functions, nothing fused, constants as initializers, nodes in topological order, a name for every node and
value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import count

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from compressor.errors import ModelError
from compressor.graph.form.unfuse import unfuse
from compressor.graph.ir.meta_keys import COPY_OF, OMITTED
from compressor.graph.ir.nodes import is_standard, written_tensor
from compressor.graph.ir.opsets import FREE_WEIGHTS


def normalise(model: ir.Model) -> ir.Model:
    """Bring a model into normal form, in place.

    Local functions are inlined, operators that ONNX Runtime fused are taken apart, Constant nodes with numbers
    become initializers (strings stay nodes, and so does a constant that is a graph output), initializers of branches
    and bodies move to the main graph, constants without elements are joined to nothing, nodes are sorted, names are
    made unique. Optional outputs that a node omits keep their empty name. Graph inputs and outputs keep their names and
    their order.

    Up to IR version 3 every initializer had to be a graph input too: such inputs are dropped and the version
    is raised to 4. From version 4 on, an initializer that is a graph input is a default which the caller may
    override, and stays.

    Args:
        model: a model from ``files.load``.

    Returns:
        The same model.

    Raises:
        ModelError: a local function cannot be inlined.
    """
    # As the nodes stand in the file, so that one of it can be found again.
    _name_nodes(model)
    open_negative_sizes(model)
    model.graph.sort()
    for function in model.functions.values():
        function.sort()
    # First, because later steps look at the main graph and its bodies only.
    _inline(model)
    unfuse(model)
    # Before initializers move to the main graph, which holds them by name.
    _name_values(model)
    if model.ir_version < FREE_WEIGHTS:
        _drop_initializers_from_inputs(model)
    for node in list(model.graph.all_nodes()):
        if node.op_type == "Constant" and is_standard(node):
            _lift_constant(node)
    _hoist_initializers(model)
    for node in model.graph.all_nodes():
        if node.op_type == "Concat" and is_standard(node):
            _drop_empty_operands(node)
    # Again, since the steps above make nodes.
    _name_nodes(model)
    return model


def with_node_names(model: ir.Model) -> ir.Model:
    """A copy whose nodes have the names that :func:`normalise` gives those without one."""
    copy = model.clone()
    _name_nodes(copy)
    return copy


def open_negative_sizes(model: ir.Model) -> None:
    """Sizes below zero become open dimensions without a name, in place: that is what ONNX Runtime takes them for."""
    for value in [*model.graph.inputs, *(v for node in model.graph.all_nodes() for v in node.outputs)]:
        shape = value.shape
        if shape is not None and any(isinstance(dim, int) and dim < 0 for dim in shape):
            value.shape = ir.Shape([None if isinstance(dim, int) and dim < 0 else dim for dim in shape])


def unshare(model: ir.Model, max_elements: int = 65536, meant: Callable[[ir.Value], bool] | None = None) -> int:
    """Give every use of a small shared initializer its own copy, in place.

    Exporters merge equal constants, which would tie unrelated channels together. Copies are named ``name.1``,
    ``name.2`` ... in the order of the nodes; the first use keeps the original. Large matrices stay shared,
    because a network that shares them means it, and so do initializers that are graph inputs or outputs, or
    ``meant`` to be shared, whatever their size.

    Args:
        model: a normalised model.
        max_elements: a tensor of rank 2 or more with more elements than this stays shared.
        meant: of a tensor of rank 2 or more: does the network mean to share it?

    Returns:
        The number of copies made.
    """
    copies, separate = 0, Separation(model)
    for value in list(model.graph.initializers.values()):
        tensor = value.const_value
        if tensor is None:
            continue
        if len(tensor.shape) > 1 and (tensor.size > max_elements or (meant is not None and meant(value))):
            continue
        copies += separate.by(value, lambda node, slot: (node, slot))
    return copies


class Separation:
    """Gives uses of an initializer copies of their own, in place; as :func:`unshare`.

    Args:
        model: a normalised model, which nobody else edits as long as this is used.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._position = {node: index for index, node in enumerate(model.graph.all_nodes())}
        self._taken = {value.name for value in _values(model)}

    def by(self, value: ir.Value, kind: Callable[[ir.Node, int], Hashable]) -> int:
        """Uses of one ``kind`` share a copy, those of the first the original; returns the number of copies made.

        Args:
            value: an initializer.
            kind: of a use, from the node and the place among its inputs.
        """
        uses, tensor = value.uses(), value.const_value
        if tensor is None or value.is_graph_input() or value.is_graph_output():
            return 0
        # Read by a node of another graph, which nobody here may rewire.
        if any(use.node not in self._position for use in uses):
            return 0
        kinds: dict[Hashable, list[tuple[ir.Node, int]]] = {}
        # In the order of the graph, so that the same model always gives the same names.
        for node, slot in sorted(uses, key=lambda use: (self._position[use.node], use.idx)):
            kinds.setdefault(kind(node, slot), []).append((node, slot))
        suffix = 1
        for group in list(kinds.values())[1:]:
            while (name := f"{value.name}.{suffix}") in self._taken:
                suffix += 1
            self._taken.add(name)
            copy = _copied(value, tensor, name)
            self._model.graph.register_initializer(copy)
            for node, slot in group:
                node.replace_input_with(slot, copy)
        return max(0, len(kinds) - 1)


def _copied(value: ir.Value, tensor: ir.TensorProtocol, name: str) -> ir.Value:
    data: ir.TensorProtocol
    if tensor.dtype == ir.DataType.STRING:
        data = ir.StringTensor(tensor.numpy(), name=name)
    else:
        data = ir.Tensor(np.array(tensor.numpy()), dtype=tensor.dtype, name=name)
    copy = ir.Value(name=name, shape=value.shape, type=value.type, const_value=data, doc_string=value.doc_string)
    copy.metadata_props.update(value.metadata_props)
    copy.meta.update(value.meta)
    copy.meta[COPY_OF] = value.name
    return copy


def _inline(model: ir.Model) -> None:
    for function in model.functions.values():
        adopt_opsets(function, model.opset_imports, f"function {function.name!r}")
        _guard_function(function)
    try:
        InlinePass()(model)
    except (ir.passes.InvariantError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        reason = error.__cause__ or error
        raise ModelError(f"a local function cannot be inlined: {reason}; export without functions") from error
    model.functions.clear()
    for node in model.graph.all_nodes():
        for output in node.outputs:
            if output.meta.pop(OMITTED, False) and not output.uses() and not output.is_graph_output():
                output.name = ""


def adopt_opsets(nodes: ir.Function | ir.Graph, opsets: Mapping[str, int], title: str) -> None:
    """Let a function or graph import a model's operator sets, if all it uses is the same there.

    Args:
        nodes: is changed.
        opsets: versions by domain.
        title: what a message calls it.

    Raises:
        ModelError: an operator changed between the two versions.
    """
    for node in nodes.all_nodes():
        own, other = nodes.opset_imports.get(node.domain), opsets.get(node.domain)
        if own is None or other is None or own == other:
            continue
        # Another number is no harm where the operator was not changed in between.
        since = {_since_version(node, version) for version in (own, other)}
        if len(since) > 1 or None in since:
            versions = f"opset {own} of domain {node.domain!r}, which differs from {other}"
            raise ModelError(f"{title} uses {node.op_type} of {versions}; convert the model")
    for domain in nodes.opset_imports.keys() & opsets.keys():
        nodes.opset_imports[domain] = opsets[domain]


def _since_version(node: ir.Node, opset: int) -> int | None:
    try:
        return onnx.defs.get_schema(node.op_type, opset, node.domain).since_version
    except onnx.defs.SchemaError:
        return None


def _guard_function(function: ir.Function) -> None:
    """Prepare a function for the inliner, which names a function's result after the call's output.

    That would rename an input that is returned as it is: an Identity gives the result a value of its own. The
    inliner also names omitted optional outputs, which would ask for them: they are marked, to be taken back.
    """
    for node in function.all_nodes():
        for output in node.outputs:
            if output.name == "":
                output.meta[OMITTED] = True
    for index, result in enumerate(function.outputs):
        if result.producer() is None:
            identity = ir.Node("", "Identity", [result], name="Identity")
            identity.outputs[0].name = result.name
            function.append(identity)
            function.outputs[index] = identity.outputs[0]


def _drop_initializers_from_inputs(model: ir.Model) -> None:
    for graph in model.graphs():
        # Nothing else marks a weight as one in such a file.
        kept = [value for value in graph.inputs if not value.is_initializer()]
        graph.inputs.clear()
        graph.inputs.extend(kept)
    model.ir_version = FREE_WEIGHTS


def _lift_constant(node: ir.Node) -> None:
    output = node.outputs[0]
    tensor = written_tensor(node)
    # A result of a graph has to be made by a node of it.
    if node.graph is None or output.is_graph_output() or tensor is None:
        return
    initializer = ir.Value(
        name=output.name,
        shape=ir.Shape(tensor.shape.numpy()),
        type=ir.TensorType(tensor.dtype),
        const_value=tensor,
        doc_string=output.doc_string,
    )
    initializer.metadata_props.update(output.metadata_props)
    initializer.meta.update(output.meta)
    graph = node.graph
    output.replace_all_uses_with(initializer)
    graph.remove(node, safe=True)
    graph.register_initializer(initializer)


def _drop_empty_operands(node: ir.Node) -> None:
    """Drop constants that add nothing to a Concat.

    ONNX Runtime takes one whatever its other sizes are, which by ONNX would have to be those of what it is joined to:
    a size that the caller chooses would have to be zero.
    """
    axis = node.attributes.get_int("axis", 1)
    kept = [value for value in node.inputs if not _adds_nothing(value, axis)]
    # Something has to be left to join.
    if 0 < len(kept) < len(node.inputs):
        for slot, value in enumerate(kept):
            node.replace_input_with(slot, value)
        node.resize_inputs(len(kept))


def _adds_nothing(value: ir.Value | None, axis: int) -> bool:
    if value is None or value.const_value is None or value.is_graph_input():
        return False
    shape = value.const_value.shape
    return -len(shape) <= axis < len(shape) and shape[axis] == 0


def _hoist_initializers(model: ir.Model) -> None:
    """Moves initializers of branches and bodies to the main graph, so that all weights are found in one place.

    The result of a graph has to be made in it, so an initializer that is one is handed on by an Identity.
    """
    taken = {value.name for value in _values(model)}
    for graph in model.graph.subgraphs():
        for name, value in list(graph.initializers.items()):
            # The node that runs the body gives it another value, and its own is a default.
            if value.is_graph_input():
                continue
            for place, result in enumerate(graph.outputs):
                if result is value:
                    handed = ir.node("Identity", [value], name="Identity")
                    handed.outputs[0].name = next(n for k in count() if (n := f"{name}.result{k}") not in taken)
                    taken.add(handed.outputs[0].name)
                    handed.outputs[0].type, handed.outputs[0].shape = value.type, value.shape
                    graph.append(handed)
                    graph.outputs[place] = handed.outputs[0]
            del graph.initializers[name]
            model.graph.register_initializer(value)


def _values(model: ir.Model) -> Iterator[ir.Value]:
    """Every named or used value, first what the caller sees: main graph's inputs, outputs, initializers."""
    graphs = list(model.graphs())
    yield from model.graph.inputs
    yield from model.graph.outputs
    for graph in graphs:
        yield from graph.initializers.values()
    for graph in graphs:
        yield from graph.inputs
        for node in graph:
            yield from (output for output in node.outputs if output.name != "" or output.uses())


def _name_values(model: ir.Model) -> None:
    """Give each value a name of its own over all graphs; of equal names, the first keeps it."""
    values = list(dict.fromkeys(_values(model)))
    names = _distinct([value.name or "" for value in values], ["value"] * len(values))
    for value, name in zip(values, names, strict=True):
        if value.name != name:
            value.name = name


def _name_nodes(model: ir.Model) -> None:
    """Give each node a name of its own over all graphs, ``OpType_i`` where it had none."""
    nodes = list(model.graph.all_nodes())
    for node, name in zip(nodes, _distinct([n.name or "" for n in nodes], [n.op_type for n in nodes]), strict=True):
        node.name = name


def _distinct(names: Sequence[str], defaults: Sequence[str]) -> list[str]:
    """The names, with a number appended to repeated ones and to the defaults that replace empty ones."""
    taken, given = set(names), set[str]()
    next_number: Counter[str] = Counter()
    result = []
    for name, default in zip(names, defaults, strict=True):
        base = name or default
        # The first of equal names keeps it, so later ones look for a free number.
        if not name or name in given:
            while (name := f"{base}_{next_number[base]}") in taken:
                next_number[base] += 1
            taken.add(name)
        given.add(name)
        result.append(name)
    return result
