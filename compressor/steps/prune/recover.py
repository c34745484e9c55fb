"""Gives a model that was cut its accuracy back, in the way the settings ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.config import PruneSettings
from compressor.config.choices import RECOVERIES, REGULARIZERS
from compressor.core.clock import Clock
from compressor.data import Dataset
from compressor.data.synthetic import Synthetic
from compressor.errors import ModelError
from compressor.evaluate.stand_in import describe_samples
from compressor.graph.evaluate import may_draw
from compressor.metrics.evaluator import Evaluator, Measured, evaluator_for, labels_unread
from compressor.pruning.analysis import Analysis
from compressor.pruning.fresh_weights import reinitialised
from compressor.pruning.orthogonal_weights import orthogonalised
from compressor.pruning.select import Choice
from compressor.results import Report
from compressor.results.detail import AccuracyRow, OutputsRow, RecoveryRow, SyntheticRow
from compressor.steps.account import left_alone
from compressor.steps.prune.trainability import trainability_row
from compressor.steps.prune.trainer import Phase, Trainer
from compressor.steps.run_samples import NOT_COMPARED, RunSamples
from compressor.steps.run_sizes import run_size

if TYPE_CHECKING:
    from compressor.reconstruct import ReconstructOptions
    from compressor.structures.apply import Changed
    from compressor.structures.layer.change import LayerChange
    from compressor.train.sparsify import Sparsified

BEFORE_TRAINING = "lstsq"
"""Training starts from what this recovers: it takes seconds, and saves epochs."""
INEXACT_NOTE = (
    "what faded is not without effect when it is cut: a norm, a mean or a product of activations runs over it, so "
    "that outputs change then; what trains after the cut makes up for it"
)
NOT_RUN = "nothing was recovered: {reason}; give --data with samples that the model takes, or say --recover none"
ALL_DRAWN = "how far outputs moved was not measured: none of them is a number that is not drawn at random"
STAND_IN_NOTE = "no data was given, so made-up samples stood in for it; --data with real samples recovers more"


class Recovery:
    """The recovery of one run, which may cut several times.

    Attributes:
        model: as the last cut and its recovery left it.
        settings: of the run.
        changed: layers that became something cheaper; None where none did.

    Args:
        source: the original, which training imitates.
        settings: ``recover`` says how.
        samples: to learn from and judge on.
        clock: times what is done, and hears how training goes.
    """

    def __init__(self, source: ir.Model, settings: PruneSettings, samples: RunSamples | None, clock: Clock) -> None:
        self.model = source
        self._plain: ir.Model | None = None
        self._source, self._samples, self._clock = source, samples, clock
        self.settings = settings
        self._cut: ir.Model | None = None
        self.changed: Changed | None = None
        self._rows: list[RecoveryRow] = []
        self._warnings: list[str] = []
        self._steps = 0
        self._trainer = Trainer(source, settings, clock)
        self._judged = None if samples is None else samples.valid
        self._evaluator = evaluator_for(settings, self._judged, settings.max_drop)
        self._warnings += labels_unread(self._judged, self._evaluator)
        if settings.refit_last and samples is not None:
            from compressor.steps.prune.refit import demand_labels

            demand_labels(source, samples.train)
        # Measured before any work is done, so that labels or a metric that do not fit are said at once.
        # On the model before any cut, which the run may replace by then.
        self._original = None if self._evaluator is None else self._measured(self._evaluator, source)

    def sparsified(self, found: Analysis, choice: Choice) -> Sparsified | None:
        """Trains an analysed model towards a cut, if asked to; None where nothing is to be trained now.

        Methods that leave it to the trained weights what goes act before the first step alone.

        Raises:
            CompressorError: as :func:`compressor.train.sparsify.sparsify`.
        """
        name, samples = self.settings.sparsify, self._samples
        if name is None or samples is None:
            return None
        from compressor.train.regularizers.regularizer import AskedMethod
        from compressor.train.sparsify import BEFORE_A_CUT, TrainingMeans, sparsify

        # In later steps the channels that training made small are gone, and the rest was never made small.
        if self._steps and REGULARIZERS[name].decides == "after":
            return None
        trainer, step = self._trainer, self._steps + 1
        settings = trainer.placed(f"sparsify-{step}").model_copy(update={"epochs": self.settings.sparsify_epochs})
        with self._clock.phase("sparsify"):
            parts = trainer.parts(samples.train, samples.valid, found.model)
            means = TrainingMeans(self._source, parts, trainer.teller(self._steps))
            asked = AskedMethod(name, BEFORE_A_CUT, settings.sparsify_strength)
            done = sparsify(found, choice, asked, settings, means)
        self._warnings += done.warnings
        if REGULARIZERS[name].fades and not done.exact:
            self._warnings.append(INEXACT_NOTE)
        trainer.record(done.history, "sparsity training", self._steps)
        return done

    @property
    def plain(self) -> ir.Model:
        """The model with all weights as tensors, where :attr:`model` computes some from packed coefficients."""
        return self.model if self._plain is None else self._plain

    @property
    def idle(self) -> bool:
        """Does a cut stay as it is?"""
        return self.settings.recover == "none" and not self.settings.changes_layers

    def recover(
        self, dense: ir.Model, model: ir.Model, cut: ChannelMask, changes: Mapping[str, LayerChange] | None = None
    ) -> None:
        """Recovers the model that was cut and makes ``changes`` on the way; :attr:`model` is what comes of it.

        Args:
            dense: what was cut: what layers are fitted to.
            model: what is left of it; edited.
            cut: what went.
            changes: layers by node that become something cheaper.

        Raises:
            CompressorError: as :func:`compressor.reconstruct.recover` and :func:`compressor.train.finetune.finetune`.
        """
        self.model, self._plain = model, None
        self._steps += 1
        if self.idle:
            return
        # A clone costs little, since its weights are shared, and what is measured is put into the graph.
        dense = dense.clone()
        if changes:
            with self._clock.phase("recover"):
                self._change(model, dense, cut, changes)
        done = self.settings.recover == "none" or (changes and not self.settings.uses_gradients)
        if self._samples is not None and not done:
            self._regain(model, dense, cut, self._samples, changes)
        if self.changed is not None and self.changed.coefficients:
            from compressor.structures.interspace.store import with_stored

            # Last, as what is trained and fitted are plain numbers.
            self._plain = self.model
            self.model = with_stored(self.model, self.changed.coefficients, self.settings.coefficients)

    def _regain(
        self,
        model: ir.Model,
        dense: ir.Model,
        cut: ChannelMask,
        samples: RunSamples,
        changes: Mapping[str, LayerChange] | None,
    ) -> None:
        """Rebuilds and trains the model that was cut."""
        self._cut = None if changes else model.clone()
        with self._clock.phase("recover"):
            if self.settings.reinitialise == "no" and self.settings.rewind is None and not changes:
                self._attempt(model, dense, cut, samples)
            elif self.settings.reinitialise == "after":
                self.model = reinitialised(self.model, self.settings.seed)
            elif self.settings.reinitialise == "orthogonal":
                self.model = orthogonalised(self.model)
            if self.settings.trains:
                self.model = self._trainer.trained(self.model, samples, self.changed, self._steps)
            # Earlier steps are cut again, and what is fitted to their outputs goes with that.
            elif self.settings.recover == "distill" and self._steps == self.settings.steps:
                self.model = self._trainer.distilled(self.model, samples, self.changed, self._steps)

    def tickets(self, model: ir.Model) -> tuple[ir.Model, ir.Model] | None:
        """Fresh weights, trained for ``--rewind`` epochs, which cuts go back to, and what they become in ``--epochs``
        more, by which channels are chosen; None where nothing is rewound.
        """
        epochs, samples = self.settings.rewind, self._samples
        if epochs is None or samples is None:
            return None
        trainer, step = self._trainer, self._steps
        with self._clock.phase("train"):
            early = reinitialised(model, self.settings.seed)
            if epochs:
                early = trainer.trained(
                    early, samples, None, step, Phase("rewind", "training up to where it is rewound", epochs)
                )
            phase = Phase("whole", "training before the cut")
            return early, trainer.trained(early.clone(), samples, None, step, phase)

    def refit(self) -> None:
        """Fits the last layer to labels, if asked to."""
        if self.settings.refit_last and self._samples is not None:
            from compressor.steps.prune.refit import refitted

            with self._clock.phase("refit"):
                self._warnings.append(refitted(self.model, self._samples.train))

    def _attempt(self, model: ir.Model, dense: ir.Model, cut: ChannelMask, samples: RunSamples) -> None:
        """Rebuilds; leaves the cut as it is where nobody asked and the model does not run on made-up samples."""
        try:
            self._rebuild(model, dense, cut, samples)
        except ModelError as error:
            if samples.asked or self._cut is None:
                raise
            # The fit may have changed some layers before it failed.
            self.model = self._cut.clone()
            self._warnings.append(NOT_RUN.format(reason=str(error).partition(";")[0]))

    def added_to(self, report: Report) -> Report:
        """The report with what recovery did and what accuracy is left."""
        rows = []
        if self._evaluator is not None and self._original is not None:
            rows.append(self._accuracy(self._evaluator, self._original))
        compared = None
        if self._samples is not None and self._steps:
            with self._clock.phase("compare"):
                compared = self._outputs(self._samples)
        trainable = None
        if self.settings.trainability and self._samples is not None:
            with self._clock.phase("trainability"):
                trainable = trainability_row(self._source, self.model, self._samples.train)
        warnings = [*report.warnings, *dict.fromkeys([*self._warnings, *self._trainer.warnings])]
        return report.model_copy(
            update={
                "recovery": self._rows,
                "accuracy": rows,
                "outputs": compared,
                "synthetic": self._made_up(),
                "trainability": trainable,
                "curves": self._trainer.curves,
                "warnings": warnings,
                # What was done, and not what was meant to be done.
                "settings": {**report.settings, **({"recover": BEFORE_TRAINING} if self._trainer.left_out else {})},
            }
        )

    def _accuracy(self, evaluator: Evaluator, original: Measured) -> AccuracyRow:
        """The metric of the original, of what was cut in one step, and of the result."""
        once = self._cut if self._steps == 1 else None
        cut = self._measured(evaluator, once).value if once is not None else None
        after = self._measured(evaluator, self.model).value
        return evaluator.row(original.value, after, original.samples, self._judged).model_copy(update={"pruned": cut})

    def _measured(self, evaluator: Evaluator, model: ir.Model) -> Measured:
        with self._clock.phase("judge"):
            return evaluator.measure(model, self._judged, self._source)

    def _outputs(self, samples: RunSamples) -> OutputsRow | None:
        """How far outputs moved, on samples that recovery did not see where there are such."""
        cut = [self._cut] if self._steps == 1 and self._cut is not None else []
        try:
            row = samples.outputs_row(self._source, [*cut, self.model], self.settings)
        except ModelError as error:
            # Samples of the user's that the model does not take are a mistake, and not to be passed over.
            if samples.real or samples.valid is not None:
                raise
            self._warnings.append(NOT_COMPARED.format(reason=str(error).partition(";")[0]))
            return None
        self._warnings += [ALL_DRAWN] if row is None and may_draw(self._source) else []
        return row

    def _made_up(self) -> SyntheticRow | None:
        """What stood in for data; None where data was given, or none was needed."""
        train = None if self._samples is None else self._samples.train
        return describe_samples(train) if isinstance(train, Synthetic) else None

    def _change(self, model: ir.Model, dense: ir.Model, cut: ChannelMask, changes: Mapping[str, LayerChange]) -> None:
        """Makes changes: on samples where there are such and the model runs on them, else of the weights alone."""
        from compressor.steps.prune.changes import Making, make_changes

        samples = self._samples
        data = None if samples is None or self.settings.recover == "none" else samples.train
        making = Making(self.settings, self._clock, asked=samples is not None and samples.asked)
        making.fit_on(data, self._method, self._options(dense, data))
        self.changed = done = make_changes((model, dense), cut, changes, making)
        self.model = done.model
        self._warnings += making.notes
        self._rows += [RecoveryRow(name=r.node, error_before=r.before, error_after=r.after) for r in done.repairs]
        if data is not None and samples is not None and not samples.real:
            self._warnings.append(STAND_IN_NOTE)

    def _options(self, dense: ir.Model, data: Dataset | None) -> ReconstructOptions:
        from compressor.reconstruct import ReconstructOptions

        at_once = ReconstructOptions.batch_size if data is None else run_size(dense, data, self.settings)
        return ReconstructOptions(
            samples=self.settings.samples,
            batch_size=min(at_once, ReconstructOptions.batch_size),
            provider=self.settings.provider,
            seed=self.settings.seed,
        )

    @property
    def _method(self) -> str:
        return self.settings.recover if self.settings.recover in RECOVERIES else BEFORE_TRAINING

    def _rebuild(self, model: ir.Model, dense: ir.Model, cut: ChannelMask, samples: RunSamples) -> None:
        from compressor.reconstruct import recover

        done = recover(model, dense, cut, self._method, samples.train, self._options(dense, samples.train))
        self._rows += [RecoveryRow(name=r.node, error_before=r.before, error_after=r.after) for r in done.layers]
        self._warnings += left_alone(done.skipped)
        if not samples.real:
            self._warnings.append(STAND_IN_NOTE)
