"""One walk over a graph: shapes, element types and small values, of numbers or of symbolic sizes.

A node whose inputs are all known numbers is evaluated by the ONNX reference implementation; any other node goes
through ONNX's own shape inference, so shape arithmetic (Shape -> Gather -> Concat -> Reshape) needs no rules here.
Where sizes are symbolic, ``shape_rules`` and ``data_rules`` follow them further than ONNX's inference does.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
from onnx.shape_inference import InferenceError, infer_node_outputs

from compressor.errors import ModelError
from compressor.graph import contrib_shapes, data_rules, shape_rules
from compressor.graph.captures import captured_values, has_graph
from compressor.graph.contrib import OLDER_SAME_AS_FIRST, SAME_AS_FIRST, standard_node, twin_of
from compressor.graph.dims import OPEN, TEXT_LIMIT, UNKNOWN, Dim, Size, size_product, symbol
from compressor.graph.evaluate import RANDOM, UNPACKS, Array, evaluate
from compressor.graph.known import (
    NOTHING,
    Inferred,
    Known,
    Measured,
    Misfit,
    check_reshape,
    dims_of,
    first_input,
    initializer_of,
    mapped,
    merged,
    numbers_of,
)
from compressor.graph.shape_rules import DimShape, Operands

EVALUATE_LIMIT = 1 << 16
"""Elements of the largest value that is evaluated while shapes are inferred."""
DATA_LIMIT = 1 << 12
"""Elements of the largest constant handed to ONNX's shape inference."""
REALS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE})
READS_REALS = frozenset({"Resize", "Upsample", "Range"})
"""Operators whose sizes follow from real numbers; of others, ONNX's inference looks at whole numbers alone."""
DIM_LIMIT = 1 << 40
"""Elements of the largest value that is believed."""
LIST_LIMIT = 1 << 6
"""Elements of the longest list of whole numbers that nothing is known of and that is followed all the same."""


def infer_values(
    model: ir.Model,
    inputs: Mapping[str, DimShape],
    base: Known | None = None,
    measured: Mapping[ir.Value, Measured] = NOTHING,
) -> Known:
    """Infers every value of the graph.

    Args:
        model: normalised; not changed.
        inputs: shape of each input; numbers, or symbolic sizes.
        base: what a walk with symbolic sizes found, of the same graph: what is fixed there is taken over.
        measured: what a run showed of values that cannot be inferred, at these inputs; believed for what the file does
            not say, and a size of it as an open one where sizes are symbolic.

    Raises:
        Misfit: the sizes do not fit the graph; only where all of them are numbers.
        ModelError: a value is larger than any that is believed.
    """
    walker = start_walker(model, inputs, symbolic=base is None, measured=measured)
    for node in model.graph:
        if base is not None and node in base.fixed:
            _take_over(node, base, walker.known)
        else:
            walker.visit(node)
    return walker.known


def start_walker(
    model: ir.Model,
    inputs: Mapping[str, DimShape],
    *,
    symbolic: bool,
    measured: Mapping[ir.Value, Measured] = NOTHING,
) -> Walker:
    """A walker that knows inputs and initializers, before the first node."""
    known = Known()
    for value in model.graph.inputs:
        known.shapes[value] = inputs[str(value.name)]
        known.dtypes[value] = value.dtype
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and value not in known.shapes:
            known.shapes[value] = dims_of(tensor)
            known.dtypes[value] = tensor.dtype
    walker = Walker(known, model.opset_imports, symbolic=symbolic, measured=measured)
    for value in model.graph.inputs:
        walker.unfollowed(value)
    return walker


def _take_over(node: ir.Node, base: Known, known: Known) -> None:
    for value in node.outputs:
        known.shapes[value] = base.shapes[value]
        known.dtypes[value] = base.dtypes[value]
        if value in base.data:
            known.data[value] = base.data[value]


class Walker:
    """Infers one node after the other; remembers element types as protobufs, which inference wants."""

    def __init__(
        self,
        known: Known,
        opsets: Mapping[str, int],
        *,
        symbolic: bool,
        measured: Mapping[ir.Value, Measured] = NOTHING,
    ) -> None:
        self.known = known
        self.measured = measured
        self.symbolic = symbolic
        self.versions = opsets
        self.opsets = [onnx.helper.make_opsetid(d, v) for d, v in opsets.items()]
        self._named: dict[str, Size] = {}
        self._count = 0

    def visit(self, node: ir.Node) -> None:
        """Shapes, types and small values of the outputs of ``node``.

        Raises:
            Misfit: its inputs do not fit each other; where sizes are symbolic, nothing is known of its outputs then.
            ModelError: a value is larger than any that is believed.
        """
        try:
            self._visit(node)
        except Misfit:
            if not self.symbolic:
                raise
            self.known.shapes.update(dict.fromkeys(node.outputs))

    def _visit(self, node: ir.Node) -> None:
        data = self._evaluate(node)
        if data is None:
            for value, (shape, dtype) in self._inferred(node).items():
                self.known.shapes[value] = shape
                self.known.dtypes[value] = dtype
                self.unfollowed(value)
        else:
            for value, array in zip(node.outputs, data, strict=False):
                self.known.shapes[value] = array.shape
                self.known.data[value] = array
                if array.dtype.kind != "O":
                    self.known.dtypes[value] = ir.DataType.from_numpy(array.dtype)
        if self.symbolic:
            captured = captured_values(node) if has_graph(node) else []
            made = [v for v in node.inputs if v is not None] + captured
            if all(v.producer() is None or v.producer() in self.known.fixed for v in made) and all(
                map(self._is_fixed, [*made, *node.outputs])
            ):
                self.known.fixed.add(node)

    def _is_fixed(self, value: ir.Value) -> bool:
        """Is nothing that is known of ``value`` a symbol?"""
        shape, data = self.known.shapes.get(value), self.known.data.get(value)
        sizes = shape is not None and all(isinstance(d, int) for d in shape)
        return sizes and (data is None or data.dtype.kind != "O")

    def unfollowed(self, value: ir.Value) -> None:
        """A short list of whole numbers of which nothing is known becomes as many symbols."""
        shape = self.known.shapes.get(value)
        if not self.symbolic or shape is None or len(shape) > 1 or value in self.known.data:
            return
        size = size_product(shape)
        if isinstance(size, int) and size <= LIST_LIMIT and self.known.dtypes.get(value) in data_rules.WIDE:
            made = np.empty(tuple(int(str(d)) for d in shape), object)
            for place in np.ndindex(made.shape):
                made[place] = self._unknown()
            self.known.data[value] = made

    # ---- small values ------------------------------------------------------------------------------------------

    def _data(self, value: ir.Value) -> Array | None:
        tensor = initializer_of(value)
        if tensor is None:
            return self.known.data.get(value)
        if tensor.size <= EVALUATE_LIMIT and tensor.dtype != ir.DataType.STRING:
            return tensor.numpy()
        return None

    def _evaluate(self, node: ir.Node) -> list[Array] | None:
        if node.op_type in ("Shape", "Size") and node.domain == "":
            shape = self.known.shapes.get(first_input(node))
            if shape is None:
                return None
            start, end = (node.attributes.get_int(k, None) for k in ("start", "end"))
            found: list[Dim] = list(shape[start:end]) if node.op_type == "Shape" else [size_product(shape)]
            self.known.dtypes[node.outputs[0]] = ir.DataType.INT64
            made = np.empty(len(found), object)
            made[:] = found
            return [numbers_of(made if node.op_type == "Shape" else made.reshape(()), np.dtype(np.int64))]
        if node.domain != "" or node.op_type in RANDOM | UNPACKS or has_graph(node):
            return None
        feeds: dict[str, Array] = {}
        for value in node.inputs:
            if value is None:
                continue
            array = self._data(value)
            if array is None:
                return None
            feeds[str(value.name)] = array
        if any(array.dtype.kind == "O" for array in feeds.values()):
            return self._follow(node)
        return self._reference(node, feeds)

    def _reference(self, node: ir.Node, feeds: dict[str, Array]) -> list[Array] | None:
        sizes = [None if shape is None else size_product(shape) for shape, _ in self._infer(node, feeds).values()]
        if not all(isinstance(size, int) and size <= EVALUATE_LIMIT for size in sizes):
            return None
        return evaluate(node, feeds, self.versions)

    def _follow(self, node: ir.Node) -> list[Array] | None:
        dtypes = [None if v is None else self._dtype(v) for v in node.inputs]
        found = data_rules.follow(self._operands(node), dtypes, self.versions)
        if found is None:
            return None
        kinds = self._infer(node)
        made = []
        for value, array in zip(node.outputs, found, strict=False):
            dtype = kinds.get(str(value.name), (None, None))[1]
            if dtype is None:
                return None
            self.known.dtypes[value] = dtype
            short = mapped(array, self._short)
            made.append(numbers_of(short, dtype.numpy()))
        return made

    def _operands(self, node: ir.Node) -> Operands:
        shapes = [None if v is None else self._shape(v) for v in node.inputs]
        data = [None if v is None else self._data(v) for v in node.inputs]
        return Operands(node, shapes, data, self._fresh, self._unknown, self._equate)

    # ---- symbols -----------------------------------------------------------------------------------------------

    def _fresh(self) -> Size:
        self._count += 1
        return symbol(f"{OPEN}{self._count}")

    def _unknown(self) -> Size:
        self._count += 1
        return symbol(f"{UNKNOWN}{self._count}")

    def _equate(self, one: Dim, two: Dim) -> None:
        if one != two:
            self.known.equations[one, two] = None

    def _short(self, size: object) -> object:
        """``size``, or a symbol in its place where it has grown too long to be worth following."""
        return self._unknown() if isinstance(size, Size) and len(size.text) > TEXT_LIMIT else size

    # ---- shapes ------------------------------------------------------------------------------------------------

    def _shape(self, value: ir.Value) -> DimShape | None:
        return self.known.shapes.get(value)

    def _dtype(self, value: ir.Value) -> ir.DataType | None:
        return self.known.dtypes.get(value)

    def _inferred(self, node: ir.Node) -> dict[ir.Value, tuple[DimShape | None, ir.DataType | None]]:
        """Shape and type of each output, as inferred or else as the file declares them."""
        inferred = self._infer(node)
        followed = self._rule(node)
        found = {}
        for index, value in enumerate(node.outputs):
            shape, dtype = inferred.get(str(value.name), (None, None))
            if followed is not None and index < len(followed):
                shape = merged(shape, followed[index])
            if shape is None and value.shape is not None and value.shape.is_static():
                shape = tuple(int(d) for d in value.shape.numpy())
            if shape is None and value in self.measured:
                shape, dtype = self._seen(value)
            if shape is not None:
                long = [isinstance(d, Size) and len(d.text) > TEXT_LIMIT for d in shape]
                shape = tuple(self._fresh() if cut else d for d, cut in zip(shape, long, strict=True))
            found[value] = (shape, dtype or value.dtype)
        return found

    def _seen(self, value: ir.Value) -> tuple[DimShape, ir.DataType | None]:
        """What a run showed of ``value``; with symbols, only what the file declares does not vary."""
        shape, dtype = self.measured[value]
        if not self.symbolic:
            return shape, dtype
        declared = [None] * len(shape) if value.shape is None else list(value.shape)
        if len(declared) != len(shape):
            declared = [None] * len(shape)
        return tuple(d if isinstance(d, int) else self._fresh() for d in declared), dtype

    def _rule(self, node: ir.Node) -> list[DimShape | None] | None:
        """What a rule says about the outputs; None where all is numbers, which ONNX's inference handles."""
        rule = shape_rules.RULES.get(node.op_type) if node.domain == "" else None
        if rule is None or not self.symbolic:
            return None
        of = self._operands(node)
        open_ = any(isinstance(d, Size) for s in of.shapes for d in s or ())
        if not open_ and not any(a is not None and a.dtype.kind == "O" for a in of.data):
            return None
        found = rule(of)
        return None if found is None else list(found)

    def _infer(self, node: ir.Node, feeds: dict[str, Array] | None = None) -> Inferred:
        if (node.domain, node.op_type) in SAME_AS_FIRST:
            return self._as_first(node)
        own = contrib_shapes.SHAPES.get((node.domain, node.op_type))
        if own is not None:
            kind = self._dtype(first_input(node))
            sizes = own(self._operands(node)) or []
            return {str(v.name): (shape, kind) for v, shape in zip(node.outputs, sizes, strict=False)}
        twin = twin_of(node)
        proto = ir.serde.serialize_node(node) if twin is None else standard_node(node, twin)
        try:
            schema = onnx.defs.get_schema(proto.op_type, self.versions.get(proto.domain, 1), proto.domain)
        except onnx.defs.SchemaError:
            older = node.domain == "" and node.op_type in OLDER_SAME_AS_FIRST
            return self._as_first(node) if older else {}
        captured = captured_values(node) if has_graph(node) else []
        read = set(proto.input)
        values = [v for v in node.inputs if v is not None and str(v.name) in read] + captured
        floats = None if twin is None else ir.DataType.FLOAT
        types = {str(v.name): self._type(v, floats) for v in values}
        data = {
            str(v.name): onnx.numpy_helper.from_array(a)
            for v in values
            if (self._dtype(v) not in REALS or node.op_type in READS_REALS)
            and (a := (feeds or {}).get(str(v.name), self._data(v))) is not None
            and a.dtype.kind != "O"
            and a.size <= DATA_LIMIT
        }
        if any(types[name].WhichOneof("value") is None for name in proto.input if name):
            return {}
        try:
            out = infer_node_outputs(schema, proto, types, data, opset_imports=self.opsets)
        except (InferenceError, onnx.checker.ValidationError) as error:
            raise Misfit(f"node {node.name!r} ({node.op_type}): {_sentence(error)}") from None
        except (RuntimeError, ValueError, TypeError, KeyError):
            return {}
        result = {name: self._shape_of(proto_type) for name, proto_type in out.items()}
        if twin is not None:
            made = twin.dtype(node, self._dtype(values[0]))
            result = {name: (shape, made) for name, (shape, _) in result.items()}
        check_reshape(node, self.known, result)
        return result

    def _as_first(self, node: ir.Node) -> Inferred:
        """The first output has shape and element type of the first input."""
        first = first_input(node)
        return {str(node.outputs[0].name): (self._shape(first), self._dtype(first))}

    def _type(self, value: ir.Value, kind: ir.DataType | None) -> onnx.TypeProto:
        """The type of ``value``, of elements of ``kind`` (its own)."""
        dtype, shape = kind or self._dtype(value), self._shape(value)
        if dtype is None:
            return onnx.TypeProto()
        return onnx.helper.make_tensor_type_proto(int(dtype), None if shape is None else [*map(self._name, shape)])

    def _name(self, dim: Dim) -> int | str:
        """A size as a type holds it: a number, or the name of a dimension."""
        if isinstance(dim, Size):
            self._named[dim.text] = dim
        return dim if isinstance(dim, int) else dim.text

    def _shape_of(self, proto: onnx.TypeProto) -> tuple[DimShape | None, ir.DataType | None]:
        if proto.WhichOneof("value") != "tensor_type":
            return None, None
        tensor = proto.tensor_type
        dtype = ir.DataType(tensor.elem_type) if tensor.elem_type else None
        if not tensor.HasField("shape"):
            return None, dtype
        dims = [self._dim(d) for d in tensor.shape.dim]
        known = [d for d in dims if d is not None]
        if len(known) < len(dims) and not self.symbolic:
            return None, dtype
        if np.prod([d for d in known if isinstance(d, int)], dtype=object) > DIM_LIMIT:
            raise ModelError(f"a value of shape {[*map(str, known)]} is larger than any this tool believes")
        return tuple(self._fresh() if d is None else d for d in dims), dtype

    def _dim(self, proto: onnx.TensorShapeProto.Dimension) -> Dim | None:
        if proto.WhichOneof("value") == "dim_value":
            return int(proto.dim_value) if proto.dim_value >= 0 else None
        return self._named.get(proto.dim_param) if proto.dim_param else None


def _sentence(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
