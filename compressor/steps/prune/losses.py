"""Loss curves for a run: when they are measured, on what, and what is done where they cannot be."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.data import Dataset
from compressor.errors import ModelError, UsageError
from compressor.pruning.budgets.cost import macs_per_sample
from compressor.pruning.budgets.curves import Curves, GroupScores
from compressor.pruning.budgets.select import Ranking, by_weights
from compressor.pruning.by_loss import uniform_share
from compressor.pruning.cut.analysis import Analysis
from compressor.pruning.cut.depth import with_depth

if TYPE_CHECKING:
    from compressor.allocation.judge import ExactLosses
    from compressor.allocation.layer_samples import Collected, Rows
    from compressor.allocation.reading import Sizing
    from compressor.allocation.views import LinearView

MOST_MEASURED = 512
"""Samples that losses are measured on, at most; more of them change widths little."""
RATIOS_COUNTED = 41
"""Ratios at which multiply-accumulates are counted for a run of several steps."""
NO_VIEW = (
    "every group of channels is also read by what is no linear layer, such as a recurrent or a quantised one, so that "
    "nothing tells what they are worth to the outputs; widths follow no measured losses"
)
NOT_READ = "widths follow no measured losses: {reason}"
NO_GRADIENTS = (
    "what outputs lose was estimated from how much each layer changes, not weighed by what layers do to the outputs, "
    "because {reason}"
)
NO_TORCH = "torch is not installed; with it, less is lost (pip install 'onnx-compressor[tune]')"


def follows_losses(settings: PruneSettings, *, samples: bool) -> bool:
    """Is what every group loses to follow from measured losses?"""
    # What cannot matter loses nothing, and a report holds losses that were measured already.
    if settings.lossless or settings.sensitivity is not None:
        return False
    return settings.scope == "loss" or (settings.scope == "auto" and samples)


def with_measured_scores(settings: PruneSettings) -> PruneSettings:
    """The settings by which units are scored where losses are measured.

    Scores order the units only if a criterion was asked for; otherwise they merely stand in where no linear layer
    reads a group, and the weights are enough for that.
    """
    if settings.given("criterion"):
        return settings
    return by_weights(settings)


@dataclass(frozen=True)
class RunCurves:
    """The loss curve of every group of a model, and what the report has to say of them.

    Attributes:
        curves: None where none could be measured.
        notes: why, or what they lack.
    """

    curves: Curves | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerRows:
    """What samples show of layers.

    Attributes:
        views: the layers that can be judged by them.
        rows: of each of these.
        exact: takes losses exactly; None without gradients.
        notes: why there are none.
        unread: node -> why it cannot be judged, of the other layers.
    """

    views: list[LinearView]
    rows: list[Rows]
    exact: ExactLosses | None
    notes: tuple[str, ...]
    unread: Mapping[str, str]


@dataclass(frozen=True)
class _RowsRead:
    """Rows of the layers ``names``, of samples that were run through ``model``; why they have no gradients, if so."""

    model: ir.Model
    size: Sizing
    names: Collection[str]
    rows: Collected
    without: str | None


class Losses:
    """Measures loss curves.

    Args:
        settings: samples, seed, provider.
        data: what is measured on.
        clock: hears how it goes.
        telling: the samples excite what a layer can do: they are the user's, or a classifier is sure of them. On others
            too much seems dispensable: there channels go in the order of their weights (docs/allocation.md).
    """

    def __init__(self, settings: PruneSettings, data: Dataset, clock: Clock, *, telling: bool) -> None:
        self._settings, self._data, self._clock, self._telling = settings, data, clock, telling
        # Two things are remembered: what ratios leave of the original, and rows that the next call asks for.
        self._shares: list[tuple[float, float]] = []
        self._read: _RowsRead | None = None

    def share(self, analysis: Analysis, ranking: Ranking, settings: PruneSettings) -> float | None:
        """What a ratio leaves of the multiply-accumulates of the original; None where there is no ratio.

        Counted before the first step, as the groups are no longer even after it; between ratios it is interpolated.
        """
        if settings.ratio is None:
            return None
        # Every ratio that a schedule may ask for later is counted now, on the original.
        if not self._shares:
            ratios = [settings.ratio] if settings.steps == 1 else np.linspace(0.0, 1.0, RATIOS_COUNTED).tolist()
            even = (settings.model_copy(update={"ratio": ratio}) for ratio in ratios)
            self._shares = [(one.ratio or 0.0, uniform_share(analysis.coupling, ranking, one)) for one in even]
        ratios, shares = np.asarray(self._shares, np.float64).T
        return float(np.interp(settings.ratio, ratios, shares))

    def curves(self, analysis: Analysis, ranked: GroupScores, also: Sequence[LinearView] = ()) -> RunCurves:
        """The curve of every group; none where no linear layer reads one of them, or the model does not run on samples.

        Args:
            analysis: the analysed model.
            ranked: its groups.
            also: layers that will be read next, which is done along.

        Raises:
            UsageError: no linear layer reads a group, and allocation by loss was asked for.
            ModelError: the model does not run on the samples, and it was.
        """
        from compressor.allocation.measure import LossEvidence, loss_curves
        from compressor.allocation.views import covered, views

        seen = views(analysis.model, analysis.coupling)
        known = covered(analysis.coupling, list(ranked), seen)
        if not known:
            # Asked for by name it is an error; the default falls back and says so.
            if self._settings.scope == "loss":
                raise UsageError(f"--scope loss: {NO_VIEW.partition(';')[0]}; choose --scope local or global")
            return RunCurves(None, (NO_VIEW,))
        try:
            read = self.read(analysis, seen, also)
            known = covered(analysis.coupling, list(ranked), read.views)
            if not known:
                name, reason = next(iter(read.unread.items()))
                raise ModelError(f"node {name!r} cannot be judged: {reason}")
        except ModelError as error:
            if self._settings.scope == "loss":
                raise
            return RunCurves(None, (NOT_READ.format(reason=str(error).partition(";")[0]),))
        # A criterion that was asked for orders the units in any case (docs/decisions/0010).
        own = self._telling and not self._settings.given("criterion")
        evidence = LossEvidence(read.views, read.rows, known, read.exact, own, self._clock.tell)
        return RunCurves(with_depth(loss_curves(ranked, evidence, self._settings.seed), ranked), read.notes)

    def read(self, analysis: Analysis, seen: Sequence[LinearView], also: Sequence[LinearView] = ()) -> LayerRows:
        """What samples show of layers, and of which they do not.

        Args:
            analysis: the analysed model.
            seen: the layers.
            also: layers that are asked for next: the samples are run once for both, and these rows kept until then.

        Raises:
            ModelError: the model does not run on the samples.
        """
        from compressor.allocation.reading import exactly

        names, model = [view.layer.name for view in seen], analysis.model
        read, self._read = self._read, None
        if read is None or read.model is not model or not set(names) <= set(read.names):
            every = {view.layer.name: view for view in (*also, *seen)}
            size, rows, without = self._run(analysis, list(every.values()))
            read = _RowsRead(model, size, set(every), rows, without)
            self._read = read if also else None
        exact, notes = None, (() if read.without is None else (NO_GRADIENTS.format(reason=read.without),))
        found, unread = read.rows.found, read.rows.unread
        judged = [view for view in seen if view.layer.name in found]
        if read.without is None:
            exact = exactly(model, judged, self._data, read.size, self._settings.seed)
        own = {name: unread[name] for name in names if name in unread}
        return LayerRows(judged, [found[view.layer.name] for view in judged], exact, notes, own)

    def _run(self, analysis: Analysis, seen: list[LinearView]) -> tuple[Sizing, Collected, str | None]:
        """Samples through the model: how many, the rows of layers, and why these have no gradients, if so."""
        from compressor.allocation.reading import sizing, with_gradients, without_gradients

        settings, model = self._settings, analysis.model
        macs = macs_per_sample(model.graph, analysis.shapes)
        size = sizing(analysis.coupling, seen, macs, min(settings.samples, len(self._data), MOST_MEASURED))
        self._clock.tell(f"losses: reading {size.samples} samples")
        reason = NO_TORCH
        # With gradients layers are weighed by what they do to the outputs; without, by their own change alone.
        if find_spec("torch") is not None:
            try:
                return size, with_gradients(model, seen, self._data, size, settings.seed), None
            except ModelError as error:
                reason = str(error).partition(";")[0]
        return size, without_gradients(model, seen, self._data, size, settings.seed, settings.provider), reason
