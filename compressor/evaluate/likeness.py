"""How far the outputs of a smaller model are from the original's: the truth where nobody has labels.

Distance and agreement say how much the function changed, not how good it is; but a model whose outputs are those of the
original is as good as the original, and one that agrees in one case of ten is a wreck, whatever its proof says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.config.data import DataSettings
from compressor.config.proof import RTOL
from compressor.config.training import LossSection
from compressor.core.arrays import Array
from compressor.core.compare import Tolerance, distance, has_rounding
from compressor.core.intervals import LEVEL
from compressor.data import Batch, Dataset, batches, subset
from compressor.data.output_forms import OutputForm, decide, vocabularies
from compressor.data.output_units import OutputUnits
from compressor.evaluate.excess import SHARE, estimates
from compressor.evaluate.statistics import DRAWS
from compressor.graph.ir.randomness import may_draw
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.metrics.evaluator import Evaluator
from compressor.pruning.proofs.outputs.standard import REPEATS
from compressor.results.detail import OutputsRow, Share


@dataclass
class _Tally:
    """What is known of one output: of each part of it, see ``units``, float64[parts, samples] for each model."""

    form: OutputForm
    units: OutputUnits = field(default_factory=OutputUnits)
    norms: list[npt.NDArray[np.float64]] = field(default_factory=list)
    gaps: list[npt.NDArray[np.float64]] = field(default_factory=list)
    same: list[npt.NDArray[np.float64]] = field(default_factory=list)
    votes: Counter[int] = field(default_factory=Counter)

    def add(self, original: Array, found: Sequence[Array], samples: int) -> None:
        one = original.astype(np.float64)
        others = [array.astype(np.float64) for array in found]
        self.norms.append(self.units.squares_by_sample(np.where(np.isinf(one), 0, one), samples))
        self.gaps.append(np.stack([self.units.squares_by_sample(_gap(one, two), samples) for two in others]))
        if self.form.kind == "kl":
            best = one.argmax(self.form.axis)
            # Several positions of a sample (pixels, tokens) count as the share of them that agree.
            agree = [(two.argmax(self.form.axis) == best).reshape(samples, -1).mean(axis=1) for two in others]
            self.same.append(np.stack(agree))
            chosen, counts = np.unique(best, return_counts=True)
            self.votes.update(dict(zip(chosen.tolist(), counts.tolist(), strict=True)))

    def chance(self) -> float:
        """How often two places drawn at random have the same largest class in the original."""
        # One class for whatever comes in is given by a ruined model too.
        return sum((count / self.votes.total()) ** 2 for count in self.votes.values())

    def farthest(self) -> _Moved:
        """The part of the output that the last model moved most."""
        norms, gaps = np.concatenate(self.norms, axis=1), np.concatenate(self.gaps, axis=2)
        parts = [_Moved(self.form.name, norms[k], gaps[:, k]) for k in range(len(norms))]
        return max(parts, key=lambda part: float(part.distances()[-1]))


@dataclass(frozen=True)
class _Moved:
    """How far an output, or a part of it, moved.

    Attributes:
        output: its name.
        norms: squares of the original's, float64[samples].
        gaps: squares of what it moved by, float64[models, samples].
    """

    output: str
    norms: npt.NDArray[np.float64]
    gaps: npt.NDArray[np.float64]

    def distances(self) -> npt.NDArray[np.float64]:
        """Relative distance of every model."""
        return np.asarray(np.sqrt(self.gaps.sum(axis=1) / (float(self.norms.sum()) or 1.0)))

    def interval(self, seed: int) -> tuple[float | None, float | None]:
        """Of the last model's distance, by the bootstrap over samples; none from one, as all draws are the same."""
        if len(self.norms) < 2:
            return None, None
        drawn = np.random.default_rng(seed).integers(0, len(self.norms), (DRAWS, len(self.norms)))
        whole = self.norms[drawn].sum(axis=1)
        found = np.sqrt(self.gaps[-1][drawn].sum(axis=1) / np.where(whole > 0, whole, 1.0))
        low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)


def outputs_row(models: Sequence[ir.Model], data: Dataset, settings: DataSettings, *, count: int) -> OutputsRow | None:
    """Compares models with the first of them on ``count`` samples of ``data``; None where nothing can be compared.

    Args:
        models: the original, the model after the cut where recovery followed, and the result.
        data: samples; labels are not read.
        settings: forms of outputs, seed, provider.
        count: samples, at most.

    Raises:
        ModelError: a model does not run on them.
    """
    tallies, samples, drawn = _tallies(models, data, settings, count)
    if not tallies or not samples:
        return None
    # One number stands for all outputs, so it is that of the worst.
    farthest = max((tally.farthest() for tally in tallies), key=lambda moved: float(moved.distances()[-1]))
    scores = next((tally for tally in tallies if tally.same), None)
    distances = farthest.distances()
    # Where the original itself gives no numbers, nothing is near or far.
    if np.isnan(distances).any():
        return None
    low, high = farthest.interval(settings.seed)
    agreement = None
    if scores is not None:
        same = np.concatenate(scores.same, axis=1)
        found = estimates([same[-1]], LEVEL, settings.seed, SHARE)[0]
        before = float(same[0].mean()) if len(models) > 2 else None
        agreement = Share(output=scores.form.name, cut=before, **found.model_dump())
    cut = float(distances[0]) if len(models) > 2 else None
    moved = Share(output=farthest.output, cut=cut, value=float(distances[-1]), low=low, high=high)
    chance = None if scores is None else scores.chance()
    return OutputsRow(
        samples=samples, distance=moved, agreement=agreement, chance=chance, compared=len(tallies), drawn=drawn
    )


def _tallies(
    models: Sequence[ir.Model], data: Dataset, settings: DataSettings, count: int
) -> tuple[list[_Tally], int, list[str]]:
    """Sums by output, the number of samples, and the names of outputs that are left out as they are drawn."""
    original, *others = models
    fixed = batch_limit(original)
    chosen = list(batches(subset(data, max(count, fixed or 0), settings.seed), fixed or settings.batch_size))
    chosen = [batch for batch in chosen if fixed is None or len(batch) == fixed]
    # One model after the other, so that only one session is open.
    first = _run(original, chosen, settings.provider)
    found = [_run(model, chosen, settings.provider) for model in others]
    names = [str(value.name) for value in original.graph.outputs]
    drawn = _drawn(original, chosen, settings.provider)
    tallies: list[_Tally] = []
    for number, batch in enumerate(chosen):
        if not number:
            given = _told(names, first[0], settings)
            found_forms = decide(names, first[0], batch.labels, given, vocabularies(original))
            forms = [form for form in found_forms if form.index not in drawn]
            counted = [form for form in forms if _counts(form, [run[0] for run in (first, *found)], len(batch))]
            tallies = [_Tally(form, _units(form, first[0][form.index])) for form in counted]
        for tally in tallies:
            index = tally.form.index
            tally.add(first[number][index], [run[number][index] for run in found], len(batch))
    return tallies, sum(map(len, chosen)), [names[index] for index in sorted(drawn)]


def _told(names: Sequence[str], outputs: Sequence[Array], settings: DataSettings) -> dict[str, str]:
    """Forms of outputs that settings tell: as training was told, or numbers where a metric of numbers judges."""
    if isinstance(settings, LossSection) and settings.output_form:
        return dict(settings.output_form)
    if not Evaluator.of(settings).against_original:
        return {}
    return {name: "mse" for name, array in zip(names, outputs, strict=True) if has_rounding(array)}


def _drawn(model: ir.Model, chosen: Sequence[Batch], provider: str) -> set[int]:
    """Places of outputs that are other ones each time the model runs on the same inputs."""
    if not chosen or not may_draw(model):
        return set()
    first, *again = _run(model, [chosen[0]] * (1 + REPEATS), provider)
    pairs = [(k, one, other) for run in again for k, (one, other) in enumerate(zip(first, run, strict=True))]
    return {k for k, one, other in pairs if not distance(one, other, Tolerance(RTOL)).passed}


def _run(model: ir.Model, chosen: Sequence[Batch], provider: str) -> list[list[Array]]:
    from compressor.runtime import sessions  # noqa: PLC0415 - slow to import, and many runs need none

    with sessions.opened(model, provider) as session:
        return [sessions.run_session(session, batch.inputs) for batch in chosen]


def _counts(form: OutputForm, outputs: Sequence[Sequence[Array]], samples: int) -> bool:
    """Can the output be compared: real numbers of one shape, the first axis counting samples?"""
    arrays = [found[form.index] for found in outputs]
    same = len({array.shape for array in arrays}) == 1
    return form.kind != "none" and same and arrays[0].ndim > 0 and len(arrays[0]) == samples


def _units(form: OutputForm, values: Array) -> OutputUnits:
    """Scores of classes are of one kind; numbers may be of several."""
    return OutputUnits.of(values) if form.kind == "mse" else OutputUnits()


def _gap(one: npt.NDArray[np.float64], two: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How far entries are apart: infinities of one sign not at all, and what is no number as far as can be."""
    with np.errstate(invalid="ignore"):
        return np.where(one == two, 0.0, np.nan_to_num(two - one, nan=np.inf))
