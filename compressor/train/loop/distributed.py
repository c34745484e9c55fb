"""One process or several: who this one is, and what all of them add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from compressor.core.extras import require
from compressor.core.machine import launched_processes
from compressor.errors import ProviderUnavailable, UsageError


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        device: where this process computes.
        rank: its number.
        size: how many there are.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Is it the one that writes and shows?"""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Which of the ``count`` rows of a batch of all processes are this one's: equal runs, the first ones longer."""
        each, over = divmod(count, self.size)
        start = self.rank * each + min(self.rank, over)
        return slice(start, start + each + (self.rank < over))

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over processes; the tensor itself where there is one process."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def average_statistics(self, module: torch.nn.Module) -> None:
        """Makes running statistics the mean over processes, each of which saw other samples."""
        if self.size > 1:
            for buffer in module.buffers():
                if buffer.is_floating_point():
                    self.sum(buffer).div_(self.size)


def processes_of(device: str) -> Processes:
    """This process as its launcher describes it: alone, or one of those that ``accelerate launch`` started.

    Raises:
        ProviderUnavailable: a device was asked for that is not there.
        UsageError: there are several processes, and a certain GPU was asked for, or accelerate is not installed.
    """
    size = launched_processes()
    if size == 1:
        return Processes(single_device(device))
    if device.startswith("cuda:"):
        raise UsageError(f"--device {device} names one device, but {size} processes were started; use --device cuda")
    require("training in several processes", "accelerate")
    from accelerate import PartialState  # type: ignore[import-untyped]  # noqa: PLC0415 -- several processes only

    # PartialState joins the process group, which ``all_reduce`` and ``barrier`` need; alone there is none to join.
    state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
    return Processes(state.device, state.process_index, state.num_processes)


def single_device(name: str) -> torch.device:
    """``auto`` is a GPU where there is one.

    Raises:
        ProviderUnavailable: a GPU was asked for that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    # ``cuda`` without an index is the first GPU, so it needs one; the CPU always counts as one device.
    if (device.index or 0) >= count:
        raise ProviderUnavailable(
            f"--device {name} is not available to torch, which sees {count} GPUs; use --device cpu or auto"
        )
    return device


def reduce_gradients(
    processes: Processes, parameters: Sequence[torch.nn.Parameter], facts: Sequence[float]
) -> tuple[float, ...]:
    """Sums gradients over processes in one message, and with them a few numbers of each process.

    A parameter without a gradient in every process keeps none, so that several processes do what one would.
    """
    if processes.size == 1:
        return tuple(facts)
    given = [0.0 if p.grad is None else 1.0 for p in parameters]
    # Counts of samples are summed too, and float32 counts exactly only up to 2**24.
    head = torch.tensor([*facts, *given], dtype=torch.float64, device=processes.device)
    # Every process sends every parameter, present or not: a message of another length would block or garble the sum.
    flat = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1).to(torch.float32) for p in parameters]
    whole = torch.cat(flat)
    processes.sum(head)
    processes.sum(whole)
    numbers = head.tolist()
    present = numbers[len(facts) :]
    parts = torch.split(whole, [p.numel() for p in parameters])
    for p, part, there in zip(parameters, parts, present, strict=True):
        # In the layout of the parameter, as autograd gives gradients.
        p.grad = part.reshape(p.shape).to(p.dtype).contiguous(memory_format=_format(p)) if there else None
    return tuple(numbers[: len(facts)])


def _format(tensor: torch.Tensor) -> torch.memory_format:
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format
