"""Training of a model that was cut, within a pruning run: as the settings ask for it, or briefly of its own accord."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

import onnx_ir as ir

from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.core.metrics import Metrics
from compressor.data import Dataset, augmentation
from compressor.data.synthetic import Synthetic
from compressor.data.synthetic.dataset import UNSEEN
from compressor.errors import CompressorError, ModelError, UsageError
from compressor.evaluate.stand_in import stand_in
from compressor.graph.normalise import normalise
from compressor.results.detail import Curve
from compressor.steps.prune.curves import training_curves
from compressor.steps.prune.lowering import kept_in_training
from compressor.steps.run_sizes import outputs_against

if TYPE_CHECKING:
    from compressor.structures.apply import Changed
    from compressor.train.loop.history import Event, History
    from compressor.train.loop.split import Splits

IN_VAIN = "training made it worse in every epoch, so the weights from before training are kept"
NEAR = 0.25
"""Distance of outputs, as a share of their norm, below which a short training gained nothing (docs/recovery.md)."""
NOT_DISTILLED = "weights were not trained after least squares, as {reason}"


class TrainingInputs(Protocol):
    """Samples of a run."""

    @property
    def train(self) -> Dataset:
        """To train on."""

    @property
    def valid(self) -> Dataset | None:
        """To judge on; None where there are none."""


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


class Trainer:
    """What trains in one run, which may cut several times.

    Attributes:
        curves: of all training.
        warnings: what the report has to say about it.
        left_out: a short training could not be done.

    Args:
        source: the original, which is imitated.
        settings: of the run.
        clock: hears how it goes.
    """

    def __init__(self, source: ir.Model, settings: PruneSettings, clock: Clock) -> None:
        self._source, self._settings, self._clock = source, settings, clock
        self.curves: list[Curve] = []
        self.warnings: list[str] = []
        self.left_out = False
        self._metrics = Metrics(settings.metrics, resumed=settings.resume) if settings.metrics is not None else None

    def trained(
        self, model: ir.Model, samples: TrainingInputs, changed: Changed | None, step: int, phase: Phase | None = None
    ) -> ir.Model:
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

        # Zeros of masks have to survive training, or the layer could not be written as it was chosen.
        phase = phase or Phase(f"step-{step}", "training")
        settings, extensions = kept_in_training(changed, self.placed(phase.place))
        settings = training_defaults(settings, model)
        settings = settings if phase.epochs is None else settings.model_copy(update={"epochs": phase.epochs})
        parts, observe = self.parts(samples.train, samples.valid, model), self.teller(step)
        done = finetune(model, settings, teacher=self._source, data=parts, extensions=extensions, observe=observe)
        self.warnings += done.warnings
        self.record(done.history, phase.title, step)
        if done.history.best_epoch == 0 and not done.history.notes:
            self.warnings.append(f"{IN_VAIN}; try a smaller --learning-rate than {settings.learning_rate:g}")
        return done.model

    def distilled(self, model: ir.Model, samples: TrainingInputs, changed: Changed | None, step: int) -> ir.Model:
        """A copy, trained for seconds to give what the original gives; the model itself where that is not possible.

        Args:
            model: after the last cut.
            samples: as of :meth:`trained`.
            changed: as of :meth:`trained`.
            step: as of :meth:`trained`.
        """
        from compressor.train.brief import TooSlow, distil

        settings, extensions = kept_in_training(changed, self._settings)
        unseen = self._unseen(samples.train)
        lines: list[dict[str, Any]] = []
        try:
            before = self._distance(model, unseen)
            if before < NEAR:
                return model
            observe = self.teller(step, lines.append)
            done = distil(model, self._source, (samples.train, unseen), settings, extensions, observe)
            # What training lowers is a loss of probabilities, which can fall while outputs go astray.
            if self._distance(done.model, unseen) > before:
                return model
        # A graph that torch does not know, or computes otherwise, is no fault of the user, who asked for nothing.
        except (CompressorError, TooSlow) as error:
            self.left_out = True
            self.warnings.append(NOT_DISTILLED.format(reason=str(error)))
            return model
        self.record(done.history, "training", step)
        # As the curves of the report: of what was undone there is nothing to draw.
        for line in lines:
            self._write(line)
        return done.model

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

    def placed(self, place: str) -> PruneSettings:
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

    def parts(self, train: Dataset, valid: Dataset | None, model: ir.Model) -> Splits:
        """Samples as the loop takes them."""
        from compressor.train.loop.split import Splits

        return Splits(train, valid, lambda epoch: augmentation(self._settings, model, epoch))

    def record(self, history: History, phase: str, step: int) -> None:
        """Adds the curves of a phase."""
        self.curves += training_curves(history, phase if self._settings.steps == 1 else f"{phase} {max(1, step)}")

    def _write(self, line: dict[str, Any]) -> None:
        if self._metrics is not None:
            self._metrics.add(line)

    def teller(self, step: int, write: Callable[[dict[str, Any]], None] | None = None) -> Callable[[Event], None]:
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
