"""Gives a model that was cut its accuracy back, in the way the settings ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from compressor.config import PruneSettings
from compressor.config.choices import RECOVERIES
from compressor.core.clock import Clock
from compressor.data import Dataset
from compressor.errors import ModelError
from compressor.pruning.cut.apply import CutModel
from compressor.pruning.fresh_weights import reinitialised
from compressor.pruning.orthogonal_weights import orthogonalised
from compressor.results.detail import Curve, RecoveryRow, UndoneRow
from compressor.steps.prune.trainer import Trained, Trainer
from compressor.steps.remarks import left_alone
from compressor.steps.run_samples import RunSamples, sized
from compressor.steps.run_sizes import run_size

if TYPE_CHECKING:
    from compressor.reconstruct import ReconstructOptions
    from compressor.reconstruct.task import LayerRepair
    from compressor.structures.apply import Changed
    from compressor.structures.layer.change import LayerChange

BEFORE_TRAINING = "lstsq"
"""Training starts from what this recovers: it takes seconds, and saves epochs."""
NOT_RECOVERED = "nothing was recovered: {reason}; give --data with samples that the model takes, or say --recover none"
STAND_IN_NOTE = "no data was given, so made-up samples stood in for it; --data with real samples recovers more"


@dataclass(frozen=True)
class Recovered:
    """What recovery made of a model that was cut.

    Attributes:
        plain: the model with all weights as tensors.
        packed: the same, with some computed from packed coefficients; None where none are packed.
        changed: layers that became something cheaper; None where none did.
        unrecovered: the model straight after the cut, for the report; None where nothing was recovered, or the cut was
            one of layers.
        layers: what was fitted, by layer.
        curves: of training.
        warnings: what the report has to say.
        untrained: a short training was not possible.
        undone: training that was thrown away.
        trained: settings of the last training, by name; empty without any.
    """

    plain: ir.Model
    packed: ir.Model | None = None
    changed: Changed | None = None
    unrecovered: ir.Model | None = None
    layers: tuple[RecoveryRow, ...] = ()
    curves: tuple[Curve, ...] = ()
    warnings: tuple[str, ...] = ()
    untrained: bool = False
    undone: tuple[UndoneRow, ...] = ()
    trained: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> ir.Model:
        """What the run goes on with."""
        return self.plain if self.packed is None else self.packed

    @property
    def keeps_training(self) -> bool:
        """Does the model have weights that training gave it?"""
        return bool(self.trained) and not self.undone

    def fitted(self, repairs: Sequence[LayerRepair], warnings: list[str]) -> Recovered:
        """The same after more layers were fitted."""
        layers = [RecoveryRow(name=r.node, error_before=r.before, error_after=r.after) for r in repairs]
        return replace(self, layers=(*self.layers, *layers), warnings=(*self.warnings, *warnings))

    def after(self, training: Trained) -> Recovered:
        """The same after it was trained."""
        warnings = (*self.warnings, *training.warnings)
        curves, undone = (*self.curves, *training.curves), (*self.undone, *training.undone)
        made = replace(self, plain=training.model, curves=curves, warnings=warnings, undone=undone)
        return replace(made, untrained=training.left_out, trained=training.ran)


@dataclass(frozen=True)
class Recovery:
    """How cuts of one run are recovered.

    Attributes:
        settings: ``recover`` says how.
        samples: to learn from; None where there are none.
        trainer: trains, where that is asked for.
        clock: times what is done.
    """

    settings: PruneSettings
    samples: RunSamples | None
    trainer: Trainer
    clock: Clock

    @property
    def idle(self) -> bool:
        """Does a cut stay as it is?"""
        return self.settings.recover == "none" and not self.settings.changes_layers

    def recover(self, cut: CutModel, changes: Mapping[str, LayerChange], number: int) -> Recovered:
        """Recovers a model that was cut, and makes ``changes`` on the way.

        Args:
            cut: what was cut; the smaller model is edited.
            changes: layers by node that become something cheaper.
            number: of the cut in its run, from 1.

        Raises:
            CompressorError: as :func:`compressor.reconstruct.recover` and :func:`compressor.train.finetune.finetune`.
        """
        recovered = Recovered(cut.small)
        if self.idle:
            return recovered
        # A clone costs little, since its weights are shared, and what is measured is put into the graph.
        cut = replace(cut, dense=cut.dense.clone())
        if changes:
            with self.clock.phase("recover"):
                recovered = self._with_changes(cut, changes)
        enough = self.settings.recover == "none" or (changes and not self.settings.uses_gradients)
        if self.samples is not None and not enough:
            if not changes:
                recovered = replace(recovered, unrecovered=cut.small.clone())
            with self.clock.phase("recover"):
                recovered = self._regained(recovered, cut, self.samples, number)
        if recovered.changed is not None and recovered.changed.coefficients:
            from compressor.structures.interspace.store import with_stored

            # Last, as what is trained and fitted are plain numbers.
            packed = with_stored(recovered.plain, recovered.changed.coefficients, self.settings.coefficients)
            recovered = replace(recovered, packed=packed)
        return recovered

    def _regained(self, recovered: Recovered, cut: CutModel, samples: RunSamples, number: int) -> Recovered:
        """The model rebuilt and trained, or with fresh weights."""
        settings = self.settings
        # Layers that changed were fitted as they did.
        if settings.reinitialise == "no" and settings.rewind is None and recovered.changed is None:
            recovered = self._attempt(recovered, cut, samples)
        elif settings.reinitialise == "after":
            recovered = replace(recovered, plain=reinitialised(recovered.plain, settings.seed))
        elif settings.reinitialise == "orthogonal":
            recovered = replace(recovered, plain=orthogonalised(recovered.plain))
        if settings.trains:
            return recovered.after(self.trainer.trained(recovered.plain, samples, recovered.changed, number))
        # Earlier steps are cut again, and what is fitted to their outputs goes with that.
        if settings.recover == "distill" and number == settings.steps:
            return recovered.after(self.trainer.distilled(recovered.plain, samples, recovered.changed, number))
        return recovered

    def _attempt(self, recovered: Recovered, cut: CutModel, samples: RunSamples) -> Recovered:
        """Rebuilds; leaves the cut as it is where nobody asked and the model does not run on made-up samples."""
        try:
            return self._rebuilt(recovered, cut, samples)
        except ModelError as error:
            if samples.asked or recovered.unrecovered is None:
                raise
            # The fit may have changed some layers before it failed.
            note = NOT_RECOVERED.format(reason=str(error).partition(";")[0])
            return replace(recovered, plain=recovered.unrecovered.clone(), warnings=(*recovered.warnings, note))

    def _rebuilt(self, recovered: Recovered, cut: CutModel, samples: RunSamples) -> Recovered:
        from compressor.reconstruct import recover

        options = self._options(cut.dense, samples.train)
        fit = recover(recovered.plain, cut.dense, cut.cut, self._method, samples.train, options)
        return recovered.fitted(fit.layers, [*left_alone(fit.skipped), *([] if samples.real else [STAND_IN_NOTE])])

    def _with_changes(self, cut: CutModel, changes: Mapping[str, LayerChange]) -> Recovered:
        """Makes changes: on samples where there are such and the model runs on them, else of the weights alone."""
        from compressor.steps.prune.changes import ChangeOptions, make_changes
        from compressor.structures.apply import Calibration

        samples = self.samples
        data = None if samples is None or self.settings.recover == "none" else samples.train
        # Training that matches values inside the original needs channels where they are there.
        how = Calibration(data, self._method, self._options(cut.dense, data), reorder=not self.settings.features)
        timed = sized(cut.dense, self.settings, samples)
        making = ChangeOptions(self.settings, self.clock, samples is not None and samples.asked, how, timed)
        changed, notes = make_changes(cut, changes, making)
        stood_in = [STAND_IN_NOTE] if data is not None and samples is not None and not samples.real else []
        return Recovered(changed.model, changed=changed).fitted(changed.repairs, [*notes, *stood_in])

    def _options(self, dense: ir.Model, data: Dataset | None) -> ReconstructOptions:
        from compressor.reconstruct import ReconstructOptions

        at_once = ReconstructOptions.batch_size if data is None else run_size(dense, data, self.settings)
        return ReconstructOptions(
            samples=self.settings.samples,
            batch_size=min(at_once, ReconstructOptions.batch_size),
            provider=self.settings.provider,
            seed=self.settings.seed,
            tell=self.clock.tell,
        )

    @property
    def _method(self) -> str:
        return fitted_by(self.settings)


def fitted_by(settings: PruneSettings) -> str:
    """The method in closed form that runs, before any training."""
    return settings.recover if settings.recover in RECOVERIES else BEFORE_TRAINING
