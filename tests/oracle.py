"""The intermediates oracle: the smaller model equals the masked original in every value, not only at the outputs.

An output can hide a mistake (a layer scale of 1e-6, an untrained head); a wrong index somewhere inside cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.coupling import Coupling, Policy
from compressor.channels.fills import give_each_its_own
from compressor.channels.groups import ChannelGroup
from compressor.channels.plan import PruningPlan, units_of
from compressor.config import PruneSettings
from compressor.config.proof import RTOL
from compressor.graph.form.clean import remove_unused
from compressor.graph.form.normalise import unshare
from compressor.graph.form.shuffles import write_shuffles_as_gathers
from compressor.graph.sizes.binding import Bound
from compressor.graph.sizes.feeds import feeds
from compressor.graph.sizes.shapes import Shapes
from compressor.operators import table
from compressor.pruning.budgets.select import choose_channels
from compressor.pruning.cut import surgery
from compressor.pruning.cut.analysis import prepared_model
from compressor.pruning.proofs.outputs.standard import nudges_of_weights

Array = NDArray[np.generic]

TOLERANCE = RTOL
"""Largest difference, as a share of the largest magnitude of a value (float32)."""
NOISE_FACTOR = 16
"""Rounding happens at every node, so that weights move by so many last bits to show what it does."""


@dataclass
class Pair:
    """The masked original and the smaller model, both before any clean-up, so that values share their names."""

    reference: ir.Model
    smaller: ir.Model
    cut: ChannelMask
    plan: PruningPlan
    shapes: Shapes
    originals: dict[str, ir.Value]
    groups: list[ChannelGroup]
    masked_statistics: bool


@contextmanager
def without(op: str) -> Iterator[None]:
    """The table has no record of ``op`` for as long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "RULES", {key: record for key, record in table.RULES.items() if key != ("", op)})
        yield


def couple(source: ir.Model, settings: PruneSettings) -> tuple[ir.Model, Coupling]:
    """What :func:`compressor.pruning.cut.analysis.analyse` does, before anything is sealed."""
    model, shapes = prepared_model(source, settings)
    unshare(model)
    if settings.simplify and write_shuffles_as_gathers(model, shapes):
        remove_unused(model)
    give_each_its_own(model.graph, shapes, table.RULES)
    policy = Policy(heads=settings.attention == "heads", keep_norm_axes=settings.keep_norm_axes)
    return model, Coupling(model.graph, shapes, table.RULES, policy).run()


def pair(source: ir.Model, settings: PruneSettings, *, thorough: bool = False) -> Pair:
    """Both models; raises what choosing raises. A ``thorough`` reference masks what a zeroed weight would cancel."""
    model, coupling = couple(source, settings)
    choice = choose_channels(coupling, settings, 1)
    plan = choice.plan
    cut = ChannelMask(coupling, units_of(plan, coupling))
    cut.check()
    reference, masks = surgery.mask(model, cut, thorough=thorough)
    originals = {str(v.name): v for n in model.graph for v in n.outputs if v.name}
    surgery.remove(model, cut)
    return Pair(reference, model, cut, plan, coupling.shapes, originals, choice.groups, masks.statistics > 0)


def differences(found: Pair, seed: int = 0, sizes: Bound | None = None) -> dict[str, float]:
    """Value -> largest difference between the two models at kept positions, as a share of its range.

    ``sizes`` are shapes of inputs (the first that were tried); where others are given, values that lose positions along
    an axis whose size depends on them are left out. Outputs are compared twice: ``NAME alone`` is of a run in which
    nothing else is held, so that memory is used again as it is where users run the file.
    """
    inputs = feeds(found.reference, found.shapes.inputs if sizes is None else sizes, found.shapes, seed)
    one, two = (outputs(model, inputs, found) for model in (found.reference, found.smaller))
    result = _compared(found, one, two, sizes)
    alone = _compared(found, one, outputs(found.smaller, inputs, found, alone=True), sizes)
    return result | {f"{name} alone": off for name, off in alone.items()}


def _compared(found: Pair, one: Mapping[str, Array], two: Mapping[str, Array], sizes: Bound | None) -> dict[str, float]:
    names, result = {node.name for node in found.smaller.graph}, {}
    for name in one.keys() & two.keys():
        value = found.originals[name]
        mask = found.cut.mask(value)
        kept = one[name]
        if mask is not None:
            dynamic = found.shapes.dynamic(value)
            if sizes is not None and any(d and s > 1 for d, s in zip(dynamic, mask.shape, strict=True)):
                continue
            kept = kept[np.broadcast_to(mask, kept.shape)]
            if two[name].shape == one[name].shape and f"{name}.kept" in names:
                continue  # made at run time at its old size; what reads it takes a part, which holds the same number
            kept = kept.reshape(found.cut.after(value) if sizes is None else _fitting(kept, two[name]))
        result[name] = difference(kept, two[name])
    return result


def _fitting(kept: Array, like: Array) -> tuple[int, ...]:
    """The shape of ``like``, if ``kept`` has as many entries."""
    return like.shape if kept.size == like.size else kept.shape


def difference(expected: Array, actual: Array) -> float:
    """Relative to the largest magnitude; infinite where shapes or finiteness differ."""
    if expected.shape != actual.shape:
        return np.inf
    wide = [a.astype(np.float64) for a in (expected, actual)]
    finite = np.isfinite(wide[0])
    if not np.array_equal(finite, np.isfinite(wide[1])):
        return np.inf
    if not finite.any():
        return 0.0
    scale = float(np.abs(wide[0][finite]).max())
    gap = float(np.abs(wide[0][finite] - wide[1][finite]).max())
    return gap / scale if scale else gap


def outputs(model: ir.Model, inputs: Mapping[str, Array], found: Pair, *, alone: bool = False) -> dict[str, Array]:
    """Every float value that has a name in the original, in one run; only the model's own outputs if ``alone``."""
    proto = ir.to_proto(model)
    present = {name for node in proto.graph.node for name in node.output}
    present &= {value.name for value in proto.graph.output} if alone else present
    wanted = [name for name in found.originals if name in present and is_float(found, name)]
    if not wanted:
        return {}
    del proto.graph.output[:]
    for name in wanted:
        dtype = found.shapes.dtype(found.originals[name])
        assert dtype is not None
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, int(dtype), None))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    asked = {i.name for i in session.get_inputs()}
    arrays = session.run(None, {k: v for k, v in inputs.items() if k in asked})
    return dict(zip(wanted, map(np.asarray, arrays), strict=True))


def is_float(found: Pair, name: str) -> bool:
    """Does the value hold floating-point numbers?"""
    dtype = found.shapes.dtype(found.originals[name])
    return dtype is not None and dtype.is_floating_point()


def worst(source: ir.Model, settings: PruneSettings) -> tuple[str, float]:
    """The value with the largest difference, and that difference."""
    found = differences(pair(source, settings))
    if np.inf in found.values():  # zero times infinity, as in the runs of the tool itself
        found = differences(pair(source, settings, thorough=True))
    name = max(found, key=lambda name: found[name])
    if found[name] < TOLERANCE:
        return name, found[name]
    # Behind a norm over few channels numbers may be nothing but rounding, which moved inputs show.
    noise = rounding(pair(source, settings))
    found = {name: off for name, off in found.items() if off > 2 * noise.get(name.split()[0], 0.0)}
    return max(found.items(), key=lambda item: item[1], default=(name, 0.0))


def rounding(found: Pair, seed: int = 0) -> dict[str, float]:
    """Value -> largest difference in the masked original, at kept positions, where weights move by some last bits."""
    inputs = feeds(found.reference, found.shapes.inputs, found.shapes, seed)
    moved = [found.reference, *(change(found.reference) for change in nudges_of_weights(NOISE_FACTOR))]
    base, *others = (outputs(model, inputs, found) for model in moved)
    return {name: max(difference(_kept(found, name, array), _kept(found, name, o[name])) for o in others)
            for name, array in base.items()}  # fmt: skip


def _kept(found: Pair, name: str, array: Array) -> Array:
    mask = found.cut.mask(found.originals[name])
    return array if mask is None else array[np.broadcast_to(mask, array.shape)]
