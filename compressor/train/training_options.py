"""What makes fine-tuning recover more, as the settings ask for it: docs/recovery-boosters.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from math import inf

import onnx_ir as ir

from compressor.config import TuneSettings
from compressor.config.training import StepsSection
from compressor.data import Batch, Dataset, batches
from compressor.data.spec import too_few
from compressor.errors import FAULT, ProofFailed
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.pruning.proofs.preparation import Original, same_outputs
from compressor.train.loop.extension import Extension
from compressor.train.loop.history import History
from compressor.train.loop.sweep import RATES, sweep_rates
from compressor.train.module.graph_module import GraphModule
from compressor.train.reparameterize import batchnorm
from compressor.train.reparameterize.batchnorm import GroupNumbers, Insertion
from compressor.train.reparameterize.overparameterize import Damping, merge, overparameterise
from compressor.train.reparameterize.weight_averaging import WeightMean


def extensions_of(settings: StepsSection) -> list[Extension]:
    """The extensions that settings ask for by name."""
    return [WeightMean(share=settings.mean_weights)] if settings.mean_weights else []


@contextmanager
def expand_weights(module: GraphModule, model: ir.Model, settings: TuneSettings) -> Iterator[list[Extension]]:
    """Weights as products while it lasts, merged at the end whatever happens; yields what training then needs."""
    if not settings.expand:
        yield []
        return
    overparameterise(module, model, expansion=settings.expand, seed=settings.seed)
    try:
        yield [Damping()]
    finally:
        # Also after an error: a caller that keeps the weights so far reads them under their old names.
        merge(module)


def best_rate(
    module: GraphModule, settings: TuneSettings, train: Callable[[TuneSettings], History]
) -> tuple[TuneSettings, list[str]]:
    """Tries :data:`~compressor.train.loop.sweep.RATES` and the given one for an epoch each: settings with the best."""
    if not settings.sweep:
        return settings, []
    # Trials write no checkpoint and resume none: it belongs to the real run.
    short = settings.model_copy(update={"epochs": 1, "checkpoint": None, "resume": False, "patience": 0})

    def run(rate: float) -> float:
        done = train(short.model_copy(update={"learning_rate": rate}))
        # A run that went on at a lower rate says nothing for this one.
        if done.notes:
            return inf
        last = done.epochs[-1]
        return last.loss if last.valid is None else last.valid.loss

    found = sweep_rates([*RATES, settings.learning_rate], run, module)
    tried = ", ".join(f"{t.rate:g}: {t.loss:.4g}" for t in found.trials)
    note = f"learning rate {found.best:g} was the best of one epoch each (loss by rate: {tried})"
    return settings.model_copy(update={"learning_rate": found.best}), [note]


def with_batchnorm(
    model: ir.Model, settings: TuneSettings, samples: Dataset, ties: Mapping[str, GroupNumbers] | None = None
) -> Insertion:
    """The model with BatchNormalization put in, calibrated on ``settings.samples`` samples."""
    size, read = _batches(model, settings, samples)
    # Whole batches, rounded up, as graphs with a fixed batch size take no part of one.
    count = max(1, -(-settings.samples // size))
    return batchnorm.insert(model, islice(read, count), settings.provider, ties)


def without_batchnorm(model: ir.Model, settings: TuneSettings, samples: Dataset) -> ir.Model:
    """The model with that folded away again, held against itself in ONNX Runtime.

    Raises:
        ProofFailed: folding changed an output by more than the settings allow.
    """
    folded = batchnorm.fold_batchnorm(model)
    if settings.proves:
        # One batch is enough: whether scales were folded rightly does not depend on the input.
        feeds = [dict(next(_batches(model, settings, samples)[1]).inputs)]
        evidence = same_outputs(Original(model, model), folded, feeds, settings)
        if not evidence.passed:
            raise ProofFailed(
                f"folding BatchNormalization changes output {evidence.worst!r} by {evidence.max_rel_err:.1e} of its "
                f"range; train without --insert-bn; {FAULT}"
            )
    return folded


def _batches(model: ir.Model, settings: TuneSettings, samples: Dataset) -> tuple[int, Iterator[Batch]]:
    """How many samples run at a time, and the samples in such batches: as many as the model takes, or was asked for."""
    limit = batch_limit(model)
    if limit is not None and len(samples) < limit:
        raise too_few(limit, samples)
    size = limit or settings.batch_size
    return size, batches(samples, size, drop_last=limit is not None)
