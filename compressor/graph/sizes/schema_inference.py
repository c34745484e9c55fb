"""Shapes and element types of one node, by the schema of its operator: ONNX's own inference, and a twin's."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
from onnx.shape_inference import InferenceError, infer_node_outputs

from compressor.core.arrays import Array
from compressor.errors import ModelError
from compressor.graph.ir.captures import captured_values, has_graph
from compressor.graph.ir.nodes import REALS, is_standard, optional_input
from compressor.graph.sizes.contrib import AS_FIRST, OLDER_SAME_AS_FIRST, Follows, shapes_fact, standard_node
from compressor.graph.sizes.demands import check_reshape
from compressor.graph.sizes.dims import Dim, Misfit, Size
from compressor.graph.sizes.known import Inferred
from compressor.graph.sizes.shape_rules import DimShape

if TYPE_CHECKING:
    from compressor.graph.sizes.inference import Walker

DATA_LIMIT = 1 << 12
"""Elements of the largest constant handed to ONNX's shape inference: sizes follow from short lists, and a constant is
copied into a message for each of its readers."""
READS_REALS = frozenset({"Resize", "Upsample", "Range"})
"""Operators whose sizes follow from real numbers; of others, ONNX's inference looks at whole numbers alone."""
MISREAD_DEFAULTS: Mapping[str, Mapping[str, int]] = MappingProxyType({"STFT": {"onesided": 1}})
"""Operator -> attributes that ONNX's inference (1.22) takes for something else than their default, if left out."""
DIM_LIMIT = 1 << 40
"""Elements of the largest value that is believed."""


def _stated(node: ir.Node) -> onnx.NodeProto:
    """The node as ONNX has it, with defaults written out that its inference misreads."""
    proto = ir.serde.serialize_node(node)
    defaults = MISREAD_DEFAULTS.get(node.op_type, {}) if is_standard(node) else {}
    proto.attribute.extend(
        onnx.helper.make_attribute(name, value) for name, value in defaults.items() if name not in node.attributes
    )
    return proto


class SchemaInference:
    """Asks ONNX's inference about nodes of the graph that a walker walks; remembers what it calls symbolic sizes."""

    def __init__(self, walker: Walker) -> None:
        self._walker = walker
        self._opsets = [onnx.helper.make_opsetid(d, v) for d, v in walker.versions.items()]
        self._named: dict[str, Size] = {}

    def infer(self, node: ir.Node, feeds: dict[str, Array] | None = None) -> Inferred:
        """Shape and element type of each output by name, as far as they are known.

        Args:
            node: without bodies that are followed.
            feeds: small values of its inputs by name, where they are at hand.

        Raises:
            Misfit: its inputs do not fit each other.
            ModelError: a result is larger than any that is believed.
        """
        twin = shapes_fact(node, self._walker.known.records)
        if isinstance(twin, Follows):
            return self._followed(node, twin)
        proto = _stated(node) if twin is None else standard_node(node, twin)
        try:
            schema = onnx.defs.get_schema(proto.op_type, self._walker.versions.get(proto.domain, 1), proto.domain)
        except onnx.defs.SchemaError:
            older = is_standard(node) and node.op_type in OLDER_SAME_AS_FIRST
            return self._followed(node, AS_FIRST) if older else {}
        captured = captured_values(node) if has_graph(node) else []
        read = set(proto.input)
        values = [v for v in node.inputs if v is not None and str(v.name) in read] + captured
        # The twin is defined for floats, so the operands pass for floats, whatever they hold.
        floats = None if twin is None else ir.DataType.FLOAT
        types = {str(v.name): self._type(v, floats) for v in values}
        data = {
            str(v.name): onnx.numpy_helper.from_array(a)
            for v in values
            if (self._walker.known.dtypes.get(v) not in REALS or node.op_type in READS_REALS)
            and (a := (feeds or {}).get(str(v.name), self._walker.data(v))) is not None
            and a.dtype.kind != "O"
            and a.size <= DATA_LIMIT
        }
        # ONNX's inference needs the type of every input.
        if any(types[name].WhichOneof("value") is None for name in proto.input if name):
            return {}
        try:
            out = infer_node_outputs(schema, proto, types, data, opset_imports=self._opsets)
        except (InferenceError, onnx.checker.ValidationError) as error:
            # The graph is at fault here, and inference itself in the errors below.
            why = str(error).strip().splitlines()[0].rstrip(".")
            raise Misfit(f"node {node.name!r} ({node.op_type}): {why}") from None
        except (RuntimeError, ValueError, TypeError, KeyError):
            # A size that is not known is open, which costs compression and no correctness.
            return {}
        result = {name: self._shape_of(proto_type) for name, proto_type in out.items()}
        if twin is not None:
            made = twin.dtype(node, self._walker.known.dtypes.get(values[0]))
            result = {name: (shape, made) for name, (shape, _) in result.items()}
        check_reshape(node, self._walker.known, result)
        return result

    def _followed(self, node: ir.Node, fact: Follows) -> Inferred:
        typed = optional_input(node, fact.typed_by)
        dtype = None if typed is None else self._walker.known.dtypes.get(typed) or typed.dtype
        sizes = fact.rule(self._walker.operands(node)) or []
        return {str(v.name): (shape, dtype) for v, shape in zip(node.outputs, sizes, strict=False)}

    def _type(self, value: ir.Value, kind: ir.DataType | None) -> onnx.TypeProto:
        """The type of ``value``, of elements of ``kind`` (its own)."""
        dtype, shape = kind or self._walker.known.dtypes.get(value), self._walker.known.shapes.get(value)
        if dtype is None:
            return onnx.TypeProto()
        # A type without a shape is of any rank, which is not the same as a scalar.
        return onnx.helper.make_tensor_type_proto(int(dtype), None if shape is None else [*map(self._name, shape)])

    def _name(self, dim: Dim) -> int | str:
        """A size as a type holds it: a number, or the name of a dimension."""
        if isinstance(dim, Size):
            self._named[dim.text] = dim
        if isinstance(dim, int) and abs(dim) > DIM_LIMIT:
            raise ModelError(f"a value has an axis of size {dim:.3g}, which is larger than any this tool believes")
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
        # In a walk with numbers, a shape of which a size is missing is of no use.
        if len(known) < len(dims) and not self._walker.symbolic:
            return None, dtype
        # Python's numbers do not overflow.
        if np.prod([d for d in known if isinstance(d, int)], dtype=object) > DIM_LIMIT:
            raise ModelError(f"a value of shape {[*map(str, known)]} is larger than any this tool believes")
        return tuple(self._walker.fresh() if d is None else d for d in dims), dtype

    def _dim(self, proto: onnx.TensorShapeProto.Dimension) -> Dim | None:
        if proto.WhichOneof("value") == "dim_value":
            # A negative size is an open one.
            return int(proto.dim_value) if proto.dim_value >= 0 else None
        return self._named.get(proto.dim_param) if proto.dim_param else None
