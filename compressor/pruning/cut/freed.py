"""Inputs and outputs that may shrink because the user said so, and a masked reference that has their new sizes.

Whoever calls the smaller model then hands in, and gets, fewer channels there: a cache of fewer heads, a vector of fewer
features. The reference of the proof takes and gives the same: what goes of an input is filled with another position of
it, which does not count there, and of an output only the positions that stay are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.coupling import Coupling
from compressor.channels.groups import Blocked, blocked
from compressor.config.selection import SelectionSection
from compressor.errors import UsageError
from compressor.graph.ir.edit import add_gather
from compressor.graph.sizes.shapes import Shapes
from compressor.operators.table import operator_of

FreedAxes = Mapping[str, tuple[int, ...]]
"""Name of an input or output of the model -> its axes that may shrink."""
CACHE_RANK, HEADS_AXIS = 4, 1
"""A cache of keys or values has the axes batch, head, position, dimension."""


def freed(graph: ir.Graph, shapes: Shapes, settings: SelectionSection) -> FreedAxes:
    """What may shrink of the inputs and outputs of ``graph``.

    Raises:
        UsageError: no output is called so, or no cache is found where its heads are to go.
    """
    sizes: dict[str, tuple[int, ...]] = {}
    outputs = {str(v.name): v for v in graph.outputs}
    for name in settings.free_outputs:
        if name not in outputs:
            raise UsageError(f"--free-output {name!r} is no output; the outputs are {', '.join(outputs)}")
        # Every axis: which of them are channels is for the coupling to say, and only units that are free can go.
        sizes[name] = tuple(range(len(shapes(outputs[name]) or ())))
    if settings.cache_heads:
        caches = dict(_caches(graph, shapes))
        if not caches:
            raise UsageError(
                "--cache-heads finds no cache: no input of four axes meets computed keys or values and comes out again"
            )
        sizes |= caches
    return MappingProxyType(sizes)


def _caches(graph: ir.Graph, shapes: Shapes) -> Iterable[tuple[str, tuple[int, ...]]]:
    """Inputs that a node joins with something computed and hands out of the model, and what it hands out."""
    for value in graph.inputs:
        shape, dtype = shapes(value), shapes.dtype(value)
        # Masks and positions also pass through; a cache is floating point with an axis of heads.
        if shape is None or len(shape) != CACHE_RANK or dtype is None or not dtype.is_floating_point():
            continue
        # Followed through nodes that hand numbers on (Concat, Transpose and their like), coded or as they are.
        pending = [value]
        while pending:
            for node, _ in pending.pop().uses():
                for output in node.outputs:
                    after = shapes(output)
                    if after is None or len(after) != CACHE_RANK or after[HEADS_AXIS] != shape[HEADS_AXIS]:
                        continue
                    # Both ends are freed together, since the caller feeds this output back as that input.
                    if output.is_graph_output():
                        yield str(value.name), (HEADS_AXIS,)
                        yield str(output.name), (HEADS_AXIS,)
                    elif operator_of(node).hands_on or operator_of(node).encodes:
                        pending.append(output)


def held_by_caches(coupling: Coupling) -> list[Blocked]:
    """Filters that stay because a cache holds what they make, or because they meet that in attention."""
    graph = coupling.graph
    caches = {name for name, _ in _caches(graph, coupling.shapes)}
    pending = [value for value in graph.inputs if str(value.name) in caches]
    readers: set[ir.Node] = set()
    while pending:
        value = pending.pop()
        for node, _ in value.uses():
            operator = operator_of(node)
            others = [v for v in node.inputs if v is not None and v is not value and not v.is_initializer()]
            # Scaled keys are keys still; what a product sums over is none any more.
            still = operator.hands_on or operator.encodes or not (others or operator.multiplies)
            if node not in readers and still:
                pending += node.outputs
            readers.add(node)
    names = {str(node.name) for node in readers}
    return [row for row in blocked(coupling) if row.reason.node in names]


def declare_anew(graph: ir.Graph, cut: ChannelMask, originals: Mapping[str, ir.Value], free: FreedAxes) -> None:
    """Gives a masked graph the inputs and outputs of the smaller model, in place.

    Args:
        graph: masked, of the original sizes.
        cut: what goes.
        originals: values of the analysed graph by name.
        free: inputs and outputs that may shrink.
    """
    for place, value in enumerate(graph.inputs):
        keeps = _kept(cut, originals, value, free)
        if keeps:
            graph.inputs[place] = _shrink_input(graph, value, keeps)
    for place, value in enumerate(graph.outputs):
        keeps = _kept(cut, originals, value, free)
        if keeps:
            name, value.name = value.name, f"{value.name}.whole"
            # Without it ONNX Runtime 1.31 takes a grown cache for as large as the one before, and reuses its memory.
            value.shape = originals[str(name)].shape
            gathered = value
            for axis, keep in keeps.items():
                gathered = add_gather(graph, gathered, axis, np.flatnonzero(keep), None)
            gathered.name, gathered.type = name, value.type
            graph.outputs[place] = gathered


def _kept(
    cut: ChannelMask, originals: Mapping[str, ir.Value], value: ir.Value, free: FreedAxes
) -> dict[int, np.ndarray]:
    source = originals.get(str(value.name))
    masks = {axis: cut.keep(source, (axis,)) for axis in free.get(str(value.name), ())}
    return {axis: keep for axis, keep in masks.items() if not keep.all()}


def _shrink_input(graph: ir.Graph, value: ir.Value, keeps: Mapping[int, np.ndarray]) -> ir.Value:
    """A smaller input in the place of ``value``, whose users read it filled up to its old size."""
    dims: list[int | ir.SymbolicDim | None] = list(value.shape or ())
    for axis, keep in keeps.items():
        dims[axis] = int(keep.sum())
    small = ir.Value(name=value.name, shape=ir.Shape(dims), type=value.type)
    value.name = f"{value.name}.whole"
    gathered, first = small, next(iter(graph))
    for axis, keep in keeps.items():
        # Any position does for what goes, as masked kernels do not count it; position 0 always exists.
        positions = np.where(keep, np.cumsum(keep) - 1, 0)
        gathered = add_gather(graph, gathered, axis, positions, first)
    # After the Gathers were made from ``small``, or they would read their own result.
    value.replace_all_uses_with(gathered)
    return small
