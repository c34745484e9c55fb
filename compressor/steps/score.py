"""Measures what the chosen criterion needs: gradients in torch, activations in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from compressor.config import PruneSettings
from compressor.data import Batch, Dataset
from compressor.errors import ModelError, UsageError
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.graph.sizes.feeds import feeds
from compressor.graph.tensors.weights import is_large
from compressor.pruning import activations
from compressor.pruning.criteria import Measurement, Need, criterion
from compressor.pruning.cut.analysis import Analysis
from compressor.pruning.cut.depth import rank_blocks

DEPTH_SAMPLES = 32
"""Samples on which residual blocks are ranked: shares of energy need few."""
MINIBATCHES = 32
"""Minibatches that the samples are split into at least, where squares are averaged over them: their relative error
is √(2 / rounds)."""


def measure_for_criterion(analysis: Analysis, settings: PruneSettings, dataset: Dataset | None) -> Measurement | None:
    """What ``settings.criterion`` needs, or None where weights are enough; torch is loaded only for gradients.

    Args:
        analysis: the analysed model.
        settings: the criterion, how many samples, the seed that draws them.
        dataset: samples; None where the criterion needs none.

    Raises:
        UsageError: torch is missing, there is no sample, or labels do not fit.
        ModelError: the model cannot be run, or torch lacks an operator; the message names another criterion.
    """
    need = criterion(settings.criterion).needs
    if need is None:
        return None
    if not isinstance(need, Need):
        raise UsageError(
            f"criterion {settings.criterion!r} needs {need!r}, which nothing measures; its `needs` is None or one of "
            f"{', '.join(str(kind) for kind in Need)}"
        )
    if need in activations.MEASURES:
        batches = _Drawn(analysis, settings, dataset, need)
        return activations.measure_activations(need, analysis.model, analysis.coupling, batches(), settings.provider)
    return _by_gradient(need, analysis, settings, dataset)


def measure_depth(analysis: Analysis, settings: PruneSettings, dataset: Dataset | None) -> None:
    """Ranks the residual blocks of the coupling, in place, by what they add on samples, or else on seeded inputs.

    A model that does not run on them, or is too large to be run with values inside shown, has its weights looked at.
    """
    coupling = analysis.coupling
    if not coupling.blocks:
        return
    from compressor.runtime.taps import tap

    names = [str(v.name) for b in coupling.blocks for v in (b.sum.inputs[b.branch], b.sum.outputs[0]) if v is not None]
    if dataset is None or not len(dataset):
        batches = [feeds(analysis.model, analysis.shapes.inputs, analysis.shapes, settings.seed)]
    else:
        size = batch_limit(analysis.model) or min(DEPTH_SAMPLES, len(dataset))
        batches = [dict(dataset.take(np.resize(np.arange(len(dataset)), size)).inputs)]
    try:
        large = is_large(analysis.model.graph)
        rank_blocks(coupling, None if large else tap(analysis.model, names, batches, settings.provider))
    except ModelError:
        rank_blocks(coupling, None)


def _by_gradient(need: Need, analysis: Analysis, settings: PruneSettings, dataset: Dataset | None) -> Measurement:
    try:
        from compressor.errors import UnsupportedOperator
        from compressor.train.gradients import saliency
    except (ModuleNotFoundError, UsageError):
        raise UsageError(
            f"--criterion {settings.criterion} needs gradients, and torch is not installed; "
            "run pip install 'onnx-compressor[tune]', or choose --criterion consumers"
        ) from None
    batches = _Drawn(analysis, settings, dataset, need) if need.value.data else tuple
    try:
        return saliency.measure_gradients(need, analysis.model, analysis.coupling, batches, settings.seed)
    except UnsupportedOperator as error:
        fact = str(error).partition(";")[0]
        raise UnsupportedOperator(
            f"--criterion {settings.criterion} needs gradients, but {fact}; choose --criterion activation or consumers"
        ) from None


class _Drawn:
    """Samples drawn at random, in batches, the same at every call."""

    def __init__(self, analysis: Analysis, settings: PruneSettings, dataset: Dataset | None, need: Need) -> None:
        if dataset is None or len(dataset) == 0:
            raise UsageError(f"--criterion {settings.criterion} needs samples, and there are none; give --data")
        self._dataset = dataset
        count = min(settings.samples, len(dataset))
        size = settings.batch_size
        if need.value.squares:
            # Squares of sums over a batch are averaged over batches, so many small batches say more than few large
            # ones.
            size = max(1, min(size, count // MINIBATCHES))
        elif need in activations.MEASURES:
            # Activations of a whole batch are outputs of the runtime and held at once.
            size = min(size, activations.samples_at_once(analysis.coupling))
        count = min(count, need.value.samples or count)
        whole = batch_limit(analysis.model)
        self._size = size = whole or min(size, count)
        drawn = np.random.default_rng(settings.seed).permutation(len(dataset)).astype(np.int64)[: max(count, size)]
        # A fixed batch that is larger than the data is filled by repetition.
        drawn = np.resize(drawn, max(len(drawn), size))
        # A model with a fixed batch does not take a part of one.
        self._indices = drawn[: len(drawn) // size * size if whole else None]

    def __call__(self) -> Iterator[Batch]:
        for start in range(0, len(self._indices), self._size):
            yield self._dataset.take(self._indices[start : start + self._size])
