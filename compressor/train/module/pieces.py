"""A batch through a module: at once, or in pieces where the graph takes a fixed number of samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from compressor.data.batch import samples_in
from compressor.errors import CompressorError, UsageError

Tensor = torch.Tensor
ModuleOutputs = tuple[Tensor, ...]

SAME = 1e-4
"""How far results of two batch sizes may be apart, as a share of the largest."""


def run_module(module: Callable[..., Any], inputs: dict[str, Tensor], chunk: int | None = None) -> ModuleOutputs:
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


def _check_rows(outputs: ModuleOutputs, count: int) -> None:
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


def _tuple(found: Any) -> ModuleOutputs:
    outputs = found if isinstance(found, tuple) else (found,)
    if not all(isinstance(output, Tensor) for output in outputs):
        raise UsageError(
            "an output of the model is a sequence, and training compares tensors; cut the model off before it"
        )
    # Losses are computed in float32: squares and exponentials overflow or vanish in 16 bits.
    return tuple(t.float() if t.dtype in (torch.bfloat16, torch.float16) else t for t in outputs)


def chunk_of(module: Callable[..., Any], inputs: dict[str, torch.Tensor], fixed: int | None) -> int | None:
    """How many samples the graph has to be given at a time, where its file fixes them to ``fixed``; else None.

    Many exported graphs name a batch size that nothing in them depends on. This one is run on more samples at once:
    if it gives what it gives piece by piece, training need not heed the number.

    Raises:
        UsageError: an output of the fixed size does not have one row for each sample.
    """
    # With exactly the fixed number of samples there is nothing by which the two ways differ.
    if fixed is None or samples_in(inputs) == fixed:
        return fixed
    with torch.no_grad():
        pieces = run_module(module, inputs, fixed)
        try:
            whole = run_module(module, inputs)
        # A Reshape to the fixed size, for one, fails on more samples.
        except CompressorError:
            return fixed
    same = all(
        a.shape == b.shape and float((a - b).abs().max()) <= SAME * float(a.abs().max())
        # Comparing by the largest number: kernels for another batch size round differently.
        for a, b in zip(pieces, whole, strict=True)
        # Integers (indices of a maximum) may flip by rounding, and say nothing of the batch size.
        if a.numel() and a.is_floating_point()
    )
    return None if same else fixed
