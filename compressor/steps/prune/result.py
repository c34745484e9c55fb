"""What a pruning run gives."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from compressor.channels.plan import PruningPlan
from compressor.graph.disk import files
from compressor.graph.disk.joined import split
from compressor.graph.disk.model_result import ProvedResult
from compressor.graph.sizes.binding import Bound
from compressor.pruning.proofs.outputs.evidence import Evidence
from compressor.results import Report
from compressor.steps import run_files


@dataclass(repr=False)
class PruneResult(ProvedResult):
    """What a pruning run made: the smaller model, the plan that leads to it, and the report.

    The plan is None where several steps cannot be replayed as one. ``evidence`` is what was proved of the smaller
    model as it is. ``tokens`` are the old numbers of those that were kept, in the new order; None where all were. With
    ``also``, ``model`` is all files joined; :attr:`models` are they. ``sealed`` is a copy from when the last proof was
    through, which a file is held against. ``inputs`` are the sizes that the original was counted at.
    """

    model: ir.Model
    plan: PruningPlan | None
    report: Report
    evidence: Evidence | None = None
    tokens: tuple[int, ...] | None = None
    sealed: ir.Model | None = None
    inputs: Bound | None = None

    @property
    def models(self) -> list[ir.Model]:
        """The smaller model by files: one, or the first and those of ``also``."""
        return split(self.model)

    def save(self, path: str | os.PathLike[str]) -> int:
        """As :meth:`ProvedResult.save`; further files of the model go beside the first, all of them or none."""
        return files.save_models(run_files.places(self.model, Path(path)))
