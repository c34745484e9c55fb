"""Versions of one model that differ in some of its weights, run by one session: those weights are inputs of it.

A session takes longer to make than most models take to run, and wrong models come one for each group or layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.errors import ModelError
from compressor.graph.tensors.weights import weight_shapes
from compressor.pruning.proofs.runs.whole_or_pieces import runnable, runs_whole
from compressor.runtime.stored import Feed, Ready, Runs

EFFORT = 2 * 10**9
"""Multiply-accumulates, or what takes as long, that runs of wrong models may take: about two tenths of a second."""
NODE_EFFORT, PARAMETER_EFFORT = 5 * 10**6, 30
"""What a node costs when a session is made, and a parameter that is written and read, in multiply-accumulates."""
CALL_EFFORT = 5 * 10**4
"""What a node costs each time that it is run, however little it computes."""
OtherWeights = Mapping[str, ir.TensorProtocol]
"""By name of an initializer, what a version has in its place, of the same type and shape."""


@dataclass(frozen=True)
class VersionInSession(Ready):
    """A version that is run by the session that all share.

    Attributes:
        ready: the session.
        weights: arrays that it takes as inputs beside those of the model, by name.
    """

    ready: Ready
    weights: Mapping[str, Array]

    def run(self, feeds: Sequence[Feed]) -> Runs:
        """Runs the version on each feed; raises as :meth:`compressor.runtime.stored.ReadySession.run`."""
        found = self.ready.run([{**feed, **self.weights} for feed in feeds])
        return Runs(found.names, list(feeds), found.outputs)


@dataclass(frozen=True)
class Versions:
    """A model whose weights may be others.

    Attributes:
        model: with the right weights; nobody edits it.
        folder: where files may be put.
        provider: short or full name.
        shared: the version with the right weights in the session for all of them; None: each gets one of its own.
    """

    model: ir.Model
    folder: Path
    provider: str
    shared: VersionInSession | None = None

    def in_one_session(self, names: Sequence[str], is_right: Callable[[Ready], bool]) -> Versions:
        """The same with one session for all versions that differ in these weights, where there can be one.

        Args:
            names: of initializers.
            is_right: is asked of that session with the right weights, as kernels may want constants there, or compute
                otherwise what is none; with False, each version keeps a session of its own.
        """
        held = {name: self.model.graph.initializers[name].const_value for name in names}
        tensors = {name: tensor for name, tensor in held.items() if tensor is not None}
        # In pieces, weights are in memory one piece at a time, and types of less than a byte are in no feed.
        if not runs_whole(self.model) or any(tensor.dtype.bitwidth % 8 for tensor in tensors.values()):
            return self
        try:
            ready = runnable(_asking(self.model, list(tensors)), self.folder, self.provider).open()
            shared = VersionInSession(ready, {name: tensor.numpy() for name, tensor in tensors.items()})
            return Versions(self.model, self.folder, self.provider, shared) if is_right(shared) else self
        except ModelError:
            return self

    def open(self, weights: OtherWeights) -> Ready:
        """The version with these weights, ready to run; raises ModelError where the runtime refuses it."""
        if self.shared is None:
            return runnable(self._with(weights), self.folder, self.provider).open()
        given = {name: tensor.numpy() for name, tensor in weights.items()}
        return VersionInSession(self.shared.ready, {**self.shared.weights, **given})

    def count_alone(self, count: int, macs: int = 0) -> int:
        """As :func:`affordable`, of this model."""
        return affordable(count, self.model, macs, shared=self.shared is not None)

    def _with(self, weights: OtherWeights) -> ir.Model:
        model = self.model.clone()
        for name, tensor in weights.items():
            model.graph.initializers[name].const_value = tensor
        return model


def affordable(count: int, model: ir.Model, macs: int = 0, *, shared: bool) -> int:
    """How many versions, out of ``count``, are run by themselves; one more run is for all others at once.

    Halving those that were noticed together would take more runs to come to the same: each by itself.

    Args:
        count: groups or layers.
        model: what is run, for its nodes and weights.
        macs: what one run takes besides.
        shared: one session is for all of them.
    """
    # Estimated beforehand, as a run of a large model for each group would take longer than all the rest. A session that
    # is shared does not count: all others at once take one as well.
    nodes = model.graph.num_nodes()
    starting = 0 if shared else NODE_EFFORT * nodes + PARAMETER_EFFORT * sum(map(prod, weight_shapes(model)))
    runs = EFFORT // max(1, macs + CALL_EFFORT * nodes + starting)
    return count if count <= runs else max(0, runs - 1)


def _asking(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A copy that has these weights as inputs."""
    copy = model.clone()
    for name in names:
        value = copy.graph.initializers.pop(name)
        value.const_value = None
        if value not in copy.graph.inputs:
            copy.graph.inputs.append(value)
    return copy
