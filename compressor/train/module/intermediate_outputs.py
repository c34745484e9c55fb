"""Intermediate values as outputs, and how many samples a graph takes at a time."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
import torch

from compressor.data.batch import samples_in
from compressor.errors import CompressorError, UsageError
from compressor.graph.normalise import normalise
from compressor.train.loop.objective import run_module

SAME = 1e-4
"""How far results of two batch sizes may be apart, as a share of the largest."""


def with_outputs(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A copy that gives values of its graph as outputs too, after its own and in the order of ``names``.

    Raises:
        UsageError: a name is no value that a node of the main graph computes, or an output already, or no float.
    """
    if not names:
        return model
    # Normalised, as the module is made of the normal form and knows its names.
    copy = normalise(model.clone())
    made = {str(v.name): v for node in copy.graph for v in node.outputs}
    # Each name once: an output cannot be listed twice.
    for name in dict.fromkeys(names):
        value = made.get(name)
        if value is None:
            near = difflib.get_close_matches(name, made, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"--features {name}: the graph computes no value of that name{hint}")
        if value.is_graph_output():
            raise UsageError(f"--features {name} is an output, which is compared anyway; leave it out")
        if value.dtype is not None and not value.dtype.is_floating_point():
            raise UsageError(f"--features {name} holds {value.dtype.name}, and only floats can be matched")
        copy.graph.outputs.append(value)
    return copy


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
