"""The model of fewer tokens against its original: the file itself, run with the old numbers of the tokens that stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from compressor.errors import tool_fault
from compressor.graph.form.vocabulary import NumberedAnew
from compressor.graph.tensors.weights import paired_weights, same_tensors
from compressor.pruning.proofs.graphs.exact import stays
from compressor.runtime.stored import Feed, Ready, Runnable, Runs, WeightChange


@dataclass(frozen=True)
class Renumbering:
    """Which tokens stay, and where their numbers are met.

    Attributes:
        tokens: entry k is the old number of token k.
        names: inputs and outputs that are about tokens.
    """

    tokens: tuple[int, ...]
    names: NumberedAnew


@dataclass(frozen=True)
class Renumbered(Runnable):
    """A model that is fed new numbers of tokens, and gives scores of those that stay.

    Attributes:
        stored: the model, which knows the old numbers.
        renumbering: the new ones.
    """

    stored: Runnable
    renumbering: Renumbering

    def open(self) -> ReadyRenumbered:
        """Opens the model; raises as its own ``open``."""
        return ReadyRenumbered(self.stored.open(), self.renumbering)

    def changed(self, change: WeightChange, folder: Path) -> Renumbered:
        """The same with other weights."""
        return Renumbered(self.stored.changed(change, folder), self.renumbering)


@dataclass(frozen=True)
class ReadyRenumbered(Ready):
    """A session of the model that knows the old numbers."""

    ready: Ready
    renumbering: Renumbering

    def run(self, feeds: Sequence[Feed]) -> Runs:
        """Runs the model on each feed; raises ModelError where one does not run."""
        inputs, outputs = self.renumbering.names
        tokens = np.asarray(self.renumbering.tokens)
        old = [{n: tokens[a].astype(a.dtype) if n in inputs else a for n, a in feed.items()} for feed in feeds]
        runs = self.ready.run(old)
        scores = [name in outputs for name in runs.names]
        taken = [[a[..., tokens] if s else a for a, s in zip(row, scores, strict=True)] for row in runs.outputs]
        return Runs(runs.names, list(feeds), taken)


def demand_rows(whole: ir.Model, fewer: ir.Model, tokens: Sequence[int]) -> None:
    """Raises ProofFailed where a weight is not what the original has for these tokens, as far as it is about tokens."""
    for value, old, new in paired_weights(whole.graph, fewer.graph):
        if old is new:
            continue
        sizes = list(zip(old.shape.numpy(), new.shape.numpy(), strict=True))
        axis = next((k for k, (one, two) in enumerate(sizes) if one != two), None)
        if axis is None:
            same = same_tensors(old, new)
        else:
            mask = np.zeros([int(one) if k == axis else 1 for k, (one, _) in enumerate(sizes)], np.bool_)
            mask.reshape(-1)[list(tokens)] = True
            same = stays(old, new, mask)
        if not same:
            raise tool_fault(f"weight {value.name!r} does not hold what the original has for these tokens")
