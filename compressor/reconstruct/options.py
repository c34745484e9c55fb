"""How a recovery is done: one record, its defaults chosen by measurement (docs/recovery.md)."""

from __future__ import annotations

from dataclasses import dataclass

from compressor.config.data import CALIBRATION_SAMPLES
from compressor.config.proof import PROVIDER
from compressor.core.clock import Progress

RIDGE = 1e-2
"""Ridge, as a share of the mean variance of a layer's inputs, in least squares and where its result is foretold."""


@dataclass(frozen=True)
class ReconstructOptions:
    """Settings of a recovery.

    Attributes:
        samples: samples of the data that are read; the last quarter of their batches judges, the others fit.
        batch_size: samples in one run, where the model does not fix it.
        targets: inputs of a layer while it is repaired: ``asymmetric``, those of the net as repaired so far;
            ``symmetric``, those of the dense net. What it has to give is the dense net's output in both.
        dampings: ridges to try, as shares of the mean variance of a layer's inputs; the held-out rows choose.
        rows_per_unknown: rows that are read for each unknown of one output, of which a convolution has one for
            each channel and tap.
        min_rows: rows that are read at least.
        wide: a layer with more unknowns than this is repaired from ``min_rows`` rows at most, without covariances.
        held_rows: rows on which a repair is judged.
        match_spread: bias correction also gives each channel its dense variance back.
        cache_bytes: activations held in memory between two runs; beyond it they wait on disk.
        provider: where the nets run.
        seed: seed of the choice of rows.
        tell: hears how far it is, and how long it will take.
    """

    samples: int = CALIBRATION_SAMPLES
    batch_size: int = 32
    targets: str = "asymmetric"
    dampings: tuple[float, ...] = (RIDGE,)
    rows_per_unknown: int = 8
    min_rows: int = 4096
    wide: int = 6144
    held_rows: int = 2048
    match_spread: bool = True
    cache_bytes: int = 2 << 30
    provider: str = PROVIDER
    seed: int = 0
    tell: Progress | None = None

    def rows_for(self, unknowns: int) -> int:
        """Rows that are read for a layer with so many unknowns of one output, if the samples have as many."""
        return max(self.min_rows, self.rows_per_unknown * unknowns if unknowns <= self.wide else 0)
