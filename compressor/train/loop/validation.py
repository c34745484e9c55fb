"""Loss and metric of a module over a whole set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from compressor.train.loop.distributed import Processes
from compressor.train.loop.history import Judgement
from compressor.train.loop.objective import DeviceBatch, Objective
from compressor.train.loop.precision import Precision

State = dict[str, torch.Tensor]


def judge(
    forward: Callable[..., Any],
    objective: Objective,
    batches: Iterable[DeviceBatch],
    precision: Precision,
    processes: Processes,
) -> Judgement:
    """The mean over all samples of all processes, without gradients; the caller chooses evaluation mode."""
    # One tensor, so that summing over processes is one message.
    sums = torch.zeros(3, dtype=torch.float64, device=processes.device)
    measured = objective.metric_name is not None
    with torch.no_grad():
        for batch in batches:
            with precision.autocast():
                outputs, taught = objective.run(forward, batch), objective.teach(batch)
            metric = objective.measure(outputs, batch, taught)
            row = [objective(outputs, batch, taught), metric if metric is not None else sums.new_zeros(())]
            # Weighted by size, as the last batch may be smaller.
            sums[:2] += torch.stack([number.double() for number in row]) * len(batch)
            sums[2] += len(batch)
    loss, metric_sum, count = processes.sum(sums).tolist()
    return Judgement(loss / count, metric_sum / count if measured else None)


def copied(module: torch.nn.Module) -> State:
    """A copy of all that the module keeps."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def put(module: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Copies tensors into the module, by name, in place."""
    own = module.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)


@contextmanager
def evaluating(module: torch.nn.Module, averaged: Mapping[str, torch.Tensor] | None) -> Iterator[None]:
    """The module in evaluation mode, with averaged weights in place of its own where there are any."""
    own = module.state_dict()
    # Only what is replaced is copied; the rest is not touched.
    kept = {name: own[name].detach().clone() for name in averaged or {}}
    training = module.training
    module.eval()
    put(module, averaged or {})
    try:
        yield
    finally:
        put(module, kept)
        module.train(training)
