"""Trains a model until its weights are on their sets, in two phases: near to them, then along them.

A method brings the weights near (`compressor.train.constraints.constrained`); they are projected, which fixes the
kinds and signs of their blocks; and retraining moves what is left, one number in a unified block. Nothing here
imports torch until it trains.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from compressor.config import UnifySettings
from compressor.config.choices import METHODS
from compressor.config.data import validation
from compressor.config.training import LEARNING_RATES, TOWARDS_A_SET
from compressor.core.arrays import Array
from compressor.core.clock import Clock
from compressor.core.extras import TRAINING_PACKAGES, require
from compressor.core.metrics import Metrics
from compressor.data import Dataset, augmentation, open_data, open_parts
from compressor.errors import ModelError
from compressor.graph.ir.edit import constant_array
from compressor.results.detail import UndoneRow
from compressor.unification.assignment import Kinds
from compressor.unification.packed import in_work_type
from compressor.unification.subspace import Targets, subspace_of

if TYPE_CHECKING:
    from compressor.train.constraints.constrained import Approach, Residual
    from compressor.train.loop.extension import Extension
    from compressor.train.loop.fit import Observer
    from compressor.train.loop.history import Event
    from compressor.train.loop.split import Splits
    from compressor.train.reparameterize.batchnorm import GroupNumbers, Insertion


APPROACH, RETRAINING = "training towards shared values", "training of weights that share values"
"""What either part of a training is called where it is undone."""


@dataclass(frozen=True)
class UnifySamples:
    """What a run reads.

    Attributes:
        train: to learn from.
        valid: set aside to judge on, labels or not; None where nothing is.
    """

    train: Dataset
    valid: Dataset | None

    @staticmethod
    def judging(settings: UnifySettings, model: ir.Model) -> Dataset | None:
        """Samples to judge on, of a run that learns from none; None where none are named. Raises as :meth:`of`."""
        other = validation(settings)
        return None if other is None else open_data(other, model)

    @staticmethod
    def of(settings: UnifySettings, model: ir.Model) -> UnifySamples | None:
        """Opens the user's data, if any; where nothing is trained all of it is there to judge on.

        Raises:
            UsageError: the data is unreadable or does not fit the model; or torch, which training needs, is missing.
        """
        if settings.data is None:
            return None
        # Nothing is learnt, so nothing has to be set aside.
        if not settings.trains:
            other = validation(settings)
            whole = open_data(settings, model)
            return UnifySamples(whole, open_data(other, model) if other is not None else whole)
        require(f"--method {settings.method}", *TRAINING_PACKAGES)
        train, valid = open_parts(settings, model)
        return UnifySamples(train, valid if len(valid) else None)


@dataclass
class SetTraining:
    """What training made.

    Attributes:
        model: with trained weights, those of the targets on their sets but for rounding.
        kinds: of the blocks of each target, or the codes of its weights.
        residuals: on the way there.
        warnings: what the user should know.
        undone: phases that were thrown away.
        ran: settings of each phase, by name.
        chosen: a phase ended with the best of its epochs by the samples that judge the result.
    """

    model: ir.Model
    kinds: dict[str, Kinds] = field(default_factory=dict)
    residuals: list[Residual] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    undone: list[UndoneRow] = field(default_factory=list)
    ran: list[dict[str, Any]] = field(default_factory=list)
    chosen: bool = False

    def warn(self, *texts: str) -> None:
        """Adds a warning that is not there yet."""
        self.warnings += [text for text in texts if text not in self.warnings]


class ProgressLines:
    """Says how training goes, on the clock and as lines of JSON.

    Args:
        settings: may name the file of lines, which a resumed run goes on writing.
        clock: is told.
    """

    def __init__(self, settings: UnifySettings, clock: Clock) -> None:
        self._lines = Metrics(settings.metrics, resumed=settings.resume) if settings.metrics is not None else None
        self._clock = clock

    def __call__(self, phase: str, event: Event, residual: Residual | None) -> None:
        """Writes what happened in a phase to the file of metrics, and tells the clock."""
        if self._lines is not None:
            far = {} if residual is None else {"residual": asdict(residual)}
            self._lines.add({"phase": phase, **event.as_json(), **far})
        gap = "" if residual is None else f", {residual.primal:.3f} off the blocks"
        self._clock.tell(event.told(phase, gap))


@dataclass
class UnificationTraining:
    """Both phases.

    Attributes:
        model: before training; not changed.
        teacher: is imitated.
        targets: what its weights become.
        settings: with the checkpoint folder, in which each phase has its own.
        samples: to train and to judge on.
        watch: receives progress.
    """

    model: ir.Model
    teacher: ir.Model
    targets: Targets
    settings: UnifySettings
    samples: UnifySamples
    watch: ProgressLines

    def run(self) -> SetTraining:
        """The trained model.

        Raises:
            CompressorError: as :func:`compressor.train.finetune.finetune`.
        """
        trained = SetTraining(self.model)
        if self.settings.checkpoint is not None:
            # A phase makes its own folder, but not those above it.
            self.settings.checkpoint.mkdir(parents=True, exist_ok=True)
        if self.settings.approach_epochs:
            self._approach(trained)
        trained.model, trained.kinds = imposed(trained.model, self.targets)
        if self.settings.retrain_epochs:
            self._retrain(trained)
        return trained

    def _approach(self, trained: SetTraining) -> None:
        # Without means of weights and patience: what is judged are projections, and the last phase decides.
        settings = self._phase("approach", self.settings.approach_epochs).model_copy(update=TOWARDS_A_SET)
        method = METHODS.find(self.settings.method)(self.settings, self.targets)
        self._tune(trained, settings, method, partial(self._tell, "approach", method), APPROACH)
        trained.residuals = method.residuals

    def _retrain(self, trained: SetTraining) -> None:
        from compressor.train.constraints.masked import SubspaceProjection  # noqa: PLC0415 - torch is loaded for training only

        settings = self._phase("retrain", self.settings.retrain_epochs)
        settings = settings.model_copy(update={"learning_rate": self.settings.retrain_rate})
        held = SubspaceProjection(
            {name: partial(subspace_of, t, trained.kinds[name]) for name, t in self.targets.items()}
        )
        self._tune(trained, settings, held, partial(self._tell, "retrain", None), RETRAINING)

    def _tune(
        self, trained: SetTraining, settings: UnifySettings, extension: Extension, observe: Observer, what: str
    ) -> None:
        """Fine-tunes, between normalisations that keep what blocks share where they are asked for.

        ``what`` names this training where it is undone.
        """
        from compressor.train import training_options  # noqa: PLC0415 - torch is loaded for training only
        from compressor.train.constraints.constrained import ConstraintDiverged  # noqa: PLC0415
        from compressor.train.constraints.tied_batchnorm import Tied, ties_of  # noqa: PLC0415
        from compressor.train.finetune import finetune  # noqa: PLC0415
        from compressor.train.summary import undone_rows  # noqa: PLC0415

        parts, extensions = self._parts(), [extension]
        inserted = self._inserted(trained, settings, parts)
        model = inserted.model if inserted else trained.model
        plain = settings.model_copy(update={"insert_bn": False, "train_bn": bool(inserted) or settings.train_bn})
        if inserted:
            extensions.append(Tied(ties_of(model, self._ties)))
        # The default rate is for networks with the norms that could not be put in.
        elif not self.settings.given("learning_rate", "retrain_rate"):
            plain = plain.model_copy(update={"learning_rate": LEARNING_RATES[settings.optimiser]})
        try:
            done = finetune(model, plain, teacher=self.teacher, data=parts, extensions=extensions, observe=observe)
            model, warnings = done.model, done.warnings
            trained.undone += undone_rows(done, what)
            trained.ran.append(done.ran)
            trained.chosen |= done.history.chosen
        # The phase ends, and the next one goes on from the nearest weights.
        except ConstraintDiverged as away:
            model, warnings = away.model or model, [str(away)]
        trained.model = training_options.without_batchnorm(model, settings, parts.train) if inserted else model
        trained.warn(*warnings)

    def _inserted(self, trained: SetTraining, settings: UnifySettings, parts: Splits) -> Insertion | None:
        """The model with normalisations put in, or None where it has none that were put in."""
        from compressor.train import training_options  # noqa: PLC0415 - torch is loaded for training only

        if not settings.insert_bn:
            return None
        try:
            inserted = training_options.with_batchnorm(trained.model, settings, parts.train, self._ties)
        except ModelError as error:
            trained.warn(f"trained without BatchNormalization put in: {error}")
            return None
        # Where statistics fit no layer there is nothing to fold, and nothing to train with another rate.
        return inserted if inserted.nodes else None

    @cached_property
    def _ties(self) -> dict[str, GroupNumbers]:
        """Outputs whose filters keep their ratios, by the name of the weight."""
        return {name: ties for name, target in self.targets.items() if (ties := target.ties()) is not None}

    def _phase(self, name: str, epochs: int) -> UnifySettings:
        """The settings of one phase, with a checkpoint of its own; a resumed run begins a phase it had not reached."""
        folder = self.settings.checkpoint and self.settings.checkpoint / name
        begun = name == "approach" or (folder is not None and folder.is_dir())
        # A phase that the stopped run had not reached has no checkpoint to resume from.
        resume = self.settings.resume and (begun or not self.settings.approach_epochs)
        return self.settings.model_copy(update={"checkpoint": folder, "epochs": epochs, "resume": resume})

    def _parts(self) -> Splits:
        from compressor.train.loop.split import Splits, aside_of  # noqa: PLC0415 - torch is loaded for training only

        train, valid = self.samples.train, self.samples.valid
        return Splits(
            train, valid, lambda epoch: augmentation(self.settings, self.model, epoch), aside_of(self.settings)
        )

    def _tell(self, phase: str, method: Approach | None, event: Event) -> None:
        known = method.residuals if method is not None else []
        self.watch(phase, event, known[-1] if known else None)


def imposed(model: ir.Model, targets: Targets) -> tuple[ir.Model, dict[str, Any]]:
    """A copy whose weights are projected onto their sets, and the kinds of their blocks."""
    copy, kinds = model.clone(), {}
    for name, target in targets.items():
        value = copy.graph.initializers[name]
        weight = wide_array(value)
        kinds[name] = target.kinds(weight)
        # Projected in float32 and rounded once; the phase that follows holds it on the set.
        narrow = np.ascontiguousarray(target.impose(weight, kinds[name])).astype(constant_array(value).dtype)
        value.const_value = ir.tensor(narrow, name=name)
    return copy, kinds


def wide_array(value: ir.Value) -> Array:
    """The numbers of an initializer, in float32 or wider."""
    return in_work_type(constant_array(value))


def remove_checkpoints(folder: Path) -> None:
    """Removes what the phases left in a folder, and the folder where that leaves it empty."""
    from compressor.train.loop import checkpoint  # noqa: PLC0415 - torch is loaded for training only

    for name in ("approach", "retrain"):
        checkpoint.remove_checkpoint(folder / name)
    checkpoint.remove_checkpoint(folder)
