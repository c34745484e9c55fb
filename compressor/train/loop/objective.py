"""What training minimises and how it is judged, as the loop sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from compressor.data.batch import samples_in
from compressor.errors import UsageError
from compressor.train.loop.epoch_metric import EpochMetric

Tensor = torch.Tensor
Outputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class DeviceBatch:
    """A batch on the device.

    Attributes:
        inputs: tensor [n, ...] by name of the graph's input.
        labels: as the data gives them, or None.
    """

    inputs: dict[str, Tensor]
    labels: Tensor | None = None

    def __len__(self) -> int:
        return samples_in(self.inputs)


Term = Callable[[Outputs, DeviceBatch, Outputs], Tensor]
"""From the module's outputs, the batch, and the teacher's outputs (empty without one) to a scalar of the batch: the
mean over samples of a loss or a metric."""


class Objective:
    """A weighted sum of terms, a metric, and the module that is imitated.

    Args:
        terms: weights and losses.
        metric: name, and what it is of one batch; higher is better.
        teacher: runs without gradient in evaluation, beside the module.
        chunk: samples that the graph takes at a time where its batch size is fixed; a batch is run in such pieces.
        check: looks at the labels of a batch before it goes to the device, and raises where they cannot be right.

    Attributes:
        metric_name: of the metric; None without one.
        epoch_metric: where there is one, it and not the loss says which epoch is best.
    """

    def __init__(
        self,
        terms: Sequence[tuple[float, Term]],
        *,
        metric: tuple[str, Term] | None = None,
        teacher: torch.nn.Module | None = None,
        chunk: int | None = None,
        check: Callable[[npt.NDArray[np.generic]], None] | None = None,
    ) -> None:
        self.terms, self.teacher, self.chunk, self.check = list(terms), teacher, chunk, check
        self.metric_name = metric[0] if metric is not None else None
        self._metric = metric[1] if metric is not None else None
        self.epoch_metric: EpochMetric | None = None
        if teacher is not None:
            # The teacher stays in evaluation for good; a later ``train()`` of the module that is trained does not
            # reach it.
            teacher.eval().requires_grad_(False)

    def __call__(self, outputs: Outputs, batch: DeviceBatch, taught: Outputs) -> Tensor:
        """The loss, float32 or wider."""
        # The device is that of the outputs, since the objective itself is never moved.
        total = torch.zeros((), device=outputs[0].device)
        for weight, term in self.terms:
            total = total + weight * term(outputs, batch, taught)
        return total

    def measure(self, outputs: Outputs, batch: DeviceBatch, taught: Outputs) -> Tensor | None:
        """The metric of a batch."""
        return None if self._metric is None else self._metric(outputs, batch, taught)

    def run(self, module: Callable[..., Any], batch: DeviceBatch) -> Outputs:
        """The module's outputs, in float32 where they came in a narrower type."""
        return run_module(module, batch.inputs, self.chunk)

    def teach(self, batch: DeviceBatch) -> Outputs:
        """The teacher's outputs, without gradient; none without a teacher."""
        if self.teacher is None:
            return ()
        with torch.no_grad():
            return run_module(self.teacher, batch.inputs, self.chunk)


def run_module(module: Callable[..., Any], inputs: dict[str, Tensor], chunk: int | None = None) -> Outputs:
    """All outputs of a module for a batch, of which it takes ``chunk`` samples at a time.

    The last piece is filled up by repeating its last sample; what that gives is dropped again.

    Raises:
        UsageError: an output has not one row for each sample of a piece.
    """
    if chunk is None:
        return _tuple(module(**inputs))
    count = samples_in(inputs)
    pieces = []
    for start in range(0, count, chunk):
        piece = {
            name: _filled(tensor[start : start + chunk], chunk) if tensor.ndim else tensor
            for name, tensor in inputs.items()
        }
        pieces.append(_tuple(module(**piece)))
        # A mean over the batch, for one, would be another number in pieces.
        _check_rows(pieces[-1], chunk)
    return tuple(torch.cat(parts)[:count] for parts in zip(*pieces, strict=True))


def _check_rows(outputs: Outputs, count: int) -> None:
    for index, tensor in enumerate(outputs):
        if not tensor.dim() or len(tensor) != count:
            raise UsageError(
                f"the model takes {count} samples at a time, and its output {index} is {list(tensor.shape)}, without "
                "a row for each; export it with a batch size that is open"
            )


def _filled(tensor: Tensor, count: int) -> Tensor:
    missing = count - len(tensor)
    # A repeated sample and not zeros: these could make a division or a logarithm in the graph infinite.
    return tensor if not missing else torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])])


def _tuple(found: Any) -> Outputs:
    outputs = found if isinstance(found, tuple) else (found,)
    if not all(isinstance(output, Tensor) for output in outputs):
        raise UsageError(
            "an output of the model is a sequence, and training compares tensors; cut the model off before it"
        )
    # Losses are computed in float32: squares and exponentials overflow or vanish in 16 bits.
    return tuple(t.float() if t.dtype in (torch.bfloat16, torch.float16) else t for t in outputs)
