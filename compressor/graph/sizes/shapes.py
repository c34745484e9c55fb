"""Concrete shapes and static values of a graph, and which sizes are open.

The graph is walked once with its symbolic dimensions as they are: a size or a value is *static* where it follows from
the file whatever the caller chooses, and *dynamic* otherwise. It is walked again with a number for each symbol, chosen
so that the graph accepts them, because rules and proofs need numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from copy import copy

import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.errors import ModelError
from compressor.graph.ir.captures import values_of
from compressor.graph.ir.nodes import dims_of
from compressor.graph.ir.twins import Twins
from compressor.graph.sizes.binding import Binding, Bound, Declared, Given, Shape, batch, declared, fitted, numbered
from compressor.graph.sizes.contrib import ShapeRecords
from compressor.graph.sizes.dims import Size, common_factor, substitute
from compressor.graph.sizes.inference import infer_values
from compressor.graph.sizes.known import UNMEASURED, Known, MeasuredValue, initializer_of
from compressor.graph.sizes.probes import SizeSearch, value_elements
from compressor.graph.sizes.ranges import Limit, index_limits, largest_indices, reachable
from compressor.graph.sizes.shape_rules import DimShape


class Shapes:
    """Concrete shapes (at the first probe), static values, and which dimensions are dynamic.

    Attributes:
        inputs: shape of each input at the first probe.
        other_inputs: the same at a second one; equal to the first where nothing is open, or the user said which
            sizes to run.
        far_inputs: at a third, whose sizes are far from both; None where there is none, or it would cost too much.
        near_inputs: at small sizes, the differences of the first two; None where there are none.
        small_inputs: at the smallest that leave something of every value; None where none was found.
        unlike_inputs: at sizes that differ where one input calls several alike; None where none does.
        spare_inputs: more shapes to try where a runtime refuses the others.
        hollow: the first probe leaves nothing of some value, and no larger one was found that does not.
        chosen: some size was left open by the file and by the user, so that a number was made up for it.
        batch: samples in one run, where the batch size was made up; costs are reported for one sample.
        declared: shape of each input, with symbols for what is open.
        limits: indices that are computed from the inputs, and the axes they pick from.
        measured: what a run at the first probe showed of values that cannot be inferred.
        cost_inputs: shape of each input that costs are counted at: of the user's samples where those are known, else
            of the first probe.
    """

    def __init__(self, numbers: Known, symbolic: Known, inputs: Bound) -> None:
        self._numbers, self._symbolic = numbers, symbolic
        self.inputs = self.cost_inputs = inputs
        self.other_inputs = inputs
        self.far_inputs: Bound | None = None
        self.near_inputs: Bound | None = None
        self.small_inputs: Bound | None = None
        self.unlike_inputs: Bound | None = None
        self.spare_inputs: list[Bound] = []
        self.hollow = False
        self.chosen = False
        self.batch = 1
        self.declared: Declared = {}
        self.limits: list[Limit] = []
        self.measured: Mapping[ir.Value, MeasuredValue] = UNMEASURED

    def on(self, twins: Twins) -> Shapes:
        """These shapes for the values of a clone of the graph."""
        found = copy(self)
        found._numbers, found._symbolic = self._numbers.on(twins), self._symbolic.on(twins)
        found.measured = twins.of_values(self.measured)
        return found

    @property
    def records(self) -> ShapeRecords:
        """By which they were inferred."""
        return self._symbolic.records

    def __call__(self, value: ir.Value) -> Shape | None:
        """The shape of ``value``, or None where it could not be inferred."""
        tensor = value.const_value if value.is_initializer() else None
        if tensor is not None:
            return dims_of(tensor)
        shape = self._numbers.shapes.get(value)
        return None if shape is None else tuple(d for d in shape if isinstance(d, int))

    def of_inputs(self, graph: ir.Graph) -> Shapes:
        """These shapes, with the sizes that inputs of ``graph`` fix in place of those that were chosen for them.

        Shapes of values inside are not inferred anew. Inputs that a cut took along, which had a default, are left out.
        """
        if fitted(self.inputs, graph) == self.inputs:
            return self
        found = copy(self)
        found.inputs, found.other_inputs = fitted(self.inputs, graph), fitted(self.other_inputs, graph)
        for name in ("far_inputs", "near_inputs", "small_inputs", "unlike_inputs"):
            bound = getattr(self, name)
            setattr(found, name, None if bound is None else fitted(bound, graph))
        found.spare_inputs = [fitted(bound, graph) for bound in self.spare_inputs]
        return found

    def sequence(self, value: ir.Value) -> bool:
        """Is ``value`` a sequence? Its shape is that of its elements."""
        return value in self._numbers.sequences

    def empty(self, value: ir.Value) -> bool:
        """Is ``value`` a sequence without elements?"""
        return value in self._numbers.empty

    def dims(self, value: ir.Value) -> DimShape | None:
        """The shape of ``value`` with symbols for what is open, or None where it is not known."""
        tensor = initializer_of(value)
        return self._symbolic.shapes.get(value) if tensor is None else dims_of(tensor)

    def at(self, value: ir.Value, inputs: Mapping[str, Shape]) -> tuple[int | None, ...] | None:
        """The shape of ``value`` at these sizes of the inputs; None for a size that does not follow from them."""
        dims = self.dims(value)
        if dims is None:
            return None
        known = numbered(self.declared, inputs)
        sizes = [substitute(dim, known) for dim in dims]
        return tuple(size if isinstance(size, int) else None for size in sizes)

    def elements_at(self, inputs: Mapping[str, Shape]) -> int:
        """Elements that nodes make at these sizes of the inputs, of values whose shapes follow from them."""
        return sum(filter(None, value_elements(self._symbolic, numbered(self.declared, inputs))))

    def costed(self, value: ir.Value) -> Shape | None:
        """The shape of ``value`` that costs are counted at."""
        if self.cost_inputs is self.inputs:
            return self(value)
        found = self.at(value, self.cost_inputs)
        # What is known at all is known there, or other sizes would not have been taken.
        return None if found is None else tuple(size for size in found if size is not None)

    def count_at(self, samples: Mapping[str, Shape], graph: ir.Graph) -> None:
        """Counts costs at the sizes that one sample has, by input, where all shapes follow from them."""
        wanted = {name: (*shape[:1], *samples.get(name, shape[1:])) for name, shape in self.inputs.items()}
        shaped = (value for value in values_of(graph) if self(value))
        if self.chosen and all(None not in (self.at(value, wanted) or (None,)) for value in shaped):
            self.cost_inputs = wanted

    def factor(self, value: ir.Value, axis: int) -> int:
        """What the size of an axis is a multiple of, whatever the caller chooses; 1 where nothing is known of it."""
        dims = self.dims(value)
        return 1 if dims is None else common_factor(dims[axis])

    def narrow(self, value: ir.Value, axis: int) -> None:
        """Takes note that ``value`` has size 1 along ``axis`` from now on."""
        for known in (self._numbers, self._symbolic):
            dims = list(known.shapes.get(value) or ())
            dims[axis] = 1
            known.shapes[value] = tuple(dims)
            known.data.pop(value, None)
        sizes = list(value.shape or ())
        if len(sizes) == len(dims):
            sizes[axis] = 1
            value.shape = ir.Shape(sizes)

    def alias(self, value: ir.Value, other: ir.Value) -> None:
        """Takes note of a new ``value`` that holds the same as ``other``."""
        for known in (self._numbers, self._symbolic):
            known.shapes[value], known.dtypes[value] = known.shapes.get(other), known.dtypes.get(other)

    def completed(self, model: ir.Model, measured: Mapping[ir.Value, MeasuredValue]) -> Shapes:
        """The shapes of ``model`` where inference also knows what a run at the first probe showed.

        Raises:
            Misfit: what the run showed does not fit the file.
        """
        symbolic = infer_values(model, self.declared, self.records, measured=measured)
        found = Shapes(infer_values(model, self.inputs, self.records, symbolic, measured), symbolic, self.inputs)
        found.other_inputs, found.far_inputs, found.spare_inputs = self.other_inputs, self.far_inputs, self.spare_inputs
        found.near_inputs, found.unlike_inputs, found.hollow = self.near_inputs, self.unlike_inputs, self.hollow
        found.small_inputs = self.small_inputs
        found.batch, found.declared, found.measured = self.batch, self.declared, measured
        found.limits = index_limits(model.graph, symbolic)
        return found

    def dtype(self, value: ir.Value) -> ir.DataType | None:
        """The element type of ``value`` as inferred."""
        return self._numbers.dtypes.get(value) or value.dtype

    def const(self, value: ir.Value | None) -> Array | None:
        """The data of ``value`` where it is static: an initializer, or computed from sizes that do not vary."""
        if value is None:
            return None
        tensor = initializer_of(value)
        if tensor is not None:
            return tensor.numpy()
        found = self._symbolic.data.get(value)
        return None if found is None or found.dtype.kind == "O" else found

    def sample(self, value: ir.Value) -> Array | None:
        """The data of ``value`` at the first probe, static or not."""
        tensor = initializer_of(value)
        return tensor.numpy() if tensor is not None else self._numbers.data.get(value)

    def dynamic(self, value: ir.Value) -> list[bool]:
        """Per axis of ``value``: does its size depend on what the caller chooses, as far as is known?"""
        shape = self(value) or ()
        if value.is_initializer() and not value.is_graph_input():
            return [False] * len(shape)
        followed = self._symbolic.shapes.get(value)
        if followed is None or len(followed) != len(shape):
            # What was not followed may vary.
            return [True] * len(shape)
        return [isinstance(size, Size) for size in followed]

    def largest(self, inputs: Mapping[str, Shape], default: int) -> dict[str, int]:
        """The largest whole number that each input may hold at these shapes; ``default`` where no index limits it."""
        return largest_indices(self.limits, list(self.declared), numbered(self.declared, inputs), default)

    def within(self, inputs: Mapping[str, Shape]) -> bool:
        """Does every index that is counted from sizes lie within its axis at these shapes, as far as is known?"""
        return reachable(self.limits, numbered(self.declared, inputs))


def infer_shapes(
    model: ir.Model,
    records: ShapeRecords,
    shapes: Mapping[str, Shape] | None = None,
    dims: Mapping[str, int] | None = None,
) -> Shapes:
    """Infers every shape, and chooses sizes for the symbolic dimensions of ``model``.

    Args:
        model: normalised model; not changed.
        records: of operators that ONNX's inference says nothing of.
        shapes: input name -> concrete shape, as the user gave them.
        dims: symbolic dimension name -> size, as the user gave them.

    Raises:
        UsageError: what the user gave names no input or dimension, or contradicts the file or itself.
        OutOfMemory: sizes that the user gave make a value that is larger than any that is worked on.
        ModelError: an input has no rank, or no size tried fits the graph.
    """
    given = Given(shapes or {}, dims or {})
    spelled, plain = (declared(model.graph, given, labels=labels) for labels in (False, True))
    if spelled == plain:
        return _at(model, records, given, plain)
    # A runtime takes the name of a size for a label; one that no sizes tried can keep to is no more than that.
    try:
        inferred = _at(model, records, given, spelled)
    except ModelError:
        return _at(model, records, given, plain)
    if inferred.hollow:
        with suppress(ModelError):
            other = _at(model, records, given, plain)
            return inferred if other.hollow else other
    return inferred


def _at(model: ir.Model, records: ShapeRecords, given: Given, sizes: Declared) -> Shapes:
    """Shapes of ``model`` with these of its inputs; raises as :func:`infer_shapes`."""
    symbolic = infer_values(model, sizes, records)
    limits = index_limits(model.graph, symbolic)
    # Where an index that is computed from sizes picks from an axis of open size, that has to be long enough: equal is.
    reached = [(limit.size, limit.index.high + 1) for limit in limits if isinstance(limit.size, Size)]
    binding = Binding(model.graph, sizes, given, [*symbolic.equations, *(r for r in reached if isinstance(r[1], Size))])
    search = SizeSearch(model, symbolic, binding, sizes, limits)
    first = search.first()
    inferred = Shapes(first.known, symbolic, first.bound)
    inferred.declared, inferred.limits, inferred.hollow = sizes, limits, first.hollow
    inferred.batch = batch(model.graph, first.bound)
    inferred.spare_inputs, inferred.unlike_inputs = search.spare(first), search.unlike(first)
    if not given.shapes and not given.sizes:  # otherwise the user said which sizes to run
        inferred.chosen = any(isinstance(size, Size) for shape in sizes.values() for size in shape)
        inferred.other_inputs, inferred.far_inputs = search.second(first), search.far(first)
        inferred.near_inputs, inferred.small_inputs = search.near(first, inferred.other_inputs), search.small(first)
    return inferred
