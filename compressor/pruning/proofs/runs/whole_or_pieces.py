"""Whether a model is run as a whole or in pieces: the one thing of a proof that follows from the machine.

It is asked anew for each model, as what is free changes while reference, cut and file are held beside each other. Both
ways give the same outputs; that a model was run in pieces is told in the evidence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import onnx_ir as ir

from compressor.core.machine import free_memory
from compressor.graph.disk import files
from compressor.graph.tensors.weights import weight_bytes
from compressor.pruning.proofs.runs.piecewise import ExternalWeights, Piecewise
from compressor.runtime.stored import Runnable, Stored

WHOLE_BYTES: Final = 1 << 29
"""Weights of the largest model that is run as a whole: the runtime and its packed copies take about twice as much."""
MEMORY_SHARE: Final = 4
"""The part of the memory that is free now which the weights of a model that is run as a whole may have: a quarter."""


def largest_whole(free: int | None) -> int:
    """Bytes of weights of the largest model that is run as a whole where so much memory is free; None: not known."""
    return WHOLE_BYTES if free is None else min(WHOLE_BYTES, free // MEMORY_SHARE)


def runs_whole(model: ir.Model) -> bool:
    """Is there memory now to run it as a whole?"""
    return weight_bytes(model) <= largest_whole(free_memory())


def runnable(model: ir.Model, folder: Path, provider: str) -> Runnable:
    """What runs ``model``: as a whole, with its weights where they are, or in pieces where it is too large for that."""
    if not runs_whole(model):
        return Piecewise(model, folder, provider)
    # Other providers copy weights to memory of their own, so there is nothing to lend.
    if provider == "cpu":
        return ExternalWeights(model, folder)
    return Stored.write(model, folder, provider)


def runnable_file(path: Path, size: int, folder: Path, provider: str, *, optimised: bool = False) -> Runnable:
    """What runs a model file: the file as it is, or in pieces where it is too large for that.

    Args:
        path: the file.
        size: bytes of it and its external data, about.
        folder: where small files may be put.
        provider: short or full name.
        optimised: as of :class:`~compressor.runtime.stored.Stored`.
    """
    if size <= largest_whole(free_memory()):
        return Stored(path, provider, optimised=optimised)
    return Piecewise(files.load_model(path), folder, provider)
