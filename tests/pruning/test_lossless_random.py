"""Random graphs with random slices of zeros: whatever lossless pruning takes away, the outputs stay."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx_ir as ir
import pytest

from compressor.channels.groups import Slot, group
from compressor.commands import prune
from compressor.config import PruneSettings
from compressor.core.arrays import Array
from compressor.errors import NotPossible
from compressor.pruning.cut.analysis import analyse
from compressor.pruning.lossless import SUMMING_ERROR
from compressor.pruning.proofs.runs.inputs import Inputs
from compressor.runtime.stored import run_once
from tests.property.graphs import blocks_of, random_model

FAST = range(12)
MANY = range(12, 400)
ROLES = {"filters": ("out",), "producers": ("out", "affine"), "consumers": ("in",), "all": ("out", "affine", "in")}


def masked_model(seed: int) -> tuple[ir.Model, PruneSettings, str]:
    """A random model in which parts of some channels are zero, settings, and a word on what it is made of."""
    rng = np.random.default_rng(seed)
    proto = random_model(rng)
    attention = str(rng.choice(["heads", "dims"]))
    simplify = bool(rng.random() < 0.7)
    settings = PruneSettings.parse({"lossless": True, "attention": attention, "simplify": simplify})
    analysis = analyse(ir.from_proto(proto), settings)
    arrays: dict[str, Array] = {}
    for member in group(analysis.coupling):
        units = member.units[rng.random(len(member.units)) < rng.choice([0.0, 0.3, 0.6])]
        roles = ROLES[str(rng.choice(list(ROLES)))]
        for slot in [s for s in member.slots if s.role in roles]:
            _clear(slot, units, arrays)
    for name, array in arrays.items():
        analysis.model.graph.initializers[name].const_value = ir.tensor(array, name=name)
    return ir.from_proto(ir.to_proto(analysis.model)), settings, " ".join(blocks_of(proto))


def _clear(slot: Slot, units: Array, arrays: dict[str, Array]) -> None:
    tensor = slot.value.const_value
    assert tensor is not None
    if tensor.dtype == ir.DataType.FLOAT:
        array = arrays.setdefault(str(slot.value.name), tensor.numpy().copy())
        hit = np.isin(slot.term.units, units)
        sizes = dict(zip(slot.term.axes, hit.shape, strict=True))
        shape = [sizes.get(axis, 1) for axis in range(array.ndim)]
        array[np.broadcast_to(hit.reshape(shape), array.shape)] = 0


def _finite(model: ir.Model, settings: PruneSettings) -> bool:
    """Zeros where a variance or divisor was leave nothing to compare."""
    analysis = analyse(model, settings)
    outputs = run_once(analysis.model, Inputs(analysis.model, analysis.shapes, settings.seed).both, "cpu").outputs
    return all(np.isfinite(a).all() for run in outputs for a in run if a.dtype.kind == "f")


@cache
def check(seed: int) -> int:
    """Prunes one graph; the run itself compares with the original. Returns the channels removed."""
    model, settings, blocks = masked_model(seed)
    if not _finite(model, settings):
        return 0
    try:
        result = prune.prune(model, settings)
    except NotPossible:
        return 0
    assert result.report.proof is not None
    assert result.report.proof.tolerance == SUMMING_ERROR, blocks
    return sum(g.removed for g in result.report.groups)


@pytest.mark.parametrize("seed", FAST)
def test_outputs_stay(seed: int) -> None:
    check(seed)


def test_random_graphs_do_lose_channels() -> None:
    """The property would hold of a tool that removes nothing."""
    assert sum(check(seed) > 0 for seed in FAST) >= 9


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_outputs_stay_on_many(seed: int) -> None:
    check(seed)
