"""Constants of a graph that was made of another are those of the other: no run is needed to see it.

Runs show what inputs reach: a row of a table that no token asks for, or a bound that nothing exceeds, moves no output.
What both graphs hold is compared to the bit, whatever it is called by now; what folding computed is held against what
ONNX Runtime makes of the same nodes of the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir.convenience import extract

from compressor.core.arrays import Array
from compressor.core.compare import Tolerance, distance
from compressor.core.scratch import scratch
from compressor.errors import ModelError, tool_fault
from compressor.graph.ir.captures import has_graph, values_of
from compressor.graph.ir.evaluate import draws
from compressor.graph.sizes.shapes import initializer_of
from compressor.graph.tensors.weights import same_tensors
from compressor.pruning.proofs.evidence import NotProved
from compressor.pruning.proofs.piecewise import runnable

FOLDED = Tolerance(1e-5)
"""Folding and the runtime round in different orders: some dozen roundings of 32 bits."""

Claim = tuple[ir.Value, ir.TensorProtocol]


def demand_same_constants(before: ir.Model, after: ir.Model, provider: str) -> list[NotProved]:
    """Holds the constants of a graph against those of the one that it was made of.

    What depends on an input in the first is for the runs to judge, and so is what has another type or shape there.

    Args:
        before: the one.
        after: made of it.
        provider: short or full name.

    Returns:
        What was folded and cannot be computed in the runtime.

    Raises:
        ProofFailed: one is another number.
    """
    computed: dict[ir.Value, ir.TensorProtocol] = {}
    known: dict[ir.Value, bool] = {}
    for value, tensor in _claims(before, after):
        held = initializer_of(value)
        if held is None:
            if value.graph is before.graph and _is_constant(value, known):
                computed[value] = tensor
        elif held.dtype == tensor.dtype and tuple(held.shape) == tuple(tensor.shape) and not same_tensors(held, tensor):
            raise tool_fault(f"weight {value.name!r} is not what the file holds")
    return _demand_computed(before, computed, provider) if computed else []


def _claims(before: ir.Model, after: ir.Model) -> Iterator[Claim]:
    """A value of the first graph, and the constant that the second has in its place: by name, and by who reads it."""
    every = list(values_of(before.graph))
    # Bodies have names of their own, and what two of them call alike is called apart in the second graph.
    count = Counter(str(value.name) for value in every)
    named = {name: value for value in every if count[name := str(value.name)] == 1}
    for name, value in after.graph.initializers.items():
        if value.const_value is not None and name in named:
            yield named[name], value.const_value
    for node in after.graph.all_nodes():
        first = named.get(str(node.outputs[0].name)) if node.outputs else None
        twin = None if first is None else first.producer()
        if twin is None or (twin.domain, twin.op_type) != (node.domain, node.op_type):
            continue
        for old, new in zip(twin.inputs, node.inputs, strict=False):
            # Whole numbers are sizes, axes and positions, which may be written in another way.
            constant = new.const_value if new is not None and new.is_initializer() else None
            if old is not None and constant is not None and constant.dtype.is_floating_point():
                yield old, constant


def _is_constant(value: ir.Value, known: dict[ir.Value, bool]) -> bool:
    """Does a value follow from constants of the file alone? ``known`` keeps the answers, since chains may be long."""
    waiting = [value]
    while waiting:
        last = waiting[-1]
        node = last.producer()
        if node is None or has_graph(node) or draws(node):
            known[last] = initializer_of(last) is not None
        else:
            inputs = [v for v in node.inputs if v is not None]
            unknown = [v for v in inputs if v not in known]
            if unknown:
                waiting += unknown
                continue
            known[last] = all(known[v] for v in inputs)
        waiting.pop()
    return known[value]


def _demand_computed(before: ir.Model, computed: dict[ir.Value, ir.TensorProtocol], provider: str) -> list[NotProved]:
    """Raises ProofFailed where ONNX Runtime makes another number of the nodes that folding replaced."""
    values = list(computed)
    try:
        arrays = _computed(before, values, provider)
    except ModelError as error:
        if len(values) == 1:
            # The runtime may never get to it, as in a branch that is not taken, and what it reads there is for no run.
            return [NotProved(str(values[0].name), f"it was folded, and ONNX Runtime does not compute it: {error}")]
        # One that does not run says nothing of the others.
        return [text for value in values for text in _demand_computed(before, {value: computed[value]}, provider)]
    for value, array in zip(values, arrays, strict=True):
        wanted = computed[value].numpy()
        if wanted.shape == array.shape and wanted.dtype == array.dtype and not distance(array, wanted, FOLDED).passed:
            raise tool_fault(f"{value.name!r} was folded to other numbers than ONNX Runtime computes")
    return []


def _computed(model: ir.Model, values: list[ir.Value], provider: str) -> list[Array]:
    """What ONNX Runtime makes of values that follow from constants; raises ModelError where it does not."""
    graph = extract(model.graph, [], values)
    functions = [function.clone() for function in model.functions.values()]
    with scratch() as folder:
        alone = ir.Model(graph, ir_version=model.ir_version, functions=functions)
        return runnable(alone, folder, provider).run([{}]).outputs[0]
