"""Concrete shapes and static values of a graph: every symbolic dimension is bound to a number.

The graph is walked once for each binding. A node whose inputs are all known is evaluated by the ONNX
reference implementation, any other node goes through ONNX's own shape inference, so shape arithmetic
(Shape -> Gather -> Concat -> Reshape) needs no rules here. With symbolic dimensions the walk is done under
two bindings: what is equal in both does not depend on the input and is *static*; what differs is *dynamic*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_ir as ir
from onnx.shape_inference import InferenceError, infer_node_outputs

from compressor.errors import ModelError
from compressor.graph.binding import Given, Shape, batch, bindings, blind
from compressor.graph.contrib import MICROSOFT, SAME_AS_FIRST, fused_matmul, like, standard
from compressor.graph.evaluate import RANDOM, UNPACKS, Array, evaluate

EVALUATE_LIMIT = 1 << 16
"""Elements of the largest value that is evaluated while shapes are inferred."""
DATA_LIMIT = 1 << 12
"""Elements of the largest constant handed to ONNX's shape inference."""
DIM_LIMIT = 1 << 40
"""Elements of the largest value that is believed."""

MOVES = frozenset({"Shape", "Size", "Gather", "Slice", "Concat", "Unsqueeze", "Squeeze", "Reshape", "Cast", "Identity",
                   "Split", "Transpose", "Flatten", "GatherElements", "GatherND"})  # fmt: skip
"""Operators whose result holds entries of the input as they are."""
@dataclass
class Known:
    """What one walk under one binding found: shapes, element types and small values."""

    shapes: dict[ir.Value, Shape | None] = field(default_factory=dict)
    dtypes: dict[ir.Value, ir.DataType | None] = field(default_factory=dict)
    data: dict[ir.Value, Array] = field(default_factory=dict)


class Shapes:
    """Concrete shapes (under the first binding), static values, and which dimensions are dynamic."""

    def __init__(
        self, graph: ir.Graph, walks: tuple[Known, Known], inputs: dict[str, Shape], others: dict[str, Shape]
    ) -> None:
        self._first, self._second = walks
        self.inputs = inputs
        self.other_inputs = others
        self.batch = 1
        """Samples in one run, where the batch size was made up; costs are reported for one sample."""
        self._blind = blind(graph, inputs, others)
        self._static: dict[ir.Value, Array] = {}
        self._find_static(graph)

    def _find_static(self, graph: ir.Graph) -> None:
        """What is equal under both bindings and reached by moving static entries, or computed from static values.

        Equality alone is not enough: ``max(length, 512)`` is 512 under two short bindings and dynamic all the same.
        Where the bindings could not be told apart (a symbolic size that only one number fits), nothing that comes
        from a shape counts as static.
        """
        doubtful: set[ir.Value] = set()  # holds entries that came out equal by arithmetic on dynamic ones
        for node in graph:
            moves = node.op_type in MOVES and node.domain == ""
            fixed = all(v is None or initializer_of(v) is not None or v in self._static for v in node.inputs)
            tainted = any(v in doubtful for v in node.inputs)
            if self._blind and node.op_type in ("Shape", "Size"):
                doubtful.update(node.outputs)
                continue
            for value in node.outputs:
                one, two = self._first.data.get(value), self._second.data.get(value)
                if one is None or two is None:
                    continue
                if fixed or (moves and not tainted):
                    if one is two or (one.shape == two.shape and np.array_equal(one, two)):
                        self._static[value] = one
                elif one.shape != two.shape or np.any(one == two):
                    doubtful.add(value)

    def __call__(self, value: ir.Value) -> Shape | None:
        """The shape of ``value``, or None where it could not be inferred."""
        tensor = value.const_value if value.is_initializer() else None
        return self._first.shapes.get(value) if tensor is None else tuple(int(d) for d in tensor.shape.numpy())

    def dtype(self, value: ir.Value) -> ir.DataType | None:
        """The element type of ``value`` as inferred."""
        return self._first.dtypes.get(value) or value.dtype

    def const(self, value: ir.Value | None) -> Array | None:
        """The data of ``value`` where it is static: an initializer or computed from shapes that do not vary."""
        if value is None:
            return None
        tensor = initializer_of(value)
        if tensor is not None:
            return tensor.numpy()
        return self._static.get(value)

    def sample(self, value: ir.Value) -> Array | None:
        """The data of ``value`` under the first binding, static or not."""
        tensor = initializer_of(value)
        return tensor.numpy() if tensor is not None else self._first.data.get(value)

    def dynamic(self, value: ir.Value) -> list[bool]:
        """Per axis of ``value``: does its size depend on the sizes of the inputs?"""
        one, two = self._first.shapes.get(value), self._second.shapes.get(value)
        if value.is_initializer() and not value.is_graph_input():
            return [False] * len(self(value) or ())
        if self._blind:
            return [True] * len(one or ())
        if one is None or two is None or len(one) != len(two):
            return [True] * len(one or ())
        return [a != b for a, b in zip(one, two, strict=True)]


def initializer_of(value: ir.Value) -> ir.TensorProtocol | None:
    """The tensor of an initializer that nobody can override from outside, else None."""
    if value.is_initializer() and not value.is_graph_input():
        return value.const_value
    return None


def infer(
    model: ir.Model,
    shapes: Mapping[str, Shape] | None = None,
    dims: Mapping[str, int] | None = None,
) -> Shapes:
    """Binds the symbolic dimensions of ``model`` and infers every shape.

    Args:
        model: normalised model; not changed.
        shapes: input name -> concrete shape, as the user gave them.
        dims: symbolic dimension name -> size, as the user gave them.

    Raises:
        ModelError: an input has no rank, a name is unknown, or no binding tried fits the graph.
    """
    problem = ""
    given = Given(shapes or {}, dims or {})
    for one, two in bindings(model.graph, given):
        try:
            first = _walk(model, one)
            second = first if one == two else _walk(model, two)
        except _Misfit as misfit:
            problem = problem or str(misfit)
            continue
        found = Shapes(model.graph, (first, second), one, two)
        found.batch = batch(model.graph, given, one)
        if shapes or dims:
            found.other_inputs = one  # the user said which sizes to run
        return found
    raise ModelError(
        f"shapes do not fit: {problem}; if a symbolic input dimension needs a certain size, "
        "give it with --input-shape or --dim"
    )


class _Misfit(Exception):  # noqa: N818 - a signal between two functions, not an error for users
    """A binding does not fit the graph."""


def _walk(model: ir.Model, inputs: dict[str, Shape]) -> Known:
    known = Known()
    for value in model.graph.inputs:
        known.shapes[value] = inputs[str(value.name)]
        known.dtypes[value] = value.dtype
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and value not in known.shapes:
            known.shapes[value] = tuple(int(d) for d in tensor.shape.numpy())
            known.dtypes[value] = tensor.dtype
    opsets = [onnx.helper.make_opsetid(d, v) for d, v in model.opset_imports.items()]
    walker = _Walker(known, opsets)
    for node in model.graph:
        walker.visit(node)
    return known


class _Walker:
    """Infers one node after the other; remembers element types as protobufs, which inference wants."""

    def __init__(self, known: Known, opsets: list[onnx.OperatorSetIdProto]) -> None:
        self.known = known
        self.opsets = opsets
        self.versions = {o.domain: o.version for o in opsets}

    def visit(self, node: ir.Node) -> None:
        data = self._evaluate(node)
        if data is not None:
            for value, array in zip(node.outputs, data, strict=False):
                self.known.shapes[value] = array.shape
                self.known.dtypes[value] = ir.DataType.from_numpy(array.dtype)
                self.known.data[value] = array
            return
        inferred = self._infer(node)
        for value in node.outputs:
            shape, dtype = inferred.get(str(value.name), (None, None))
            if shape is None and value.shape is not None and value.shape.is_static():
                shape = tuple(int(d) for d in value.shape.numpy())
            self.known.shapes[value] = shape
            self.known.dtypes[value] = dtype or value.dtype

    def _data(self, value: ir.Value) -> Array | None:
        tensor = initializer_of(value)
        if tensor is None:
            return self.known.data.get(value)
        if tensor.size <= EVALUATE_LIMIT and tensor.dtype != ir.DataType.STRING:
            return tensor.numpy()
        return None

    def _evaluate(self, node: ir.Node) -> list[Array] | None:
        if node.op_type == "Shape" and node.domain == "":
            shape = self.known.shapes.get(_first(node))
            if shape is None:
                return None
            start, end = (node.attributes.get_int(k, None) for k in ("start", "end"))
            return [np.asarray(shape[start:end], np.int64)]
        if node.op_type == "Size" and node.domain == "":
            shape = self.known.shapes.get(_first(node))
            return None if shape is None else [np.asarray(int(np.prod(shape, dtype=object)), np.int64)]
        if node.domain != "" or node.op_type in RANDOM | UNPACKS or _has_graph(node):
            return None
        feeds: dict[str, Array] = {}
        for value in node.inputs:
            if value is None:
                continue
            array = self._data(value)
            if array is None:
                return None
            feeds[str(value.name)] = array
        return self._reference(node, feeds)

    def _reference(self, node: ir.Node, feeds: dict[str, Array]) -> list[Array] | None:
        sizes = [shape for shape, _ in self._infer(node, feeds).values()]
        if any(s is None or np.prod(s, dtype=object) > EVALUATE_LIMIT for s in sizes):
            return None
        return evaluate(node, feeds, self.versions)

    def _infer(
        self, node: ir.Node, feeds: dict[str, Array] | None = None
    ) -> dict[str, tuple[Shape | None, ir.DataType | None]]:
        if (node.domain, node.op_type) in SAME_AS_FIRST:
            first = _first(node)
            return {str(node.outputs[0].name): (self.known.shapes.get(first), self.known.dtypes.get(first))}
        if (node.domain, node.op_type) == (MICROSOFT, "FusedMatMul"):
            one, two = (self.known.shapes.get(v) for v in node.inputs if v is not None)
            found = None if one is None or two is None else fused_matmul(node, one, two)
            return {str(node.outputs[0].name): (found, self.known.dtypes.get(_first(node)))}
        twin = like(node)
        proto = ir.serde.serialize_node(node) if twin is None else standard(node, twin)
        try:
            schema = onnx.defs.get_schema(proto.op_type, self.versions.get(proto.domain, 1), proto.domain)
        except onnx.defs.SchemaError:
            return {}
        captured = _captured(node) if _has_graph(node) else []
        values = [v for v in node.inputs if v is not None and str(v.name) in proto.input] + captured
        kind = None if twin is None else ir.DataType.FLOAT
        types = {str(v.name): self._type(v, kind) for v in values}
        data = {
            str(v.name): onnx.numpy_helper.from_array(a)
            for v in values
            if (a := (feeds or {}).get(str(v.name), self._data(v))) is not None and a.size <= DATA_LIMIT
        }
        if any(types[name].WhichOneof("value") is None for name in proto.input if name):
            return {}
        try:
            out = infer_node_outputs(schema, proto, types, data, opset_imports=self.opsets)
        except (InferenceError, onnx.checker.ValidationError) as error:
            raise _Misfit(f"node {node.name!r} ({node.op_type}): {_sentence(error)}") from None
        except (RuntimeError, ValueError, TypeError, KeyError):
            return {}
        result = {name: _shape_of(proto_type) for name, proto_type in out.items()}
        if twin is not None:
            made = twin.dtype(node, self.known.dtypes.get(values[0]))
            result = {name: (shape, made) for name, (shape, _) in result.items()}
        _check_reshape(node, self.known, result)
        return result

    def _type(self, value: ir.Value, kind: ir.DataType | None) -> onnx.TypeProto:
        """The type of ``value``, of elements of ``kind`` (its own)."""
        dtype, shape = kind or self.known.dtypes.get(value), self.known.shapes.get(value)
        if dtype is None:
            return onnx.TypeProto()
        return onnx.helper.make_tensor_type_proto(int(dtype), shape)


def _first(node: ir.Node) -> ir.Value:
    value = node.inputs[0] if node.inputs else None
    if value is None:
        raise ModelError(f"node {node.name!r} ({node.op_type}) lacks its first input")
    return value


def _has_graph(node: ir.Node) -> bool:
    return any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values())


def _captured(node: ir.Node) -> list[ir.Value]:
    """Values of the outer graph that the node's subgraphs read."""
    return [v for v in captured_values(node) if v is not None]


def captured_values(node: ir.Node) -> list[ir.Value]:
    """Every value that nodes inside the subgraphs of ``node`` read, and that those subgraphs do not own."""
    found: dict[ir.Value, None] = {}
    for attribute in node.attributes.values():
        graphs = (
            [attribute.as_graph()] if attribute.type == ir.AttributeType.GRAPH
            else list(attribute.as_graphs()) if attribute.type == ir.AttributeType.GRAPHS
            else []
        )  # fmt: skip
        for graph in graphs:
            inner = list(graph.all_nodes())
            own = {v for n in inner for v in n.outputs} | set(graph.inputs) | set(graph.initializers.values())
            for value in [v for n in inner for v in n.inputs] + list(graph.outputs):
                if value is not None and value not in own:
                    found[value] = None
    return list(found)


def _shape_of(proto: onnx.TypeProto) -> tuple[Shape | None, ir.DataType | None]:
    if proto.WhichOneof("value") != "tensor_type":
        return None, None
    tensor = proto.tensor_type
    dtype = ir.DataType(tensor.elem_type) if tensor.elem_type else None
    if not tensor.HasField("shape"):
        return None, dtype
    dims = [d.dim_value if d.WhichOneof("value") == "dim_value" else -1 for d in tensor.shape.dim]
    if any(d < 0 for d in dims):
        return None, dtype
    if np.prod(dims, dtype=object) > DIM_LIMIT:
        raise ModelError(f"a value of shape {dims} is larger than any this tool believes")
    return tuple(dims), dtype


def _check_reshape(node: ir.Node, known: Known, result: Mapping[str, tuple[Shape | None, object]]) -> None:
    """ONNX's inference does not compare element counts when the target holds no -1."""
    if node.op_type != "Reshape" or node.domain != "":
        return
    before = known.shapes.get(_first(node))
    after = result.get(str(node.outputs[0].name), (None, None))[0]
    if before is not None and after is not None and np.prod(before, dtype=object) != np.prod(after, dtype=object):
        raise _Misfit(f"node {node.name!r} (Reshape): {list(before)} does not fit into {list(after)}")


def _sentence(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
