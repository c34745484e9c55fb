"""Training within a pruning run: before a cut, after it as the settings ask for it, or briefly of its own accord."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

import onnx_ir as ir

from compressor.channels.plan import PruningPlan
from compressor.config import PruneSettings
from compressor.config.choices import REGULARIZERS
from compressor.core.clock import Clock
from compressor.core.formatting import count
from compressor.core.metrics import Metrics
from compressor.data import Dataset, augmentation
from compressor.data.synthetic import Synthetic
from compressor.data.synthetic.dataset import UNSEEN
from compressor.errors import CompressorError, ModelError, UsageError
from compressor.evaluate.stand_in import stand_in
from compressor.graph.form.normalise import normalise
from compressor.pruning.budgets.select import Choice
from compressor.pruning.cut.analysis import Analysis
from compressor.pruning.fresh_weights import reinitialised
from compressor.results.detail import Curve, UndoneRow
from compressor.steps.prune.lowering import kept_in_training
from compressor.steps.prune.training_curves import training_curves
from compressor.steps.run_sizes import outputs_against

if TYPE_CHECKING:
    from compressor.structures.apply import Changed
    from compressor.train.finetune import TuneResult
    from compressor.train.loop.history import Event
    from compressor.train.loop.split import Splits

IN_VAIN = "training made it worse in every epoch, so the weights from before training are kept"
NEAR_OUTPUTS = 0.25
"""Distance of outputs, as a share of their norm, below which a short training gained nothing (docs/recovery.md)."""
INEXACT_NOTE = (
    "what faded is not without effect when it is cut: a norm, a mean or a product of activations runs over it, so "
    "that outputs change then; what trains after the cut makes up for it"
)
SHORT_TRAINING = "the short training after least squares"
NOT_DISTILLED = "weights were not trained after least squares, as {reason}"


class TrainingInputs(Protocol):
    """Samples of a run."""

    @property
    def train(self) -> Dataset:
        """Samples that weights are trained on."""

    @property
    def valid(self) -> Dataset | None:
        """Samples that the weights of each epoch are judged on; None where there are none."""


@dataclass(frozen=True)
class Phase:
    """One training of a run, and where its state and its curves go.

    Attributes:
        place: the folder of its checkpoint.
        title: of its curves.
        epochs: None: as the settings say.
    """

    place: str
    title: str
    epochs: int | None = None


@dataclass(frozen=True)
class Trained:
    """What a training made.

    Attributes:
        model: with trained weights.
        curves: of the training, for the report.
        warnings: what the report has to say about it.
        left_out: nothing was trained, as that was not possible.
        undone: what was trained and thrown away.
        ran: settings of the training, by name; empty where none was made.
    """

    model: ir.Model
    curves: tuple[Curve, ...] = ()
    warnings: tuple[str, ...] = ()
    left_out: bool = False
    undone: tuple[UndoneRow, ...] = ()
    ran: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedTowards(Trained):
    """What training towards a cut made.

    Attributes:
        plan: what goes: the one that was trained towards, or another of as many channels; None where the trained
            weights are to decide.
    """

    plan: PruningPlan | None = None


@dataclass(frozen=True)
class Tickets:
    """Fresh weights of two times.

    Attributes:
        kept: of an early epoch, which cuts go back to.
        chosen_by: what they became, by which channels are chosen.
    """

    kept: Trained
    chosen_by: Trained


class Trainer:
    """What trains in one run, which may cut several times.

    Args:
        source: the original, which is imitated.
        settings: of the run.
        clock: hears how it goes.
    """

    def __init__(self, source: ir.Model, settings: PruneSettings, clock: Clock) -> None:
        self._source, self._settings, self._clock = source, settings, clock
        self._metrics = Metrics(settings.metrics, resumed=settings.resume) if settings.metrics is not None else None

    def trained(
        self, model: ir.Model, samples: TrainingInputs, changed: Changed | None, step: int, phase: Phase | None = None
    ) -> Trained:
        """A copy, trained as the settings ask for.

        Args:
            model: after ``step`` cuts.
            samples: to train and judge on.
            changed: layers that became something cheaper, whose masks have to survive.
            step: number of the cut, from 1.
            phase: None: training after that cut.

        Raises:
            CompressorError: as :func:`compressor.train.finetune.finetune`.
        """
        from compressor.train.defaults import training_defaults
        from compressor.train.finetune import finetune
        from compressor.train.summary import undone_rows

        # Zeros of masks have to survive training, or the layer could not be written as it was chosen.
        phase = phase or Phase(f"step-{step}", "training")
        settings, extensions = kept_in_training(changed, self._placed(phase.place))
        settings = training_defaults(settings, model)
        settings = settings if phase.epochs is None else settings.model_copy(update={"epochs": phase.epochs})
        parts, observe = self._parts(samples.train, samples.valid, model), self._teller(step)
        tuned = finetune(model, settings, teacher=self._source, data=parts, extensions=extensions, observe=observe)
        in_vain = tuned.history.best_epoch == 0 and not tuned.history.notes
        slower = [f"{IN_VAIN}; try a smaller --learning-rate than {settings.learning_rate:g}"] if in_vain else []
        curves, undone = self._curves(tuned, phase.title, step), undone_rows(tuned, self._title(phase.title, step))
        return Trained(tuned.model, curves, (*tuned.warnings, *slower), undone=tuple(undone), ran=tuned.ran)

    def distilled(self, model: ir.Model, samples: TrainingInputs, changed: Changed | None, step: int) -> Trained:
        """A copy, trained for seconds to give what the original gives; the model itself where that is not possible.

        Args:
            model: after the last cut.
            samples: as of :meth:`trained`.
            changed: as of :meth:`trained`.
            step: as of :meth:`trained`.
        """
        from compressor.train.brief import MADE_UP_TO_JUDGE, WHY_MADE_UP, BriefSamples, TooSlow, distil
        from compressor.train.summary import undone_rows

        settings, extensions = kept_in_training(changed, self._settings)
        unseen = self._unseen(samples.train)
        called = MADE_UP_TO_JUDGE if isinstance(samples.train, Synthetic) else WHY_MADE_UP
        lines: list[dict[str, Any]] = []
        try:
            before = self._distance(model, unseen)
            if before < NEAR_OUTPUTS:
                return Trained(model)
            observe = self._teller(step, lines.append)
            chosen = BriefSamples(samples.train, unseen, called)
            tuned = distil(model, self._source, chosen, settings, extensions, observe)
            # What training lowers is a loss of probabilities, which can fall while outputs go astray.
            if (after := self._distance(tuned.model, unseen)) > before:
                row = UndoneRow(
                    what=SHORT_TRAINING,
                    measure="distance of outputs",
                    on=f"{count(0 if unseen is None else len(unseen), 'sample')} {called}",
                    before=before,
                    after=after,
                    seconds=round(tuned.history.seconds, 3),
                )
                return Trained(model, undone=(row,), ran=tuned.ran)
        # A graph that torch does not know, or computes otherwise, is no fault of the user, who asked for nothing.
        except (CompressorError, TooSlow) as error:
            return Trained(model, warnings=(NOT_DISTILLED.format(reason=str(error)),), left_out=True)
        # As the curves of the report: of what was undone there is nothing to draw.
        for line in lines:
            self._write(line)
        undone = tuple(undone_rows(tuned, SHORT_TRAINING))
        return Trained(tuned.model, self._curves(tuned, "training", step), undone=undone, ran=tuned.ran)

    def towards(self, analysis: Analysis, choice: Choice, samples: TrainingInputs, cuts: int) -> TrainedTowards | None:
        """The model trained towards a cut, if asked to; None where nothing is to be trained now.

        Methods that leave it to the trained weights what goes act before the first step alone.

        Args:
            analysis: the analysed model; not changed.
            choice: what would be cut now.
            samples: to train and judge on.
            cuts: how many came before.

        Raises:
            CompressorError: as :func:`compressor.train.sparsify.sparsify`.
        """
        name = self._settings.sparsify
        if name is None:
            return None
        from compressor.train.regularizers.regularizer import ChosenRegularizer
        from compressor.train.sparsify import BEFORE_A_CUT, TrainingMeans, sparsify

        # In later steps the channels that training made small are gone, and the rest was never made small.
        if cuts and REGULARIZERS[name].decides == "after":
            return None
        place = self._placed(f"sparsify-{cuts + 1}")
        settings = place.model_copy(update={"epochs": self._settings.sparsify_epochs})
        with self._clock.phase("sparsify"):
            parts = self._parts(samples.train, samples.valid, analysis.model)
            means = TrainingMeans(self._source, parts, self._teller(cuts))
            method = ChosenRegularizer(name, BEFORE_A_CUT, settings.sparsify_strength)
            sparse = sparsify(analysis, choice, method, settings, means)
        inexact = [INEXACT_NOTE] if REGULARIZERS[name].fades and not sparse.exact else []
        title, on = self._title("sparsity training", cuts), parts.judged(settings.samples).in_words()
        curves = tuple(training_curves(sparse.history, title, on))
        return TrainedTowards(sparse.model, curves, (*sparse.warnings, *inexact), plan=sparse.plan)

    def tickets(self, model: ir.Model, samples: TrainingInputs) -> Tickets | None:
        """Fresh weights, trained for ``--rewind`` epochs, and for ``--epochs`` more; None where nothing is rewound."""
        epochs = self._settings.rewind
        if epochs is None:
            return None
        with self._clock.phase("train"):
            kept = Trained(reinitialised(model, self._settings.seed))
            if epochs:
                until = Phase("rewind", "training up to where it is rewound", epochs)
                kept = self.trained(kept.model, samples, None, 0, until)
            phase = Phase("whole", "training before the cut")
            return Tickets(kept, self.trained(kept.model.clone(), samples, None, 0, phase))

    def _unseen(self, data: Dataset) -> Dataset | None:
        """Made-up samples that nothing was fitted to; None where none can be made."""
        if isinstance(data, Synthetic):
            return data.unseen()
        try:
            plain = self._settings.model_copy(update={"data": None})
            return stand_in(normalise(self._source.clone()), plain, UNSEEN).unseen()
        except (ModelError, UsageError):
            return None

    def _distance(self, model: ir.Model, data: Dataset | None) -> float:
        """How far outputs are from the original's, as a share of their norm; infinite where it cannot be measured.

        Raises:
            ModelError: a model does not run on ``data``.
        """
        if data is None:
            return inf
        row = outputs_against(self._source, [model], data, self._settings)
        return inf if row is None else row.distance.value

    def _placed(self, place: str) -> PruneSettings:
        """The settings with a checkpoint of its own; a phase that a resumed run had not reached begins."""
        settings = self._settings
        if settings.checkpoint is None:
            return settings
        settings.checkpoint.mkdir(parents=True, exist_ok=True)
        folder = settings.checkpoint / place
        # A run that was interrupted in an early phase has no checkpoint of later ones, and these begin from the start.
        phases = settings.sparsify is not None or settings.rewind is not None or settings.steps > 1
        later = phases and not folder.is_dir()
        return settings.model_copy(update={"checkpoint": folder, "resume": settings.resume and not later})

    def _parts(self, train: Dataset, valid: Dataset | None, model: ir.Model) -> Splits:
        """Samples as the loop takes them."""
        from compressor.train.loop.split import Splits, aside_of

        return Splits(train, valid, lambda epoch: augmentation(self._settings, model, epoch), aside_of(self._settings))

    def _title(self, phase: str, step: int) -> str:
        """What a training is called: with the number of its step where there are several, as ``training 2``."""
        return phase if self._settings.steps == 1 else f"{phase} {max(1, step)}"

    def _curves(self, tuned: TuneResult, phase: str, step: int) -> tuple[Curve, ...]:
        on = None if tuned.judged is None else tuned.judged.in_words()
        return tuple(training_curves(tuned.history, self._title(phase, step), on))

    def _write(self, line: dict[str, Any]) -> None:
        if self._metrics is not None:
            self._metrics.add(line)

    def _teller(self, step: int, write: Callable[[dict[str, Any]], None] | None = None) -> Callable[[Event], None]:
        """What receives the progress of training after ``step`` cuts.

        Args:
            step: number of the cut.
            write: takes what goes into ``--metrics``; None: it goes there at once.
        """
        write = write or self._write

        def tell(event: Event) -> None:
            write({"pruning_step": step, **event.as_json()})
            self._clock.tell(event.told("recover"))

        return tell
