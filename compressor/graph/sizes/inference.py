"""One walk over a graph: shapes, element types and small values, of numbers or of symbolic sizes.

A node whose inputs are all known numbers is evaluated by the ONNX reference implementation; any other node goes
through ONNX's own shape inference, so shape arithmetic (Shape -> Gather -> Concat -> Reshape) needs no rules here.
Where sizes are symbolic, ``shape_rules`` and ``data_rules`` follow them further than ONNX's inference does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.graph.ir.captures import captured_values, has_graph
from compressor.graph.ir.control_flow import flow_of
from compressor.graph.ir.evaluate import evaluate_settled
from compressor.graph.ir.nodes import dims_of, is_standard
from compressor.graph.ir.randomness import draws
from compressor.graph.sizes import body_shapes, data_rules, sequence_shapes, shape_rules
from compressor.graph.sizes.contrib import ShapeRecords
from compressor.graph.sizes.demands import check_operands
from compressor.graph.sizes.dims import OPEN, TEXT_LIMIT, UNKNOWN, Dim, Misfit, Size, size_product, symbol
from compressor.graph.sizes.known import (
    UNMEASURED,
    Known,
    MeasuredValue,
    first_input,
    initializer_of,
    mapped,
    merged,
    numbers_of,
)
from compressor.graph.sizes.schema_inference import SchemaInference
from compressor.graph.sizes.shape_rules import DimShape, Operands

UNPACKS = frozenset({"DequantizeLinear"})
"""What is neither evaluated here nor folded: what is quantised stays quantised, as runtimes look for the node, and the
file would grow."""
EVALUATE_LIMIT = 1 << 16
"""Elements of the largest value that is evaluated while shapes are inferred."""
LIST_LIMIT = 1 << 6
"""Elements of the longest list of whole numbers that nothing is known of and that is followed all the same."""


def infer_values(
    model: ir.Model,
    inputs: Mapping[str, DimShape],
    records: ShapeRecords,
    base: Known | None = None,
    measured: Mapping[ir.Value, MeasuredValue] = UNMEASURED,
) -> Known:
    """Infers every value of the graph.

    Args:
        model: normalised; not changed.
        inputs: shape of each input; numbers, or symbolic sizes.
        records: of operators that ONNX's inference says nothing of.
        base: what a walk with symbolic sizes found, of the same graph: what is fixed there is taken over.
        measured: what a run showed of values that cannot be inferred, at these inputs; believed for what the file does
            not say, and a size of it as an open one where sizes are symbolic.

    Raises:
        Misfit: the sizes do not fit the graph; only where all of them are numbers.
        ModelError: a value is larger than any that is believed.
    """
    walker = start_walker(model, inputs, records, symbolic=base is None, measured=measured)
    walker.base = base
    for node in model.graph:
        walker.visit(node)
    return walker.known


def start_walker(
    model: ir.Model,
    inputs: Mapping[str, DimShape],
    records: ShapeRecords,
    *,
    symbolic: bool,
    measured: Mapping[ir.Value, MeasuredValue] = UNMEASURED,
) -> Walker:
    """A walker that knows inputs and initializers, before the first node."""
    known = Known(records)
    for value in model.graph.inputs:
        known.shapes[value] = inputs[str(value.name)]
        known.dtypes[value] = value.dtype
    for value in model.graph.initializers.values():
        tensor = value.const_value
        # A default that the caller may override has the shape that the input declares.
        if tensor is not None and value not in known.shapes:
            known.shapes[value] = dims_of(tensor)
            known.dtypes[value] = tensor.dtype
    walker = Walker(known, model.opset_imports, symbolic=symbolic, measured=measured)
    for value in model.graph.inputs:
        walker.assign_symbols(value)
    return walker


class Walker:
    """Infers one node after the other; remembers element types as protobufs, which inference wants.

    Attributes:
        known: what was found so far.
        base: what a walk with symbolic sizes found; what is fixed there is taken over.
        measured: by value, what runs showed of sizes that inference cannot tell.
        symbolic: sizes are polynomials over the open dimensions, and not numbers.
        versions: of operator sets, by domain.
        misfits: nodes of bodies whose inputs do not fit each other -> why; such a body may never run.
    """

    def __init__(
        self, known: Known, opsets: Mapping[str, int], *, symbolic: bool, measured: Mapping[ir.Value, MeasuredValue]
    ) -> None:
        self.known = known
        self.base: Known | None = None
        self.misfits: dict[ir.Node, str] = {}
        self.measured = measured
        self.symbolic = symbolic
        self.versions = opsets
        self._count = 0
        self._schemas = SchemaInference(self)

    def visit(self, node: ir.Node) -> None:
        """Shapes, types and small values of the outputs of ``node``.

        Raises:
            Misfit: its inputs do not fit each other; where sizes are symbolic, nothing is known of its outputs then.
            ModelError: a value is larger than any that is believed.
        """
        # Nothing fixed depends on the sizes that are chosen.
        if self.base is not None and node in self.base.fixed:
            self.known.take_over(node, self.base)
            return
        try:
            self._visit(node)
        except Misfit:
            if not self.symbolic:
                raise
            self.known.shapes.update(dict.fromkeys(node.outputs))

    def _visit(self, node: ir.Node) -> None:
        flow = flow_of(node) if has_graph(node) else None
        if flow is not None:
            body_shapes.infer_bodies(node, flow, self)
            return
        if sequence_shapes.has_sequence(node, self.known):
            sequence_shapes.infer_sequence(node, self)
            return
        check_operands(node, self.operands)
        # Data first: a value that is known has a shape and a type as well.
        data = self._evaluate(node)
        if data is None:
            for value, (shape, dtype) in self._inferred(node).items():
                self.known.shapes[value] = shape
                self.known.dtypes[value] = dtype
                self.assign_symbols(value)
        else:
            for value, array in zip(node.outputs, data, strict=False):
                self.known.shapes[value] = array.shape
                self.known.data[value] = array
                if array.dtype.kind != "O":
                    self.known.dtypes[value] = ir.DataType.from_numpy(array.dtype)
        if self.symbolic:
            # A body may depend on a size that no input of its node shows.
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

    def assign_symbols(self, value: ir.Value) -> None:
        """A short list of whole numbers of which nothing is known becomes as many symbols."""
        shape = self.known.shapes.get(value)
        if not self.symbolic or shape is None or len(shape) > 1 or value in self.known.data:
            return
        size = size_product(shape)
        if isinstance(size, int) and size <= LIST_LIMIT and self.known.dtypes.get(value) in data_rules.ANY_SIZE:
            made = np.empty(tuple(int(str(d)) for d in shape), object)
            for place in np.ndindex(made.shape):
                made[place] = self._unknown()
            self.known.data[value] = made

    # ---- small values ------------------------------------------------------------------------------------------

    def data(self, value: ir.Value) -> Array | None:
        """Small data of ``value``, of numbers or sizes; None where it is not known."""
        tensor = initializer_of(value)
        if tensor is None:
            return self.known.data.get(value)
        if tensor.size <= EVALUATE_LIMIT and tensor.dtype != ir.DataType.STRING:
            return tensor.numpy()
        return None

    def _evaluate(self, node: ir.Node) -> list[Array] | None:
        # From what is known of the shape: the reference could not compute with symbols.
        if node.op_type in ("Shape", "Size") and is_standard(node):
            shape = self.known.shapes.get(first_input(node))
            if shape is None:
                return None
            start, end = (node.attributes.get_int(k, None) for k in ("start", "end"))
            found: list[Dim] = list(shape[start:end]) if node.op_type == "Shape" else [size_product(shape)]
            self.known.dtypes[node.outputs[0]] = ir.DataType.INT64
            made = np.empty(len(found), object)
            made[:] = found
            return [numbers_of(made if node.op_type == "Shape" else made.reshape(()), np.dtype(np.int64))]
        if not is_standard(node) or draws(node) or node.op_type in UNPACKS:
            return None
        feeds: dict[str, Array] = {}
        for value in node.inputs:
            if value is None:
                continue
            array = self.data(value)
            if array is None:
                return None
            feeds[str(value.name)] = array
        if any(array.dtype.kind == "O" for array in feeds.values()):
            return self._follow(node)
        return self._reference(node, feeds)

    def _reference(self, node: ir.Node, feeds: dict[str, Array]) -> list[Array] | None:
        # Sizes first, so that a node that would make a huge value is never run.
        shapes = [shape for shape, _ in self._schemas.infer(node, feeds).values()]
        sizes = [None if shape is None else size_product(shape) for shape in shapes]
        if not all(isinstance(size, int) and size <= EVALUATE_LIMIT for size in sizes):
            return None
        return evaluate_settled(node, feeds, self.versions)

    def _follow(self, node: ir.Node) -> list[Array] | None:
        dtypes = [None if v is None else self._dtype(v) for v in node.inputs]
        found = data_rules.follow(self.operands(node), dtypes, self.versions)
        if found is None:
            return None
        kinds = self._schemas.infer(node)
        made = []
        for value, array in zip(node.outputs, found, strict=False):
            dtype = kinds.get(str(value.name), (None, None))[1]
            if dtype is None:
                return None
            self.known.dtypes[value] = dtype
            short = mapped(array, self._short)
            made.append(numbers_of(short, dtype.numpy()))
        return made

    def operands(self, node: ir.Node) -> Operands:
        """What is known of the inputs of ``node``."""
        shapes = [None if v is None else self._shape(v) for v in node.inputs]
        data = [None if v is None else self.data(v) for v in node.inputs]
        return Operands(node, shapes, data, self.fresh, self._unknown, self._equate)

    # ---- symbols -----------------------------------------------------------------------------------------------

    def fresh(self) -> Size:
        """A size of which nothing is known, and which nothing else has."""
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
        inferred = self._schemas.infer(node)
        followed = self._rule(node)
        found = {}
        for index, value in enumerate(node.outputs):
            shape, dtype = inferred.get(str(value.name), (None, None))
            if followed is not None and index < len(followed):
                shape = merged(shape, followed[index])
            found[value] = self.resolve(value, shape, dtype)
        return found

    def filled(self, value: ir.Value, shape: Sequence[Dim | None] | None) -> DimShape | None:
        """``shape``, its unknown sizes filled in: by symbols, or by what the file or a run says of ``value``."""
        if shape is None or None not in shape:
            return None if shape is None else tuple(d for d in shape if d is not None)
        # A symbol of its own claims nothing, so it is never wrong.
        if self.symbolic:
            return tuple(self.fresh() if d is None else d for d in shape)
        said = self.resolve(value, None, None)[0] or value.shape
        if said is None or len(said) != len(shape):
            return None
        # Of a shape that is declared with symbols, the numbers count.
        found = [s if d is None else d for d, s in zip(shape, said, strict=True)]
        numbers = tuple(d for d in found if not isinstance(d, ir.SymbolicDim))
        return numbers if len(numbers) == len(found) else None

    def resolve(
        self, value: ir.Value, shape: DimShape | None, dtype: ir.DataType | None
    ) -> tuple[DimShape | None, ir.DataType | None]:
        """Shape and type of a result: as inferred, or else as the file declares them, or as a run showed them."""
        # Sequences and optional values have no shape of their own.
        if isinstance(value.type, (ir.SequenceType, ir.OptionalType)):
            return None, None
        if shape is None and value.shape is not None and value.shape.is_static():
            shape = tuple(int(d) for d in value.shape.numpy())
        if shape is None and value in self.measured:
            shape, dtype = self._seen(value)
        if shape is not None:
            long = [isinstance(d, Size) and len(d.text) > TEXT_LIMIT for d in shape]
            shape = tuple(self.fresh() if cut else d for d, cut in zip(shape, long, strict=True))
        return shape, dtype or value.dtype

    def _seen(self, value: ir.Value) -> tuple[DimShape, ir.DataType | None]:
        """What a run showed of ``value``; with symbols, only what the file declares does not vary."""
        shape, dtype = self.measured[value]
        if not self.symbolic:
            return shape, dtype
        # A size that was seen once may differ the next time.
        declared = [None] * len(shape) if value.shape is None else list(value.shape)
        if len(declared) != len(shape):
            declared = [None] * len(shape)
        return tuple(d if isinstance(d, int) else self.fresh() for d in declared), dtype

    def _rule(self, node: ir.Node) -> list[DimShape | None] | None:
        """What a rule says about the outputs; None where all is numbers, which ONNX's inference handles."""
        rule = shape_rules.SHAPE_RULES.get(node.op_type) if is_standard(node) else None
        if rule is None or not self.symbolic:
            return None
        # Sizes may be in the data alone, as where a Reshape to (batch, -1) reads a shape that was computed.
        of = self.operands(node)
        open_ = any(isinstance(d, Size) for s in of.shapes for d in s or ())
        if not open_ and not any(a is not None and a.dtype.kind == "O" for a in of.data):
            return None
        found = rule(of)
        return None if found is None else list(found)
