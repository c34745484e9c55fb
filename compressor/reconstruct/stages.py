"""A graph run in stages, each once: what is asked for at one stage may change what comes after it.

Between two stages, the values that later ones read wait in a cache, in memory up to a bound and then on disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array, load_array, save_array
from compressor.core.scratch import scratch
from compressor.errors import UsageError
from compressor.graph.disk.stream import write_beside
from compressor.graph.ir.captures import captured_values
from compressor.operators.table import operator_of


@dataclass(frozen=True)
class RunStage:
    """What one run takes and gives.

    Attributes:
        inputs: values of the model's inputs and of earlier stages.
        outputs: values that it computes and that are asked for, now or later.
        asked: values that the caller wants at this stage, computed now or before.
        done: values that no later stage reads.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    asked: tuple[str, ...]
    done: tuple[str, ...]


def stages(graph: ir.Graph, requests: Sequence[set[str]]) -> list[RunStage]:
    """The fewest nodes for ``requests``, names of values by stage; every node runs as late as it may.

    Results that are no tensors (sequences) are computed anew in every stage that reads them.
    """
    made = {str(v.name): n for n in graph for v in n.outputs if v.name}
    ran: set[ir.Node] = set()
    parts: list[list[ir.Node]] = []
    for request in requests:
        fresh = _ancestors(request, made, ran)
        # What an earlier stage made waits in the cache and is not run again.
        ran |= fresh
        parts.append([n for n in graph if n in fresh])
    reads = [{name for n in part for name in _inputs(n)} for part in parts]
    runs = []
    for k, part in enumerate(parts):
        own = {str(v.name) for n in part for v in n.outputs if v.name}
        # A value is handed on only if someone after this stage asks for it; all others are dropped at once.
        later = set().union(*requests[k + 1 :], *reads[k + 1 :])
        # A sequence is no array and cannot wait in the cache, so its producer runs again where it is read.
        kept = {name for name in own if not operator_of(made[name]).sequence}
        given = reads[k] - own
        runs.append(
            RunStage(
                tuple(sorted(given)),
                tuple(sorted(kept & (requests[k] | later))),
                tuple(sorted(requests[k])),
                tuple(sorted((given | kept | requests[k]) - later)),
            )
        )
    return runs


def _ancestors(request: set[str], made: Mapping[str, ir.Node], ran: set[ir.Node]) -> set[ir.Node]:
    fresh: set[ir.Node] = set()
    # What no node makes is an input of the model, and waits in the cache.
    todo = [name for name in request if name in made]
    while todo:
        node = made[todo.pop()]
        if node in fresh or (node in ran and not operator_of(node).sequence):
            continue
        fresh.add(node)
        todo += [name for name in _inputs(node) if name in made]
    return fresh


def _inputs(node: ir.Node) -> list[str]:
    """Names of everything that is computed outside and that the node, or a graph in it, reads."""
    values = [v for v in (*node.inputs, *captured_values(node)) if v is not None]
    return [str(v.name) for v in values if not v.is_initializer()]


class ArrayCache:
    """Arrays by key; beyond ``limit`` bytes they are written to a temporary folder."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[tuple[int, int, str], Array] = {}
        self._files: dict[tuple[int, int, str], Path] = {}
        self._bytes = self._written = 0
        self._folder = tempfile.TemporaryDirectory(prefix="onnx-compressor-")

    def put(self, key: tuple[int, int, str], array: Array) -> None:
        """Keeps an array.

        Raises:
            UsageError: the disk is full.
        """
        # What comes first stays in memory, and nothing is moved to the disk later.
        if self._bytes + array.nbytes <= self._limit:
            self._held[key] = array
            self._bytes += array.nbytes
            return
        self._written += 1
        path = Path(self._folder.name) / f"{self._written}.npy"
        try:
            save_array(path, array)
        except OSError as error:
            raise UsageError(
                f"activations do not fit into the temporary folder: {error.strerror or error}; use fewer samples"
            ) from None
        self._files[key] = path

    def get(self, key: tuple[int, int, str]) -> Array:
        """The array that was put there."""
        held = self._held.get(key)
        return load_array(self._files[key]) if held is None else held

    def drop(self, key: tuple[int, int, str]) -> None:
        """Forgets an array, if it is there."""
        held = self._held.pop(key, None)
        if held is not None:
            self._bytes -= held.nbytes
        path = self._files.pop(key, None)
        if path is not None:
            path.unlink()

    def close(self) -> None:
        """Forgets every array, and deletes the folder of those that were put into files."""
        self._held.clear()
        self._folder.cleanup()


class Net:
    """A model that is run stage by stage over the same batches; its weights may change in between."""

    def __init__(
        self, model: ir.Model, requests: Sequence[set[str]], probes: Sequence[set[str]], cache: ArrayCache
    ) -> None:
        """``requests`` and ``probes`` name values by stage; probes are wanted of the first batch only."""

        self._model = model
        self._cache = cache
        self._stages = stages(model.graph, [a | b for a, b in zip(requests, probes, strict=True)])
        # A value that is wanted of every batch is no probe.
        self._probes = [b - a for a, b in zip(requests, probes, strict=True)]
        self._inputs = {str(v.name) for v in model.graph.inputs if not v.is_initializer()}
        # Inputs that nothing reads need not be in the data.
        self._read = {name for stage in self._stages for name in (*stage.inputs, *stage.asked)}
        self._session: Any = None

    def feed(self, batch: int, inputs: Mapping[str, Array]) -> None:
        """The model's inputs for one batch, before the first stage.

        Raises:
            UsageError: the data lacks one that is read.
        """
        missing = sorted((self._inputs & self._read) - set(inputs))
        if missing:
            raise UsageError(f"the calibration data has no input {missing[0]!r}; it has {', '.join(sorted(inputs))}")
        for name in self._inputs & self._read:
            self._cache.put((id(self), batch, name), np.asarray(inputs[name]))

    def run(self, stage: int, batch: int, provider: str) -> dict[str, Array]:
        """Runs one stage on one batch and returns what it is asked for; batches in order, from the first."""
        this = self._stages[stage]
        # Probes serve a check on the first batch; later ones would only fill the cache.
        spared = self._probes[stage] if batch else set()
        wanted = [n for n in this.outputs if n not in spared or n not in this.done]
        found = {name: self._cache.get((id(self), batch, name)) for name in this.inputs}
        if wanted:
            from compressor.runtime import sessions  # noqa: PLC0415 - 0.2 s that most commands need not pay

            # A session for each stage, opened at its first batch: by then earlier stages have changed the weights.
            if batch == 0:
                self._session = self._open(this, found, provider)
            made = dict(zip(wanted, sessions.run_session(self._session, found, wanted), strict=True))
            for name in set(wanted) - set(this.done):
                self._cache.put((id(self), batch, name), made[name])
            found |= made
        asked = {
            n: found[n] if n in found else self._cache.get((id(self), batch, n)) for n in this.asked if n not in spared
        }
        for name in this.done:
            self._cache.drop((id(self), batch, name))
        return asked

    def _open(self, stage: RunStage, feeds: Mapping[str, Array], provider: str) -> Any:
        from compressor.runtime import sessions  # noqa: PLC0415 - as above

        graph = ir.convenience.extract(self._model.graph, stage.inputs, stage.outputs)
        for value in graph.inputs:
            if not value.is_initializer():
                array = feeds[str(value.name)]
                value.type = value.type or ir.TensorType(ir.DataType.from_numpy(array.dtype))
                # Batches may differ in size, so that sizes of the first one must not be fixed.
                value.shape = ir.Shape([None] * array.ndim)
        for value in graph.outputs:
            # What a stage gives are inner values, whose annotations the file need not have right.
            value.shape = None
        with scratch() as folder:
            path = Path(folder) / "stage.onnx"
            write_beside(ir.Model(graph, ir_version=self._model.ir_version), path)
            return sessions.start_session(path, provider, sessions.Setup(polite=True))
