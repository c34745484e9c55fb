"""The training loop. It knows modules, objectives and data; nothing of ONNX, pruning or unification.

Everything random is seeded anew before each step, from the seed, the process and the step, so that a run that is
resumed in the middle of an epoch goes on as if it had never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Literal

import torch

from compressor.config import TuneSettings
from compressor.config.graph import GraphSection
from compressor.config.proof import ProofSection
from compressor.errors import TrainingDiverged, UsageError
from compressor.train.loop import checkpoint
from compressor.train.loop.checkpoint import Checkpoint
from compressor.train.loop.distributed import Processes, processes_of
from compressor.train.loop.errors import memory_named
from compressor.train.loop.extension import Extension, RunningMean
from compressor.train.loop.history import EpochRecord, Event, History, Judgement
from compressor.train.loop.interrupt import Interruption, held_back
from compressor.train.loop.judging import WeightJudge
from compressor.train.loop.objective import DeviceBatch, Objective
from compressor.train.loop.precision import prefers_channels_last, set_memory_format
from compressor.train.loop.prefetch import Placing, feed
from compressor.train.loop.progress import RunProgress
from compressor.train.loop.split import BatchSampler, Splits
from compressor.train.loop.stepping import NotFinite, Stepper
from compressor.train.loop.throughput import Throughput
from compressor.train.loop.validation import State, copied, put
from compressor.train.loop.watch import Watch, Worse, rate_notes

Observer = Callable[[Event], None]

MAY_DIFFER = frozenset({*GraphSection.own_fields(), *ProofSection.own_fields(), "data"}) - {"seed"}
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
        processes = processes_of(settings.device)
        gpus = [processes.device] if processes.device.type == "cuda" else []
        # The caller's generators get their state back at the end; in between every step seeds the global ones.
        stack.enter_context(torch.random.fork_rng(gpus))
        stack.enter_context(memory_named(settings.batch_size))
        # Signals wait until a step is done, so that no checkpoint holds half a step.
        interruption = stack.enter_context(held_back())
        torch.manual_seed(settings.seed)
        process = _Process(processes, interruption, observe if processes.main else None)
        return _Run(module, objective, BatchSampler(data, settings, processes), settings, extensions, process).whole()


@dataclass(frozen=True)
class _Process:
    """What is of this process: its device, the signals that reach it, and who hears of progress."""

    processes: Processes
    interruption: Interruption
    observe: Observer | None


class _Run:
    """One call of :func:`fit`, on the device of this process."""

    def __init__(
        self,
        module: torch.nn.Module,
        objective: Objective,
        sampler: BatchSampler,
        settings: TuneSettings,
        extensions: Sequence[Extension],
        process: _Process,
    ) -> None:
        self._module, self._objective, self._sampler, self._settings = module, objective, sampler, settings
        self._processes, self._interruption, self._observe = process.processes, process.interruption, process.observe
        # The running mean comes last, so that it averages the weights as the other extensions leave them.
        self._extensions = [*extensions, *([RunningMean(settings.ema)] if settings.ema else [])]
        self._keeps_best = not any(extension.keeps_last for extension in extensions)
        self._placing = _place(module, objective, self._processes.device)
        self._judge = WeightJudge(module, objective, sampler, self._extensions, self._placing, self._processes)
        self._throughput, self._steps = Throughput(), sampler.steps * settings.epochs
        # Where the last weights count whatever they cost, worse ones are what was asked for.
        self._watch = Watch.of(self._steps) if self._keeps_best else None
        # Before the first step: the digest of the model stands for the weights that the run starts from.
        self._identity = self._describe() if settings.checkpoint is not None else {}
        # A run that is resumed is given the weights from before, too.
        self._first = copied(module) if self._watch is not None else {}
        kept = self._load() if settings.resume else None
        self._at = RunProgress() if kept is None else RunProgress(**kept["progress"])
        self._stepper = self._new_stepper()
        self._good: State = {} if kept is None else self._taken_back(kept)

    def whole(self) -> History:
        """From the first epoch, or from where the checkpoint stands, to the end."""
        begun = time.perf_counter()
        if not self._settings.resume:
            self._judge_first()
        self._train()
        return self._end(time.perf_counter() - begun)

    def _train(self) -> None:
        """All epochs; where the first steps were in vain these begin anew, at half the rate."""
        while True:
            try:
                self._epochs()
                return
            except (NotFinite, Worse) as found:
                again = self._watch is not None and self._watch.again(found.step, self._at.halvings)
                if not again and isinstance(found, NotFinite):
                    put(self._module, self._good)
                    raise self._diverged(found) from None
                self._at = self._at.at_half_the_rate(self._judge.cost(self._at.first))
                self._good = self._first
                put(self._module, self._first)
                if not again:
                    return
                self._stepper = self._new_stepper()

    def _epochs(self) -> None:
        while self._at.epoch < self._settings.epochs and not self._stopped:
            self._epoch()
            self._finish_epoch()
            self._save()

    @property
    def _rate(self) -> float:
        """What is left of the learning rate that was asked for."""
        return self._settings.learning_rate / 2.0**self._at.halvings

    def _new_stepper(self) -> Stepper:
        """An optimiser without a past."""
        settings = self._settings.model_copy(update={"learning_rate": self._rate})
        stepper = Stepper(self._module, self._objective, self._extensions, settings, self._processes)
        stepper.start(self._steps)
        return stepper

    @property
    def _stopped(self) -> bool:
        waited = self._keeps_best and 0 < self._settings.patience <= self._at.waited
        return waited or any(extension.finished for extension in self._extensions)

    def _judge_first(self) -> None:
        before = self._judge.of(self._stepper)
        if not isfinite(before.loss):
            raise TrainingDiverged(
                f"the loss is {before.loss} before the first step; look for NaN or infinity in the model and the data"
            )
        self._at.before, self._at.best = asdict(before), self._judge.cost(before)
        self._good = self._first or copied(self._module)

    def _epoch(self) -> None:
        # The losses are added up on the device: reading each of them would wait for the device in every step.
        at, total = self._at, torch.zeros((), dtype=torch.float64, device=self._processes.device)
        total += at.loss
        self._module.train()
        batches = feed(self._sampler.epoch(at.epoch, at.step), self._placing)
        self._throughput.go()
        for batch in batches:
            # Counted over the whole run, not the epoch, because the seed of the step is made of it.
            index = at.epoch * self._sampler.steps + at.step
            stop = self._interruption.number > 0
            loss, stop = self._stepper.step(batch, index, self._sampler.whole, stop)
            total += loss.to(total.device)
            at.step += 1
            self._throughput.step(self._sampler.whole)
            if stop:
                # Ends the thread that prepares batches, which would otherwise go on while the checkpoint is written.
                batches.close()
                self._leave(float(total))
            if self._watch is not None and self._watch.step == index + 1:
                self._look(self._watch, batches)
            if self._observe is not None and self._throughput.due():
                self._tell("step", float(total) / at.step)
        # On a GPU nobody has looked at the last loss of the epoch yet.
        self._stepper.check_waiting()
        at.loss = float(total)

    def _look(self, watch: Watch, batches: Generator[DeviceBatch]) -> None:
        """Raises Worse where the first steps were in vain."""
        try:
            # By the loss alone: a metric of the user's may take long, and is asked for epochs.
            with self._judge.weights():
                watch.demand_sound(self._at.first, self._judge.loss(self._stepper))
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
        loss, steps = at.end_epoch()
        # Before the epoch is judged: what extensions do here belongs to the weights that are judged.
        for extension in self._extensions:
            extension.after_epoch(self._module, at.epoch)
        # All processes have to judge the same network, and these statistics are the only thing in which theirs
        # differ.
        self._processes.average_statistics(self._module)
        found = self._judge.of(self._stepper)
        if not isfinite(found.loss):
            raise NotFinite(at.epoch * steps, found.loss)
        self._keep_good(self._judge.cost(found))
        valid = found if self._sampler.sets_aside else None
        at.record(EpochRecord(at.epoch, loss, self._stepper.rate, self._throughput.busy, self._throughput.rate, valid))
        self._tell("epoch", loss, valid)

    def _keep_good(self, cost: float) -> None:
        """Keeps the weights as the good ones: those that were judged best, or else the last."""
        better = self._at.compare(cost)
        # Without samples set aside the last epoch counts as the best, for those for training flatter later ones; but
        # what is worse even on these is worse.
        last = not self._sampler.sets_aside and cost <= self._judge.cost(self._at.first)
        if better or last or not self._keeps_best:
            self._at.keep(cost)
            with self._judge.weights():
                self._good = copied(self._module)

    def _end(self, seconds: float) -> History:
        put(self._module, self._good)
        self._module.eval()
        at = self._at
        # Where no epoch was better the module holds the first weights again, which have been judged already.
        after = at.first if at.best_epoch == 0 else self._judge.as_is(self._stepper)
        return History(
            before=at.first,
            after=after,
            metric_name=self._judge.metric_name,
            epochs=at.epochs,
            best_epoch=at.best_epoch,
            chosen=self._keeps_best and self._sampler.sets_aside and bool(at.best_epoch) and len(at.epochs) > 1,
            decided_by=self._judge.decided_by,
            best_tried=self._judge.value(at.least) if at.records else None,
            stopped_early=self._stopped and at.epoch < self._settings.epochs,
            steps=at.epoch * self._sampler.steps,
            seconds=seconds,
            device=str(self._processes.device),
            learning_rate=self._rate,
            notes=rate_notes(self._settings.learning_rate, at.halvings, trained=bool(at.records)),
        )

    def _tell(self, kind: Literal["step", "epoch"], loss: float, valid: Judgement | None = None) -> None:
        if self._observe is None:
            return
        at = self._at
        done = at.epoch * self._sampler.steps + at.step
        event = Event(
            kind=kind,
            epoch=at.epoch + (kind == "step"),
            epochs=self._settings.epochs,
            step=done,
            steps=self._steps,
            loss=loss,
            learning_rate=self._stepper.rate,
            metric_name=self._judge.metric_name,
            metric=None if valid is None else valid.metric,
            valid_loss=None if valid is None else valid.loss,
            judged_on=None if valid is None else self._sampler.judged_on,
            images_per_second=self._throughput.rate,
            eta_seconds=self._throughput.left(self._steps - done),
        )
        self._observe(event)

    def _diverged(self, found: NotFinite) -> TrainingDiverged:
        epoch = (found.step - 1) // self._sampler.steps + 1
        kept = f"the weights of epoch {self._at.best_epoch}" if self._at.best_epoch else "the weights from before"
        return TrainingDiverged(
            f"the loss is {found.value} at step {found.step} (epoch {epoch}); {kept} are kept; try a smaller "
            f"--learning-rate than {self._rate:g}"
        )

    # ---- checkpoints

    def _describe(self) -> dict[str, Any]:
        """What must agree between a run and the one that resumes it."""
        settings = self._settings.model_dump(mode="json", exclude={*MAY_DIFFER, *self._settings.asides()})
        teacher = self._objective.teacher
        return {
            "settings": settings,
            "model": checkpoint.tensors_digest(self._module.state_dict().items()),
            "original model": None if teacher is None else checkpoint.tensors_digest(teacher.state_dict().items()),
            "data": self._sampler.identity(),
            "processes": self._processes.size,
            "extensions": len(self._extensions),
        }

    def _save(self) -> None:
        folder = self._settings.checkpoint
        # All processes hold the same state, and one file is enough.
        if folder is None or not self._processes.main:
            return
        parts = {
            "progress": asdict(self._at),
            "module": dict(self._module.state_dict()),
            "good": dict(self._good),
            "optimiser": self._stepper.state_dict(),
            **{f"extension {k}": e.state_dict() for k, e in enumerate(self._extensions)},
        }
        checkpoint.save_checkpoint(folder, Checkpoint(self._identity, parts))

    def _load(self) -> dict[str, Any]:
        """What the checkpoint holds."""
        folder = self._settings.checkpoint
        if folder is None:
            raise UsageError("a run resumes from a checkpoint; name its folder with --checkpoint")
        return checkpoint.load_checkpoint(folder, self._identity).parts

    def _taken_back(self, parts: dict[str, Any]) -> State:
        """Takes weights back, and what optimiser and extensions remember; gives the good ones."""
        put(self._module, parts["module"])
        self._stepper.load_state_dict(parts["optimiser"])
        for index, extension in enumerate(self._extensions):
            extension.load_state_dict(parts[f"extension {index}"])
        own = self._module.state_dict()
        # In the layout of the module, as a resumed run must sum in the same order.
        return {name: torch.empty_like(own[name]).copy_(tensor) for name, tensor in parts["good"].items()}


def _place(module: torch.nn.Module, objective: Objective, device: torch.device) -> Placing:
    """Moves the module and its teacher to a device; what brings samples there in the form that they take."""
    last = prefers_channels_last(module)
    for moved in (module, objective.teacher):
        if moved is not None:
            set_memory_format(moved.to(device), last)
    # A module of 16-bit floats was widened to float32 before; only one that kept them takes its inputs unwidened.
    half = any(p.dtype in (torch.float16, torch.bfloat16) for p in module.parameters())
    return Placing(device, half, last, objective.check)
