"""One step of training: forward, backward, what extensions add, update."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any

import torch

from compressor.config import TuneSettings
from compressor.train.loop.distributed import Processes, reduce_gradients
from compressor.train.loop.extension import Extension, Values
from compressor.train.loop.objective import DeviceBatch, Objective
from compressor.train.loop.optimizer import Schedule, clip, optimiser_for
from compressor.train.loop.precision import Precision


class NotFinite(Exception):  # noqa: N818 -- a signal to the loop, which knows what to keep
    """The loss of step ``step`` (from 1) is NaN or infinite."""

    def __init__(self, step: int, value: float) -> None:
        super().__init__(step)
        self.step, self.value = step, value


class Stepper:
    """Makes steps, and owns what belongs to them: the optimiser, its schedule and the scale of the loss.

    On a GPU a loss is looked at one step late, so that nothing waits for it.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        objective: Objective,
        extensions: Sequence[Extension],
        settings: TuneSettings,
        processes: Processes,
    ) -> None:
        self._module, self._objective, self._extensions = module, objective, extensions
        self._settings, self._processes = settings, processes
        # The forward pass alone is compiled; extensions and checkpoints see the module itself, under its own names.
        self.forward: Callable[..., Any] = torch.compile(module) if settings.compile else module
        self.precision = Precision(processes.device, settings)
        self.optimiser = optimiser_for(module, settings)
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._schedule: Schedule | None = None
        self._waiting: tuple[int, torch.Tensor] | None = None
        self.rate = 0.0

    def start(self, steps: int) -> None:
        """Lets extensions see the optimiser, and fixes the highest rate of every group."""
        for extension in self._extensions:
            extension.start(self._module, self.optimiser, steps)
        self._schedule = Schedule(self.optimiser, self._settings, steps)

    def step(self, batch: DeviceBatch, index: int, whole: int, stop: bool) -> tuple[torch.Tensor, bool]:
        """One step on this process's part of a batch of ``whole`` samples.

        Returns:
            The loss of the batch of all processes, and whether any of them wants to stop.

        Raises:
            NotFinite: a loss is; the weights may hold what came of it.
        """
        assert self._schedule is not None
        self.rate = self._schedule.set(index)
        # The random numbers of a step depend on nothing that came before it, so that a run can be resumed anywhere.
        torch.manual_seed(_seed(self._settings.seed, self._processes.rank, index))
        # A resumed run finds in its checkpoint what was measured here.
        if index == 0:
            self._calibrate(batch)
        self.optimiser.zero_grad(set_to_none=True)
        # This process's share of the mean over the whole batch: gradients are summed over processes, penalties with
        # them.
        loss = self._loss(batch) * (len(batch) / whole)
        scaler = self.precision.scaler
        torch.autograd.backward(scaler.scale(loss))
        # Before gradients are summed and clipped, which both want their real size.
        scaler.unscale_(self.optimiser)
        loss = loss.detach()
        if self._processes.size > 1:
            # A signal may reach one process alone, and all have to stop at the same step.
            value, stops = reduce_gradients(self._processes, self._parameters, (float(loss), float(stop)))
            loss, stop = torch.tensor(value), stops > 0
        # Before the optimiser's step: on the CPU a bad loss then changes no weight.
        self._check(index + 1, loss)
        for extension in self._extensions:
            extension.after_backward(self._module)
        clip(self._parameters, self._settings.clip_norm)
        for extension in self._extensions:
            extension.after_clipping(self._module)
        scaler.step(self.optimiser)
        scaler.update()
        for extension in self._extensions:
            extension.after_step(self._module, index + 1)
        return loss, stop

    def _loss(self, batch: DeviceBatch) -> torch.Tensor:
        loss, values = self._plain_loss(batch)
        for extension in self._extensions:
            penalty = extension.penalty(self._module, values)
            loss = loss if penalty is None else loss + penalty
        return loss

    def _plain_loss(self, batch: DeviceBatch) -> tuple[torch.Tensor, Values]:
        """Without penalties, and the values that extensions ask for."""
        with self.precision.autocast():
            outputs, taught = self._objective.run(self.forward, batch), self._objective.teach(batch)
        wanted = [name for extension in self._extensions for name in extension.values]
        names = getattr(self._module, "output_names", ()) if wanted else ()
        named = dict(zip(names, outputs, strict=True)) if wanted else {}
        # Outside of autocast, as losses are computed in float32.
        return self._objective(outputs, batch, taught), {name: named[name] for name in wanted}

    def _calibrate(self, batch: DeviceBatch) -> None:
        """Lets extensions measure the loss of the first batch, which they must not change."""

        def loss() -> tuple[torch.Tensor, Values]:
            found, values = self._plain_loss(batch)
            return found.detach(), {name: value.detach() for name, value in values.items()}

        # The forward passes are only spent where some extension measures.
        if any(type(extension).calibrate is not Extension.calibrate for extension in self._extensions):
            # Whether something was measured must not show in the numbers of the run.
            with torch.no_grad(), torch.random.fork_rng(_devices(self._processes)), kept_statistics(self._module):
                for extension in self._extensions:
                    extension.calibrate(self._module, loss)

    def _check(self, step: int, loss: torch.Tensor) -> None:
        if loss.device.type == "cpu":
            _demand_finite(step, loss)
            return
        # The loss of the step before is ready by now, so that looking at it does not wait.
        self.check_waiting()
        self._waiting = (step, loss)

    def check_waiting(self) -> None:
        """Looks at the loss that nobody has looked at yet."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            _demand_finite(*waiting)

    def state_dict(self) -> dict[str, Any]:
        """What the optimiser remembers of each parameter, and the scale of the loss."""
        found: dict[str, Any] = {f"scaler/{k}": v for k, v in self.precision.scaler.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            # Momentum is None until the first step.
            found.update({f"{index}/{key}": value for key, value in state.items() if value is not None})
        return found

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave, in the memory layout of the parameters."""
        scale = {k.partition("/")[2]: v for k, v in state.items() if k.startswith("scaler/")}
        if scale:
            self.precision.scaler.load_state_dict(scale)
        parts: dict[int, dict[str, Any]] = {}
        for name, value in state.items():
            index, _, key = name.partition("/")
            if index.isdigit():
                parts.setdefault(int(index), {})[key] = value
        # The rates in the groups follow from the number of the step, so those of this optimiser will do.
        self.optimiser.load_state_dict({"state": parts, "param_groups": self.optimiser.state_dict()["param_groups"]})
        for parameter, kept in self.optimiser.state.items():
            for key, value in kept.items():
                if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                    # ``load_state_dict`` leaves the plain layout, and sums in another order than an unbroken run.
                    kept[key] = torch.empty_like(parameter, requires_grad=False).copy_(value)


@contextmanager
def kept_statistics(module: torch.nn.Module) -> Iterator[None]:
    """Gives buffers, such as running statistics, back the numbers that they had before."""
    before = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, numbers in before:
            buffer.copy_(numbers)


def _devices(processes: Processes) -> list[torch.device]:
    """Devices, besides the CPU, that have random numbers of their own."""
    return [processes.device] if processes.device.type == "cuda" else []


def _demand_finite(step: int, loss: torch.Tensor) -> None:
    value = float(loss)
    if not isfinite(value):
        raise NotFinite(step, value)


def _seed(seed: int, rank: int, step: int) -> int:
    """A seed of its own for every step of every process (mixed as in SplitMix64)."""
    mixed = (seed * 0x9E3779B97F4A7C15 + rank * 0xBF58476D1CE4E5B9 + (step + 1) * 0x94D049BB133111EB) % 2**64
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    return (mixed ^ (mixed >> 31)) % 2**63
