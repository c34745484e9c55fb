"""What takes part in training without the loop knowing what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

Values = Mapping[str, torch.Tensor]
"""Activations of a batch by the names that they have in the graph, with their gradient's history."""


class Extension:
    """Base of everything that hooks into :func:`compressor.train.loop.fit.fit`; each method does nothing by itself.

    The methods come in the order in which they are called. An extension that draws random numbers may use torch's
    global generator, which is seeded before every step.

    Attributes:
        keeps_last: the weights of the last epoch are what counts, so that the best epoch is not restored and patience
            ends no run.
        values: names of intermediate values of the graph that :meth:`penalty` reads; the module has to give them as
            outputs, which :func:`compressor.train.finetune.finetune` sees to.
    """

    keeps_last: bool = False
    values: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Is nothing more to gain? The run then ends with the epoch."""
        return False

    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:
        """Before the first step, and before ``load_state_dict`` where a run is resumed.

        Called once more, with the weights as they were, where training begins anew at a lower rate.
        """

    def calibrate(self, module: torch.nn.Module, loss: Callable[[], tuple[torch.Tensor, Values]]) -> None:
        """Before the first step of a run that is not resumed.

        ``loss()`` gives the loss of the first batch, of this process, with the weights as they are when it is called,
        and the ``values`` that were asked for. What is measured here belongs into :meth:`state_dict`.
        """

    def penalty(self, module: torch.nn.Module, values: Values) -> torch.Tensor | None:  # noqa: ARG002
        """A scalar that is added to the loss of every step, and so clipped with it."""
        return None

    def after_backward(self, module: torch.nn.Module) -> None:
        """Gradients are there, averaged over processes, before they are clipped."""

    def after_clipping(self, module: torch.nn.Module) -> None:
        """Gradients are clipped; what is added to them here is not, and takes nothing from those of the loss."""

    def after_step(self, module: torch.nn.Module, step: int) -> None:
        """The optimiser has changed the weights; ``step`` counts from 1 over the whole run."""

    def after_epoch(self, module: torch.nn.Module, epoch: int) -> None:
        """All steps of an epoch are done, it is not judged yet; ``epoch`` counts from 1."""

    def averaged(self, module: torch.nn.Module) -> Mapping[str, torch.Tensor] | None:  # noqa: ARG002
        """Tensors by key of ``state_dict()`` that are judged and kept in place of the module's own."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to hold: tensors, and numbers, text, lists of such as JSON knows them."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""


class RunningMean(Extension):
    """Exponential moving average of the parameters: ``mean <- decay * mean + (1 - decay) * weight`` after each step.

    In the first steps the decay is smaller, ``(1 + step) / (10 + step)``, so that the start is forgotten.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._mean: dict[str, torch.Tensor] = {}

    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:  # noqa: ARG002
        """Starts from the weights as they are."""
        self._mean = {name: p.detach().clone() for name, p in trained_parameters(module)}

    def after_step(self, module: torch.nn.Module, step: int) -> None:
        """Moves the mean towards the weights."""
        # The mean of the first steps would otherwise be mostly the weights from before (the warm-up of TensorFlow's
        # EMA).
        rate = 1 - min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, parameter in trained_parameters(module):
                self._mean[name].lerp_(parameter, rate)

    def averaged(self, module: torch.nn.Module) -> Mapping[str, torch.Tensor]:  # noqa: ARG002
        """The mean of the weights so far, by name."""
        return self._mean

    def state_dict(self) -> dict[str, Any]:
        """The mean of the weights so far, by name."""
        return dict(self._mean)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues with that mean, in the memory layout of the weights."""
        # In place: the copy from a checkpoint lies in plain layout, and the order of sums depends on the layout.
        for name, tensor in self._mean.items():
            tensor.copy_(state[name])


def trained_parameters(module: torch.nn.Module) -> Iterable[tuple[str, torch.nn.Parameter]]:
    """Parameters that training changes, by name."""
    return [(name, p) for name, p in module.named_parameters() if p.requires_grad]
