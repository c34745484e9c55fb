"""One pass over both nets, from input to output: every layer is repaired before anything that reads it is run.

Each node of each net runs once for each batch. Layers that do not depend on each other are repaired at one stage.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.core.clock import Progress
from compressor.core.formatting import count
from compressor.data import Batch
from compressor.graph.ir.captures import captured_values
from compressor.reconstruct.layers import Kept
from compressor.reconstruct.options import ReconstructOptions
from compressor.reconstruct.stages import ArrayCache, Net
from compressor.reconstruct.task import LayerRepair, WeightTask

RunValues = dict[str, Array]


class Visit(Protocol):
    """One place at which a sweep stops."""

    node: str
    """Name of the node that is repaired there."""
    dense: set[str]
    """Values of the dense net that it wants."""
    probes: set[str]
    """Values of the dense net that it wants of the first batch only."""
    pruned: set[str]
    """Values of the smaller net that it wants, as repaired so far."""

    def feed(self, batch: int, dense: RunValues, pruned: RunValues) -> None:
        """Takes what both nets give for one batch, of the values that were asked for."""
        ...

    def finish(self) -> list[LayerRepair]:
        """All batches were seen: repairs, unless there is more to come from elsewhere."""
        ...


class LayerVisit:
    """A linear layer: its input, of the smaller or the dense net, and its dense output."""

    def __init__(self, task: WeightTask, index: int, kept: Kept, *, symmetric: bool) -> None:
        layer = task.layers[index]
        self._task, self._index, self._kept, self._symmetric = task, index, kept, symmetric
        self._x, self._y = layer.x, layer.y
        self.node = layer.name
        self.dense = {layer.x, layer.y} if symmetric else {layer.y}
        # The dense input checks the form against the runtime, for which one batch is enough.
        self.probes = {layer.x}
        self.pruned = set() if symmetric else {layer.x}

    def feed(self, batch: int, dense: RunValues, pruned: RunValues) -> None:
        """Hands input and dense output to the task."""
        whole = dense.get(self._x)
        x = None if self._symmetric else pruned[self._x]
        self._task.feed(self._index, batch, (x, dense[self._y], whole), self._kept)

    def finish(self) -> list[LayerRepair]:
        """The last layer of a weight finishes it."""
        # Layers that share a weight are visited in their order, so the last one has seen all rows.
        return self._task.finish() if self._index == len(self._task.layers) - 1 else []


def depths(graph: ir.Graph, stops: set[str]) -> dict[str, int]:
    """Node -> the number of stops before it on the longest way from an input."""
    after: dict[ir.Value, int] = {}
    found: dict[str, int] = {}
    for node in graph:
        values = [v for v in (*node.inputs, *captured_values(node)) if v is not None]
        # Captured values count, as a body runs when its node does.
        depth = max((after.get(v, 0) for v in values), default=0)
        found[str(node.name)] = depth
        for value in node.outputs:
            after[value] = depth + (str(node.name) in stops)
    return found


class _Told:
    """Says how far a sweep is: layers that are repaired, and the time to the end by what the batches took."""

    def __init__(self, tell: Progress | None, layers: Sequence[int], batches: int) -> None:
        self._tell, self._layers, self._batches = tell, layers, batches
        self._start = time.perf_counter()

    def at(self, stage: int, batch: int) -> None:
        """Tells of a batch of a stage that begins; both count from 0."""
        if self._tell is None:
            return
        done, total = stage * self._batches + batch, len(self._layers) * self._batches
        left = "" if not done else f", {(time.perf_counter() - self._start) / done * (total - done):.0f} s left"
        self._tell(f"recover: {sum(self._layers[:stage])} of {count(sum(self._layers), 'layer')}{left}")


def visit_in_order(
    models: tuple[ir.Model, ir.Model],
    visits: Sequence[Visit],
    batches: tuple[int, Callable[[int], Batch]],
    options: ReconstructOptions,
) -> list[LayerRepair]:
    """Visits every place in the order of the graph.

    Args:
        models: the smaller model, which the visits change, and the dense one.
        visits: places to stop at.
        batches: their number, and how to get one.
        options: where to run, and how much to hold in memory.

    Raises:
        ModelError: a net does not run on this data.
        UsageError: the activations fit neither into memory nor onto the disk.
    """
    if not visits:
        return []
    pruned, dense = models
    # Layers of one depth do not depend on each other, so that a single run serves all of them.
    depth = depths(pruned.graph, {v.node for v in visits})
    levels = sorted({depth[v.node] for v in visits})
    plan = [[v for v in visits if depth[v.node] == level] for level in levels]
    cache = ArrayCache(options.cache_bytes)
    repairs: list[LayerRepair] = []
    try:
        small = [set().union(*(v.pruned for v in part)) for part in plan]
        big = [set().union(*(v.dense for v in part)) for part in plan]
        probes = [set().union(*(v.probes for v in part)) for part in plan]
        # One cache for both, so that its bound holds for them together.
        nets = (Net(pruned, small, [set()] * len(plan), cache), Net(dense, big, probes, cache))
        for index in range(batches[0]):
            batch = batches[1](index)
            for net in nets:
                net.feed(index, batch.inputs)
        # All batches go through a stage before its layers are repaired, since a fit needs all rows.
        told = _Told(options.tell, [len(part) for part in plan], batches[0])
        for stage, part in enumerate(plan):
            for index in range(batches[0]):
                told.at(stage, index)
                values = [net.run(stage, index, options.provider) for net in nets]
                for visit in part:
                    visit.feed(index, values[1], values[0])
            for visit in part:
                repairs += visit.finish()
    finally:
        # Also after an error, as activations may fill the disk.
        cache.close()
    return repairs
