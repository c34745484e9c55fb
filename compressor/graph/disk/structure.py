"""Is a parsed file a sound ONNX model? Names, operator sets, functions, cycles, then every node by ONNX's checker.

The checks run on the parsed message, before the model in memory is built from it: that step believes what it
reads. They are linear in the size of the file and allocate nothing a small file could make large.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Final

import onnx

from compressor.errors import ModelError
from compressor.graph.ir.nodes import is_standard
from compressor.graph.ir.walk import Body, attributes, bodies, nested, node_label, quoted, subgraphs
from compressor.graph.sizes.contrib import RUNTIME_OPERATORS

OLDEST_IR_VERSION: Final = 3
"""Before it, models did not say which operator set they use."""
MAX_INLINE_WORK: Final = 2e8
"""Bound on the sum of nodes * calls² over the functions: the work of giving inlined nodes new names."""

MAX_CALL_DEPTH: Final = 100
"""Local functions that call each other in a chain; exporters stay below 10."""

FunctionId = tuple[str, str, str]


def check_structure(model: onnx.ModelProto) -> None:
    """Refuse what is not a sound model.

    Args:
        model: the parsed file, its header checked and completed as ONNX Runtime does it.

    Raises:
        ModelError: with the node or value at fault and the reason.
    """
    _check_types(model)
    for body in nested(model.graph):
        _check_references(body, inside_function=False)
    functions = _functions(model)
    _check_opsets(model.opset_import, nested(model.graph))
    _check_names(model.graph, [])
    for function in functions.values():
        for body in nested(function):
            _check_references(body, inside_function=True)
        _check_opsets(function.opset_import, nested(function))
        _check_names(function, [])
    _check_calls(model, functions)
    _check_nodes(nested(model.graph), model.opset_import)
    for function in functions.values():
        _check_nodes(nested(function), function.opset_import)


def check_header(model: onnx.ModelProto) -> None:
    """Refuse what is not a model, or one of a version that is not known.

    Raises:
        ModelError: with the reason.
    """
    if not model.HasField("graph") or not model.ir_version:
        raise ModelError(
            "this is not an ONNX model: it has no graph or no IR version; give a file that an exporter to ONNX wrote"
        )
    if not OLDEST_IR_VERSION <= model.ir_version <= onnx.IR_VERSION:
        known = f"{OLDEST_IR_VERSION} to {onnx.IR_VERSION}"
        raise ModelError(f"IR version {model.ir_version} is not supported, only {known}; convert the model")
    if model.training_info:
        raise ModelError("the model holds training graphs, which would be lost; export it for inference")
    if not model.graph.output:
        raise ModelError("the graph has no outputs; mark what it computes as an output")


def _check_types(model: onnx.ModelProto) -> None:
    """Refuse opaque types, which the model in memory cannot represent, and what ONNX Runtime refuses: an input of the
    graph without a type, and tensors of no element type."""
    for value in model.graph.input:
        if value.type.WhichOneof("value") is None:
            raise ModelError(f"input {quoted(value.name)} has no type; export the model again")
    for body in bodies(model):
        values = [*body.value_info]
        if isinstance(body, onnx.GraphProto):
            values += [*body.input, *body.output]
        for value in values:
            kind: onnx.TypeProto = value.type
            # Sequences and optional values may be nested; what counts is what they hold.
            while (field := kind.WhichOneof("value")) in ("sequence_type", "optional_type"):
                kind = getattr(kind, field).elem_type
            if field not in (None, "tensor_type", "sparse_tensor_type"):
                raise ModelError(f"value {quoted(value.name)} is of {field}; export the model to return tensors")
            if field is not None and not getattr(kind, field).elem_type:
                raise ModelError(f"value {quoted(value.name)} is a tensor of no element type; export it again")


def _check_references(body: Body, inside_function: bool) -> None:
    """Refuse references to parameters where there are none, and to graphs, which no inliner can follow."""
    for attribute in attributes(body):
        graph = attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
        if attribute.ref_attr_name and (graph or not inside_function):
            raise ModelError(f"attribute {quoted(attribute.name)} refers to a parameter; give it a value")


def _functions(model: onnx.ModelProto) -> dict[FunctionId, onnx.FunctionProto]:
    found: dict[FunctionId, onnx.FunctionProto] = {}
    for function in model.functions:
        key = (function.domain, function.name, function.overload)
        if key in found or not function.name:
            raise ModelError(f"function {quoted(function.name)} is defined twice or has no name; rename one")
        found[key] = function
    return found


def _called(node: onnx.NodeProto) -> FunctionId:
    return node.domain, node.op_type, node.overload


def _check_opsets(imports: Iterable[onnx.OperatorSetIdProto], graphs: Iterable[Body]) -> None:
    versions: dict[str, int] = {}
    for entry in imports:
        if versions.setdefault(entry.domain, entry.version) != entry.version or entry.version < 1:
            raise ModelError(f"opset {quoted(entry.domain)} is not imported at one valid version; set one")
    newest = onnx.defs.onnx_opset_version()
    if versions.get("", 1) > newest:
        raise ModelError(f"opset {versions['']} is newer than {newest}, the newest known; convert the model")
    for body in graphs:
        for node in body.node:
            if node.domain not in versions:
                where = quoted(node.domain or "ai.onnx")
                raise ModelError(f"{node_label(node)} is of domain {where}, whose opset is not imported; add it")


def _check_names(body: Body, outer: Sequence[set[str]], earlier: Sequence[set[str]] = ()) -> None:
    """Every name is produced once in its graph, and every name read is produced in sight.

    Args:
        body: the graph.
        outer: names in the graphs around it.
        earlier: of these, the names that come before the node that holds the body. What it gives itself, and what comes
            after it, cannot be seen from inside, so that a name may be used again there.
    """
    scope: set[str] = set()
    if isinstance(body, onnx.GraphProto):
        _define((value.name for value in body.input), scope, "graph input")
        # An initializer may have the name of an input, whose default it is, but not that of another initializer.
        initializers: set[str] = set()
        _define((tensor.name for tensor in body.initializer), initializers, "initializer")
        scope |= initializers
        results = [value.name for value in body.output]
    else:
        _define(body.input, scope, "function input")
        results = list(body.output)
    before = set(scope)
    # Outputs first: nodes may stand in any order here, and are sorted later.
    for node in body.node:
        _define(filter(None, node.output), scope, f"output of {node_label(node)}", earlier)
    visible = [*outer, scope]
    for node in body.node:
        for name in filter(None, node.input):
            if not any(name in names for names in reversed(visible)):
                raise ModelError(f"{node_label(node)} reads {quoted(name)}, which nothing produces; add it")
        for graph in subgraphs(node.attribute):
            _check_names(graph, visible, [*earlier, before])
        before.update(node.output)
    for name in results:
        # Not of the graphs around it: ONNX lets a graph return what is made in it.
        if name not in scope:
            raise ModelError(f"output {quoted(name)} is produced by nothing in its graph; produce it there")


def _define(names: Iterable[str], scope: set[str], what: str, outer: Sequence[set[str]] = ()) -> None:
    """Add names to a scope; each must be new there, and what a node writes also in the scopes around."""
    for name in names:
        if not name or name in scope or any(name in names for names in outer):
            raise ModelError(f"{what} {quoted(name)} has no name or one that is taken; names are given once")
        scope.add(name)


def _check_calls(model: onnx.ModelProto, functions: dict[FunctionId, onnx.FunctionProto]) -> None:
    """Functions must not call themselves, nor be nested or expand beyond the limits above."""

    def calls(root: Body) -> Counter[FunctionId]:
        nodes = (_called(node) for body in nested(root) for node in body.node)
        return Counter(key for key in nodes if key in functions)

    callees = {key: calls(function) for key, function in functions.items()}
    try:
        # Callees come first, and a circle is noticed.
        order = list(TopologicalSorter(callees).static_order())
    except CycleError as error:
        names = " -> ".join(quoted(name) for _, name, _ in error.args[1])
        raise ModelError(f"local functions call each other in a circle ({names}); break it") from None
    depth: dict[FunctionId, int] = {}
    for key in order:
        depth[key] = 1 + max((depth[callee] for callee in callees[key]), default=0)
        if depth[key] > MAX_CALL_DEPTH:
            raise ModelError(f"local functions call each other over {MAX_CALL_DEPTH} deep; inline them first")
    uses = calls(model.graph)
    work = 0
    # Callers first, so that all uses of a function are counted when its turn comes.
    for key in reversed(order):
        work += uses[key] ** 2 * sum(len(body.node) for body in nested(functions[key]))
        if work > MAX_INLINE_WORK:
            raise ModelError(f"local function {quoted(key[1])} expands to too many nodes; inline it first")
        for callee, times in callees[key].items():
            uses[callee] += times * uses[key]


def _check_nodes(bodies: Iterable[Body], imports: Iterable[onnx.OperatorSetIdProto]) -> None:
    """Hold each node against the definition of its operator: inputs, outputs, attributes and their types.

    It is what ONNX Runtime asks of ONNX's checker too, node by node; of the rest of that checker (names, types of
    outputs, shapes that are missing) ONNX Runtime asks nothing, so neither is it asked here.
    """
    context = onnx.checker.C.CheckerContext()
    context.ir_version = onnx.IR_VERSION
    context.opset_imports = {entry.domain: entry.version for entry in imports}
    newest = context.opset_imports.get("", 1)
    for body in bodies:
        for node in body.node:
            # Names that are no text come as bytes; what checkers say of them depends on the version of Python.
            for name in (node.op_type, node.domain, node.name, *node.input, *node.output):
                if isinstance(name, bytes):
                    name.decode()
            if _of_the_runtime(node, newest):
                continue
            try:
                onnx.checker.check_node(_weightless(node), context)
                # Operators of others may keep bytes in an attribute of text, as EPContext does its engine.
                for attribute in node.attribute if is_standard(node) else ():
                    b"".join([attribute.s, *attribute.strings]).decode()
            except UnicodeDecodeError:
                raise  # said of the file, whichever name it is
            except (onnx.checker.ValidationError, ValueError, RuntimeError, TypeError) as error:
                reason = " ".join(str(error).partition("==> Context:")[0].split())
                raise ModelError(
                    f"ONNX's checker refuses {node_label(node)}: {reason[:400]}; export the model again"
                ) from None


def _of_the_runtime(node: onnx.NodeProto, opset: int) -> bool:
    """Is this an operator that ONNX Runtime has in the default domain and ONNX, at this version, has not?"""
    if not is_standard(node) or node.op_type not in RUNTIME_OPERATORS:
        return False
    try:
        return bool(onnx.defs.get_schema(node.op_type, opset, "").deprecated)
    except onnx.defs.SchemaError:
        return True


def _weightless(node: onnx.NodeProto) -> onnx.NodeProto:
    """The node itself, or, where it holds tensors or graphs, a copy in which these are empty ones of their names.

    The checker would copy the weights, or look for them in the wrong folder; graphs are checked on their own.
    """
    if not any(a.HasField("t") or a.HasField("g") or a.tensors or a.graphs for a in node.attribute):
        return node
    copy = onnx.NodeProto(op_type=node.op_type, domain=node.domain, input=node.input, output=node.output)
    for attribute in node.attribute:
        into = copy.attribute.add()
        for field, value in attribute.ListFields():
            kind = field.message_type.name if field.message_type else None
            # A repeated field has `add`, a single one has not.
            target = getattr(into, field.name)
            if kind == "TensorProto":
                for tensor in value if hasattr(target, "add") else [value]:
                    empty = target.add() if hasattr(target, "add") else target
                    empty.name, empty.data_type = tensor.name, tensor.data_type
                    empty.dims.append(0)
            elif kind == "GraphProto":
                for graph in value if hasattr(target, "add") else [value]:
                    (target.add() if hasattr(target, "add") else target).name = graph.name
            elif hasattr(target, "extend"):
                target.extend(value)
            elif kind is None:
                setattr(into, field.name, value)
            else:
                target.CopyFrom(value)
    return copy
