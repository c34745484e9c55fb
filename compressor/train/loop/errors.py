"""What can go wrong while training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from compressor.errors import CompressorError, UsageError


@contextmanager
def memory_named(batch_size: int) -> Iterator[None]:
    """Turns an allocation that fails inside into a sentence with the batch size to try.

    Raises:
        UsageError: memory ran out.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _too_large(batch_size) from error
    # A node that runs out of memory on the CPU comes as a ModelError with torch's text in it.
    except (RuntimeError, CompressorError) as error:
        if not is_allocation(error):
            raise
        raise _too_large(batch_size) from error


def is_allocation(error: BaseException) -> bool:
    """Is this torch's way to say that the CPU has no memory left?"""
    text = str(error)
    return "not enough memory" in text or "DefaultCPUAllocator" in text or "CUDA out of memory" in text


def _too_large(batch_size: int) -> UsageError:
    if batch_size == 1:
        return UsageError("memory ran out at a batch of one sample; train on a device with more, or use --amp bf16")
    return UsageError(f"memory ran out at a batch of {batch_size} samples; try --batch-size {max(1, batch_size // 2)}")
