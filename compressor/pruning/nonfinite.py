"""Channels that hold a number which is not finite: they matter to whatever reads them, even through a weight of zero.

Zero times infinity is NaN (IEEE 754-2019, 7.2), so a channel that only zeros read still spoils the sum if it is
infinite, and so does an infinite weight that reads a channel of zeros. Removing either would turn NaN into a number.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.channels.labels import UnitArray
from compressor.core.arrays import Array
from compressor.core.scratch import scratch
from compressor.errors import NothingToProve
from compressor.pruning.cut.analysis import Analysis
from compressor.pruning.proofs.runs.inputs import Inputs
from compressor.pruning.proofs.runs.whole_or_pieces import runnable
from compressor.runtime.stored import Answers

NONE_SPOILT: UnitArray = np.zeros(0, np.int64)


def in_weights(coupling: Coupling) -> UnitArray:
    """Units at whose positions a weight of the file is not finite."""
    # numpy cannot concatenate an empty list.
    spoilt = [NONE_SPOILT]
    for value in coupling.deferred_labels:
        tensor = value.const_value
        if tensor is not None and tensor.dtype.is_floating_point():
            spoilt += _at(coupling, value, tensor.numpy())
    return np.concatenate(spoilt)


def in_activations(analysis: Analysis, seed: int, provider: str) -> UnitArray:
    """Units that are not finite somewhere when the model runs on the first seeded inputs that it takes.

    Looked for only where an output is not finite; as long as all of them are, nothing that is read was infinite.

    Raises:
        NothingToProve: no output holds a finite number, so that no removal could be seen to change anything.
        ModelError: the model runs on none of the inputs.
    """
    from compressor.runtime.taps import tap  # noqa: PLC0415 - ONNX Runtime is loaded only where it runs

    coupling = analysis.coupling
    outputs = {str(v.name) for v in analysis.model.graph.outputs if _is_float(coupling, v)}
    # A model of whole numbers cannot hold infinities.
    if not outputs:
        return NONE_SPOILT
    inputs = Inputs(analysis.model, analysis.shapes, seed)
    with scratch() as folder:
        stored = runnable(analysis.model, folder, provider)
        runs = Answers.to_some(stored, inputs.both, inputs.instead(), enough=1).runs
    fine = [np.isfinite(_wide(a)) for name, a in zip(runs.names, runs.outputs[0], strict=True) if name in outputs]
    # Mostly true, and then the expensive second run, with every value as an output, is spared.
    if all(f.all() for f in fine):
        return NONE_SPOILT
    if not any(f.any() for f in fine):
        raise NothingToProve(
            "no output of the model holds a finite number on random inputs, so nothing can be shown to be without "
            "loss; check the model"
        )
    computed = [v for node in coupling.graph for v in node.outputs if _is_float(coupling, v)]
    values = [v for v in computed if coupling.layout(v, assign_fresh=False)]
    units = [NONE_SPOILT]
    for arrays in tap(analysis.model, [str(v.name) for v in values], runs.feeds, provider):
        for value, array in zip(values, arrays, strict=True):
            units += _at(coupling, value, array)
    return np.concatenate(units)


def _at(coupling: Coupling, value: ir.Value, array: Array) -> Iterator[UnitArray]:
    """Units of ``value`` at the positions where ``array`` is not finite."""
    spoilt = ~np.isfinite(_wide(array))
    if not spoilt.any():
        return
    for term in coupling.layout(value, assign_fresh=False):
        others = tuple(a for a in range(spoilt.ndim) if a not in term.axes)
        yield term.units[spoilt.any(axis=others)].ravel()


def _wide(array: Array) -> Array:
    # bfloat16 and float8 are not numpy's own types and have a kind of their own; float32 holds all their numbers.
    return array.astype(np.float32) if array.dtype.kind not in "fc" else array


def _is_float(coupling: Coupling, value: ir.Value) -> bool:
    dtype = coupling.shapes.dtype(value)
    return bool(value.name) and dtype is not None and dtype.is_floating_point()
