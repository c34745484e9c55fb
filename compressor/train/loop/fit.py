"""The training loop. It knows modules, objectives and data; nothing of ONNX, pruning or unification.

Everything random is seeded anew before each step, from the seed, the process and the step, so that a run that is
resumed in the middle of an epoch goes on as if it had never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from typing import Any, Literal

import torch

from compressor.config import TuneSettings
from compressor.config.graph import GraphSection
from compressor.config.proof import ProofSection
from compressor.errors import UsageError
from compressor.train.loop import checkpoint
from compressor.train.loop.checkpoint import Checkpoint
from compressor.train.loop.distributed import Processes, world_of
from compressor.train.loop.errors import TrainingDiverged, memory_named
from compressor.train.loop.extension import Extension, RunningMean
from compressor.train.loop.history import EpochRecord, Event, History, Judgement
from compressor.train.loop.interrupt import Interruption, held_back
from compressor.train.loop.objective import DeviceBatch, Objective
from compressor.train.loop.precision import prefers_channels_last, set_memory_format
from compressor.train.loop.prefetch import Placing, feed
from compressor.train.loop.split import Courses, Splits
from compressor.train.loop.stepping import NotFinite, Stepper
from compressor.train.loop.throughput import Pace
from compressor.train.loop.validation import State, copied, evaluating, judge, put
from compressor.train.loop.watch import Watch, Worse, told

Observer = Callable[[Event], None]

FREE = frozenset({*GraphSection.own_fields(), *ProofSection.own_fields(), "data"}) - {"seed"}
"""Settings that may differ between a run and the one that resumes it, besides asides: how the model is read, written
and proved. What data and model are is compared by what is in them."""


def fit(
    module: torch.nn.Module,
    objective: Objective,
    data: Splits,
    settings: TuneSettings,
    *,
    extensions: Sequence[Extension] = (),
    observe: Observer | None = None,
) -> History:
    """Trains a module in place; afterwards it holds the weights that were judged best, on the training device.

    Args:
        module: called with the inputs by name; returns a tensor or a tuple.
        objective: what is minimised, and by what the best epoch is chosen; its teacher is moved to the device too.
        data: samples in the module's own types and shapes.
        settings: how. ``checkpoint`` is a folder, or None to keep nothing; ``resume`` goes on from there.
        extensions: called in this order.
        observe: receives progress, in the main process.

    Raises:
        TrainingDiverged: the loss is NaN or infinite; the module holds the weights of the last good epoch.
        CheckpointError: the checkpoint to resume from is missing, damaged or of another run.
        UsageError: there is no data, or not enough memory.
        KeyboardInterrupt: after Ctrl-C, when the checkpoint is written.
        SystemExit: the same after SIGTERM.
    """
    with ExitStack() as stack:
        world = world_of(settings.device)
        gpus = [world.device] if world.device.type == "cuda" else []
        # The caller's generators get their state back at the end; in between every step seeds the global ones.
        stack.enter_context(torch.random.fork_rng(gpus))
        stack.enter_context(memory_named(settings.batch_size))
        # Signals wait until a step is done, so that no checkpoint holds half a step.
        interruption = stack.enter_context(held_back())
        torch.manual_seed(settings.seed)
        run = _Run(module, objective, Courses(data, settings, world), settings, extensions)
        run.bind(world, interruption, observe if world.main else None)
        return run.whole()


@dataclass
class _Progress:
    """Where a run is, and what became of it so far; all of it JSON.

    Attributes:
        before: the judgement of the module as it came.
        epoch: epochs done.
        step: steps done in the epoch that runs.
        loss: sum of their losses.
        best: what is to be low of the weights that are kept: their loss over the judged samples, or a metric.
        best_epoch: whose weights these are.
        waited: epochs since then.
        records: of the epochs that are done.
        halvings: how often the learning rate was halved and training begun anew.
    """

    before: dict[str, Any] = field(default_factory=dict)
    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    best: float = float("inf")
    best_epoch: int = 0
    waited: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)
    halvings: int = 0


class _Run:
    """One call of :func:`fit`."""

    def __init__(
        self,
        module: torch.nn.Module,
        objective: Objective,
        courses: Courses,
        settings: TuneSettings,
        extensions: Sequence[Extension],
    ) -> None:
        self._module, self._objective, self._courses, self._settings = module, objective, courses, settings
        # The running mean comes last, so that it averages the weights as the other extensions leave them.
        self._extensions = [*extensions, *([RunningMean(settings.ema)] if settings.ema else [])]
        self._keeps_best = not any(extension.keeps_last for extension in extensions)
        self._metric = objective.epoch_metric
        self._at, self._pace = _Progress(), Pace()
        self._good: State = {}

    def bind(self, world: Processes, interruption: Interruption, observe: Observer | None) -> None:
        """Moves everything to the device of this process."""
        self._world, self._interruption, self._observe = world, interruption, observe
        last = prefers_channels_last(self._module)
        for module in (self._module, self._objective.teacher):
            if module is not None:
                set_memory_format(module.to(world.device), last)
        # A module of 16-bit floats was widened to float32 before; only one that kept them takes its inputs unwidened.
        half = any(p.dtype in (torch.float16, torch.bfloat16) for p in self._module.parameters())
        self._placing = Placing(world.device, half, last, self._objective.check)
        # Before the first step: the digest of the model stands for the weights that the run starts from.
        self._identity = self._describe() if self._settings.checkpoint is not None else {}
        self._steps = self._courses.steps * self._settings.epochs
        # Where the last weights count whatever they cost, worse ones are what was asked for.
        self._watch = Watch.of(self._steps) if self._keeps_best else None

    def whole(self) -> History:
        """From the first epoch, or from where the checkpoint stands, to the end."""
        begun = time.perf_counter()
        self._begin()
        while not self._done():
            pass
        return self._end(time.perf_counter() - begun)

    def _done(self) -> bool:
        """Trains to the end, unless the first steps were in vain and training has to begin anew."""
        try:
            while self._at.epoch < self._settings.epochs and not self._stopped:
                self._epoch()
                self._finish_epoch()
                self._save()
        except (NotFinite, Worse) as found:
            again = self._watch is not None and self._watch.again(found.step, self._at.halvings)
            if not again and isinstance(found, NotFinite):
                put(self._module, self._good)
                raise self._diverged(found) from None
            before = self._at.before
            self._at = _Progress(before, best=self._cost(Judgement(**before)), halvings=self._at.halvings + 1)
            self._good = self._first
            put(self._module, self._first)
            if again:
                self._start()
            return not again
        return True

    def _start(self) -> None:
        """An optimiser without a past, at the rate that is left of the one that was asked for."""
        rate = self._settings.learning_rate / 2**self._at.halvings
        settings = self._settings.model_copy(update={"learning_rate": rate})
        self._stepper = Stepper(self._module, self._objective, self._extensions, settings, self._world)
        self._stepper.start(self._steps)

    @property
    def _stopped(self) -> bool:
        waited = self._keeps_best and 0 < self._settings.patience <= self._at.waited
        return waited or any(extension.finished for extension in self._extensions)

    def _begin(self) -> None:
        # A run that is resumed is given the weights from before, too.
        self._first = copied(self._module) if self._watch is not None else {}
        if self._settings.resume:
            self._load()
            return
        self._start()
        before = self._judged()
        if not isfinite(before.loss):
            raise TrainingDiverged(
                f"the loss is {before.loss} before the first step; look for NaN or infinity in the model and the data"
            )
        self._at.before, self._at.best = asdict(before), self._cost(before)
        self._good = self._first or copied(self._module)

    def _epoch(self) -> None:
        # The losses are added up on the device: reading each of them would wait for the device in every step.
        at, total = self._at, torch.zeros((), dtype=torch.float64, device=self._world.device)
        total += at.loss
        self._module.train()
        batches = feed(self._courses.epoch(at.epoch, at.step), self._placing)
        self._pace.go()
        for batch in batches:
            # Counted over the whole run, not the epoch, because the seed of the step is made of it.
            index = at.epoch * self._courses.steps + at.step
            stop = self._interruption.number > 0
            loss, stop = self._stepper.step(batch, index, self._courses.whole, stop)
            total += loss.to(total.device)
            at.step += 1
            self._pace.step(self._courses.whole)
            if stop:
                # Ends the thread that prepares batches, which would otherwise go on while the checkpoint is written.
                batches.close()
                self._leave(float(total))
            if self._watch is not None and self._watch.step == index + 1:
                self._look(self._watch, batches)
            if self._observe is not None and self._pace.due():
                self._tell("step", float(total) / at.step)
        # On a GPU nobody has looked at the last loss of the epoch yet.
        self._stepper.check_waiting()
        at.loss = float(total)

    def _look(self, watch: Watch, batches: Generator[DeviceBatch]) -> None:
        """Raises Worse where the first steps were in vain."""
        try:
            # By the loss alone: a metric of the user's may take long, and is asked for epochs.
            with self._weights_to_judge():
                watch.demand_sound(Judgement(**self._at.before), self._loss_judged())
        except Worse:
            batches.close()
            raise

    def _leave(self, total: float) -> None:
        """Writes the checkpoint and lets the signal have its way."""
        self._stepper.check_waiting()
        self._at.loss = total
        self._save()
        self._interruption.deliver()

    def _finish_epoch(self) -> None:
        at = self._at
        at.epoch += 1
        loss, steps = at.loss / at.step, at.step
        at.step, at.loss = 0, 0.0
        # Before the epoch is judged: what extensions do here belongs to the weights that are judged.
        for extension in self._extensions:
            extension.after_epoch(self._module, at.epoch)
        # All processes have to judge the same network, and these statistics are the only thing in which theirs
        # differ.
        self._world.average_statistics(self._module)
        found = self._judged()
        if not isfinite(found.loss):
            raise NotFinite(at.epoch * steps, found.loss)
        self._compare(found)
        valid = found if self._courses.sets_aside else None
        record = EpochRecord(at.epoch, loss, self._stepper.rate, self._pace.busy, self._pace.rate, valid)
        at.records.append(asdict(record))
        self._tell("epoch", loss, valid)

    def _compare(self, found: Judgement) -> None:
        """Keeps the weights as the good ones: those that were judged best, or else the last."""
        at, cost = self._at, self._cost(found)
        better = cost < at.best
        at.waited = 0 if better else at.waited + 1
        # Without samples set aside the last epoch counts as the best, for those for training flatter later ones; but
        # what is worse even on these is worse.
        last = not self._courses.sets_aside and cost <= self._cost(Judgement(**at.before))
        if better or last or not self._keeps_best:
            at.best, at.best_epoch = cost, at.epoch
            with self._weights_to_judge():
                self._good = copied(self._module)

    def _weights_to_judge(self) -> AbstractContextManager[None]:
        averages = [found for e in self._extensions if (found := e.averaged(self._module)) is not None]
        return evaluating(self._module, averages[-1] if averages else None)

    def _judged(self) -> Judgement:
        with self._weights_to_judge():
            return self._judged_as_is()

    def _cost(self, found: Judgement) -> float:
        """What is lower for better weights."""
        if self._metric is None or found.metric is None:
            return found.loss
        return -found.metric if self._metric.higher_is_better else found.metric

    @property
    def _metric_name(self) -> str | None:
        return self._objective.metric_name if self._metric is None else self._metric.name

    def _end(self, seconds: float) -> History:
        put(self._module, self._good)
        self._module.eval()
        at = self._at
        # Where no epoch was better the module holds the first weights again, which have been judged already.
        after = Judgement(**at.before) if at.best_epoch == 0 else self._judged_as_is()
        records = [EpochRecord(**{**r, "valid": Judgement(**r["valid"]) if r["valid"] else None}) for r in at.records]
        return History(
            before=Judgement(**at.before),
            after=after,
            metric_name=self._metric_name,
            epochs=records,
            best_epoch=at.best_epoch,
            stopped_early=self._stopped and at.epoch < self._settings.epochs,
            steps=at.epoch * self._courses.steps,
            seconds=seconds,
            device=str(self._world.device),
            notes=told(self._settings.learning_rate, at.halvings, trained=bool(records)),
        )

    def _judged_as_is(self) -> Judgement:
        """Loss and metric of the weights that the module holds."""
        with evaluating(self._module, None):
            found = self._loss_judged()
            return found if self._metric is None else replace(found, metric=self._metric.of(self._world))

    def _loss_judged(self) -> Judgement:
        """The loss over the judged samples, and what is measured along with it."""
        batches, stepper = feed(self._courses.judged(), self._placing), self._stepper
        return judge(stepper.forward, self._objective, batches, stepper.precision, self._world)

    def _tell(self, kind: Literal["step", "epoch"], loss: float, valid: Judgement | None = None) -> None:
        if self._observe is None:
            return
        at = self._at
        done = at.epoch * self._courses.steps + at.step
        event = Event(
            kind=kind,
            epoch=at.epoch + (kind == "step"),
            epochs=self._settings.epochs,
            step=done,
            steps=self._steps,
            loss=loss,
            learning_rate=self._stepper.rate,
            metric_name=self._metric_name,
            metric=None if valid is None else valid.metric,
            valid_loss=None if valid is None else valid.loss,
            images_per_second=self._pace.rate,
            eta_seconds=self._pace.left(self._steps - done),
        )
        self._observe(event)

    def _diverged(self, found: NotFinite) -> TrainingDiverged:
        epoch = (found.step - 1) // self._courses.steps + 1
        kept = f"the weights of epoch {self._at.best_epoch}" if self._at.best_epoch else "the weights from before"
        return TrainingDiverged(
            f"the loss is {found.value} at step {found.step} (epoch {epoch}); {kept} are kept; try a smaller "
            f"--learning-rate than {self._settings.learning_rate:g}"
        )

    # ---- checkpoints

    def _describe(self) -> dict[str, Any]:
        """What must agree between a run and the one that resumes it."""
        settings = self._settings.model_dump(mode="json", exclude={*FREE, *self._settings.asides()})
        teacher = self._objective.teacher
        return {
            "settings": settings,
            "model": checkpoint.tensors_digest(self._module.state_dict().items()),
            "original model": None if teacher is None else checkpoint.tensors_digest(teacher.state_dict().items()),
            "data": self._courses.identity(),
            "processes": self._world.size,
            "extensions": len(self._extensions),
        }

    def _save(self) -> None:
        folder = self._settings.checkpoint
        # All processes hold the same state, and one file is enough.
        if folder is None or not self._world.main:
            return
        parts = {
            "progress": asdict(self._at),
            "module": dict(self._module.state_dict()),
            "good": dict(self._good),
            "optimiser": self._stepper.state_dict(),
            **{f"extension {k}": e.state_dict() for k, e in enumerate(self._extensions)},
        }
        checkpoint.save_checkpoint(folder, Checkpoint(self._identity, parts))

    def _load(self) -> None:
        folder = self._settings.checkpoint
        if folder is None:
            raise UsageError("a run resumes from a checkpoint; name its folder with --checkpoint")
        parts = checkpoint.load_checkpoint(folder, self._identity).parts
        self._at = _Progress(**parts["progress"])
        self._start()
        put(self._module, parts["module"])
        own = self._module.state_dict()
        # In the layout of the module, as a resumed run must sum in the same order.
        self._good = {name: torch.empty_like(own[name]).copy_(tensor) for name, tensor in parts["good"].items()}
        self._stepper.load_state_dict(parts["optimiser"])
        for index, extension in enumerate(self._extensions):
            extension.load_state_dict(parts[f"extension {index}"])
