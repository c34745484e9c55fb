"""Constants of a graph that was made of another are those of the other: no run of a model is needed to see it.

Runs of it show what inputs reach: a row of a table that no token asks for, or a bound that nothing exceeds, moves no
output. What both graphs hold is compared to the bit, whatever it is called by now; what folding computed is held
against what ONNX Runtime makes of the same nodes of the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.convenience import extract

from compressor.core.arrays import Array
from compressor.core.compare import COARSEST, Tolerance, distance, has_rounding, same_bits
from compressor.core.scratch import scratch
from compressor.errors import ModelError, tool_fault
from compressor.graph.ir.captures import has_graph, values_of
from compressor.graph.ir.nodes import same_operator
from compressor.graph.ir.randomness import draws
from compressor.graph.sizes.known import initializer_of
from compressor.graph.tensors.weights import same_tensors
from compressor.pruning.proofs.outputs.evidence import NotProved
from compressor.pruning.proofs.runs.whole_or_pieces import runnable

FOLDED = Tolerance(1e-5)
"""Folding and the runtime round in different orders: some dozen roundings of 32 bits."""
SENTINEL, ASIDE = 1e4, 1e3
"""From which magnitude on an entry may stand for infinity, as masks have -10000, -1e9 or the lowest number of their
type, and how many times as large as any entry below that it then is."""


@dataclass(frozen=True)
class _Claim:
    """What the second graph has in the place of a value of the first.

    Attributes:
        tensor: the constant.
        named: it has the name of the value; not where a node merely reads it as its twin reads the value, which may be
            of another shape that broadcasts to the same.
    """

    tensor: ir.TensorProtocol
    named: bool


def demand_same_constants(before: ir.Model, after: ir.Model, provider: str) -> list[NotProved]:
    """Holds the constants of a graph against those of the one that it was made of.

    What depends on an input in the first is for the runs to judge, and so is a weight that has another type or shape,
    and what one node alone reads in another one.

    Args:
        before: the graph whose constants count, such as that of the file as it was read.
        after: the graph that was made of it.
        provider: short or full name.

    Returns:
        What was folded and cannot be computed in the runtime.

    Raises:
        ProofFailed: one is another number.
    """
    computed: dict[ir.Value, list[_Claim]] = {}
    varying = _varying(before.graph)
    for value, claim in _claims(before, after):
        held, tensor = initializer_of(value), claim.tensor
        if held is None:
            if value.graph is before.graph and value not in varying:
                computed.setdefault(value, []).append(claim)
        elif held.dtype == tensor.dtype and tuple(held.shape) == tuple(tensor.shape) and not same_tensors(held, tensor):
            raise tool_fault(f"weight {value.name!r} is not what the file holds")
    return _demand_computed(before, computed, provider) if computed else []


def _claims(before: ir.Model, after: ir.Model) -> Iterator[tuple[ir.Value, _Claim]]:
    """A value of the first graph, and the constant that the second has in its place: by name, and by who reads it."""
    every = list(values_of(before.graph))
    # Bodies have names of their own, and what two of them call alike is called apart in the second graph.
    count = Counter(str(value.name) for value in every)
    named = {name: value for value in every if count[name := str(value.name)] == 1}
    for name, value in after.graph.initializers.items():
        if value.const_value is not None and name in named:
            yield named[name], _Claim(value.const_value, named=True)
    for node in after.graph.all_nodes():
        first = named.get(str(node.outputs[0].name)) if node.outputs else None
        twin = None if first is None else first.producer()
        if twin is None or not same_operator(twin, node):
            continue
        for old, new in zip(twin.inputs, node.inputs, strict=False):
            # Whole numbers are sizes, axes and positions, which may be written in another way.
            constant = new.const_value if new is not None and new.is_initializer() else None
            if old is not None and constant is not None and constant.dtype.is_floating_point():
                yield old, _Claim(constant, named=False)


def _varying(graph: ir.Graph) -> set[ir.Value]:
    """Values that do not follow from constants of the file alone: an input, a body or chance has a part in them."""
    waiting = [value for value in graph.inputs if initializer_of(value) is None]
    waiting += [value for node in graph if has_graph(node) or draws(node) for value in node.outputs]
    found = set(waiting)
    while waiting:
        fresh = {made for user in waiting.pop().consumers() for made in user.outputs} - found
        found |= fresh
        waiting += fresh
    return found


def _demand_computed(before: ir.Model, computed: dict[ir.Value, list[_Claim]], provider: str) -> list[NotProved]:
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
        for claim in computed[value]:
            if not _holds(claim, array):
                raise tool_fault(f"{value.name!r} was folded to other numbers than ONNX Runtime computes")
    return []


def _holds(claim: _Claim, array: Array) -> bool:
    """Is a constant what ONNX Runtime computed, in type, shape and numbers?"""
    found = _as_run(claim.tensor)
    if found.dtype != array.dtype:
        return not claim.named
    if found.shape != array.shape:
        if claim.named:
            return False
        try:
            found, array = np.broadcast_arrays(found, array)
        except ValueError:
            return True
    return _same_numbers(array, found)


def _as_run(tensor: ir.TensorProtocol) -> Array:
    """A tensor as ONNX Runtime gives it: texts, which files hold as bytes of UTF-8, are ``str`` there."""
    array = tensor.numpy()
    if tensor.dtype != ir.DataType.STRING:
        return array
    return np.asarray([text.decode() for text in array.ravel()], object).reshape(array.shape)


def _same_numbers(expected: Array, found: Array) -> bool:
    """Are two arrays of one shape and type the same, but for rounding? Whole numbers, truth values, texts are exact."""
    if not has_rounding(expected):
        return same_bits(expected, found)
    far = _far_aside(expected)
    # Each by itself, as what stands for infinity says nothing of how others round.
    one, two = (array[far].astype(np.complex128) for array in (expected, found))
    rtol = max(FOLDED.rtol, COARSEST[expected.dtype.name])
    near = bool((np.abs(two - one) <= rtol * np.abs(one)).all())
    return near and distance(expected[~far], found[~far], FOLDED).passed


def _far_aside(array: Array) -> npt.NDArray[np.bool_]:
    """Which entries are so much larger than all others that they stand for infinity, as in masks? bool, of its shape"""
    magnitude = np.abs(array.astype(np.complex128))
    large = (magnitude >= SENTINEL) & np.isfinite(magnitude)
    return np.asarray(large & (magnitude >= ASIDE * magnitude[magnitude < SENTINEL].max(initial=0.0)), np.bool_)


def _computed(model: ir.Model, values: list[ir.Value], provider: str) -> list[Array]:
    """What ONNX Runtime makes of values that follow from constants; raises ModelError where it does not."""
    graph = extract(model.graph, [], values)
    functions = [function.clone() for function in model.functions.values()]
    with scratch() as folder:
        alone = ir.Model(graph, ir_version=model.ir_version, functions=functions)
        return runnable(alone, folder, provider).run([{}]).outputs[0]
