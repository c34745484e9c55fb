"""From a data set to tensors on the device, prepared by a thread while the module computes."""

from __future__ import annotations

import queue
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from threading import Event, Thread
from typing import Generic, TypeVar

import torch

from compressor.core.arrays import Array
from compressor.data.batch import Batch
from compressor.torch_ops.tensors import to_torch
from compressor.train.loop.objective import DeviceBatch

T = TypeVar("T")
AHEAD = 3
"""Batches that are prepared before they are asked for."""


@dataclass(frozen=True)
class Placing:
    """How batches become tensors.

    Attributes:
        device: where to.
        half: keep inputs of 16 bits; else they become float32, as the weights are.
        channels_last: memory layout of inputs of four axes.
        check: looks at the labels first.
    """

    device: torch.device
    half: bool = False
    channels_last: bool = False
    check: Callable[[Array], None] | None = None

    def prepare(self, batch: Batch) -> DeviceBatch:
        """The batch as tensors of the CPU."""
        if batch.labels is not None and self.check is not None:
            self.check(batch.labels)
        inputs = {name: self._input(array) for name, array in batch.inputs.items()}
        # Labels keep their type: class numbers must stay whole numbers.
        labels = None if batch.labels is None else self._pinned(to_torch(batch.labels))
        return DeviceBatch(inputs, labels)

    def move(self, batch: DeviceBatch) -> DeviceBatch:
        """The batch on the device."""
        inputs = {name: t.to(self.device, non_blocking=True) for name, t in batch.inputs.items()}
        labels = None if batch.labels is None else batch.labels.to(self.device, non_blocking=True)
        return DeviceBatch(inputs, labels)

    def _input(self, array: Array) -> torch.Tensor:
        tensor = to_torch(array)
        if not self.half and tensor.dtype in (torch.float16, torch.bfloat16):
            tensor = tensor.float()
        if self.channels_last and tensor.dim() == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        return self._pinned(tensor)

    def _pinned(self, tensor: torch.Tensor) -> torch.Tensor:
        # Copies to a GPU overlap with computing only from pinned memory.
        return tensor.pin_memory() if self.device.type == "cuda" else tensor


def feed(batches: Iterable[Batch], placing: Placing) -> Generator[DeviceBatch, None, None]:
    """The batches as tensors on the device, some of them prepared ahead by a thread of their own."""
    for batch in ahead(placing.prepare(batch) for batch in batches):
        # Moved in the thread that computes, and so on its stream; the copy itself does not wait.
        yield placing.move(batch)


def ahead(source: Iterable[T]) -> Generator[T, None, None]:
    """Iterates in a thread that runs up to :data:`AHEAD` items ahead; its exceptions come out here.

    The thread ends when the items do, or when this iterator is closed.
    """
    line: _Line[T] = _Line()
    thread = Thread(target=line.fill, args=(source,), name="batches", daemon=True)
    thread.start()
    try:
        yield from line.items()
    finally:
        # In this order: the thread may be waiting for room in the queue, and looks at the flag when its wait times
        # out.
        line.closed.set()
        thread.join()


class _Line(Generic[T]):
    """Items on their way from one thread to another; the last thing in it is what ended it."""

    def __init__(self) -> None:
        self.closed = Event()
        self._ready: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(AHEAD)

    def fill(self, source: Iterable[T]) -> None:
        """Puts in all items, until it is closed."""
        try:
            # An item is wrapped in a tuple, so that None can mean the end whatever the items are.
            if all(self._put((item,)) for item in source):
                self._put(None)
        except BaseException as error:  # noqa: BLE001 -- handed to whoever iterates
            self._put(error)

    def _put(self, item: tuple[T] | BaseException | None) -> bool:
        while not self.closed.is_set():
            try:
                # A wait without limit would never see that the consumer has gone.
                self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def items(self) -> Iterator[T]:
        """Empties the queue, so that its thread can end."""
        while (item := self._ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
