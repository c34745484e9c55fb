"""A unified layer: what is proved of it, and what is reported."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx_ir as ir

from compressor.config import UnifySettings
from compressor.core.compare import is_real, relative, squares
from compressor.errors import PLEASE, ProofFailed
from compressor.graph.evaluate import Array
from compressor.results.unify import ResidualRow, TrainingRow, UnifiedRow
from compressor.runtime.stored import Runs
from compressor.unification import measure
from compressor.unification.assignment import FREE, PRUNED, UNIFIED
from compressor.unification.choose import notation
from compressor.unification.layers import Found, UnifiedLayer
from compressor.unification.layout import Layout
from compressor.unification.packed import Packed
from compressor.unification.packed_codebook import PackedCodebook
from compressor.unification.train import Trained
from compressor.unification.unpacked import unpacked

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Unified:
    """A layer with its weights and their packed form.

    Attributes:
        layer: where it is.
        original: the weight as it came.
        constrained: as it was packed, which free blocks are taken from.
        packed: what is stored.
    """

    layer: UnifiedLayer
    original: Array
    constrained: Array
    packed: Packed | PackedCodebook

    @cached_property
    def weight(self) -> Array:
        """The constrained weight, as it is written."""
        return self.packed.decode()

    def satisfied(self, weight: Array) -> bool:
        """Whether ``weight`` satisfies the constraint that was packed, to the last bit."""
        if isinstance(self.packed, PackedCodebook):
            return self.packed.satisfied(weight)
        return measure.satisfied(weight, self.constrained, self.layer.layout, self.packed.kinds())

    def measured(self) -> measure.WeightStatistics:
        """What it costs and saves."""
        if isinstance(self.packed, PackedCodebook):
            return measure.measure_codebook(self.original, self.packed, self.weight, self.layer.macs)
        return measure.weight_statistics(self.original, self.packed, self.weight, self.layer.macs)


def with_weights(model: ir.Model, unified: Iterable[Unified]) -> ir.Model:
    """A copy of the model with the constrained weights as plain tensors."""
    copy = model.clone()
    for item in unified:
        name = item.layer.name
        copy.graph.initializers[name].const_value = ir.tensor(item.weight, name=name)
    return copy


def demand_exact(result: ir.Model, unified: Iterable[Unified]) -> None:
    """Every weight is unpacked to its bits, and satisfies its constraint.

    Raises:
        ProofFailed: one is not, with the runtime's optimisation or without.
    """
    layers = {u.layer.name: u for u in unified}
    # Folded in advance or computed at run time, unpacking goes through different kernels.
    for optimise in (False, True):
        for name, weight in unpacked(result, list(layers), optimise=optimise).items():
            own = layers[name]
            # Bytes and not numbers, as -0 equals 0.
            if weight.tobytes() != own.weight.tobytes():
                raise ProofFailed(f"weight {name!r} is not unpacked to the bits that were packed; {PLEASE}")
            if not own.satisfied(weight):
                raise ProofFailed(f"weight {name!r} does not satisfy its constraint; {PLEASE}")


def output_error(before: Runs, after: Runs) -> float | None:
    """Largest norm of a change, as a share of the norm of the output."""
    pairs = [pair for rows in zip(before.outputs, after.outputs, strict=True) for pair in zip(*rows, strict=True)]
    found = [relative(*squares(one, two)) for one, two in pairs if is_real(one)]
    # An output of zeros has no share to be of.
    return max((error for error in found if np.isfinite(error)), default=None)


def training_row(settings: UnifySettings, trained: Trained) -> TrainingRow:
    """The row of the report on what training did."""
    return TrainingRow(
        method=settings.method,
        epochs=settings.approach_epochs,
        retrain_epochs=settings.retrain_epochs,
        residuals=[ResidualRow(**vars(layer_row)) for layer_row in trained.residuals],
    )


def layer_row(unified: Unified) -> UnifiedRow:
    """What is reported of a layer."""
    layer, packed, weight = unified.layer, unified.packed, unified.weight
    found = unified.measured()
    return UnifiedRow(
        name=layer.name,
        label=layer.label,
        shape=list(layer.layout.view.shape),
        block=_block(layer.layout),
        weights=weight.size,
        blocks=layer.layout.count,
        unified=found.counts[UNIFIED],
        pruned=found.counts[PRUNED],
        free=found.counts[FREE],
        values=found.values,
        error=found.error,
        bits=found.bits,
        stored=packed.stored,
        macs=layer.macs,
        multiplications=found.multiplications,
        additions=found.additions,
    )


def _block(layout: Layout) -> str:
    if layout.block.values:
        return notation(layout.block)
    return ("matrix:" if layout.block.matrix else "") + "x".join(map(str, layout.spans))


def ideal_bytes(dense: ir.Model, unified: Iterable[Unified], rows: Iterable[UnifiedRow]) -> int:
    """All initializers; unified ones by their ideal bits."""
    tensors = [v.const_value for v in dense.graph.initializers.values()]
    total = sum(int(t.nbytes) for t in tensors if t is not None)
    return total - sum(u.weight.nbytes for u in unified) + int(sum(layer_row.bits for layer_row in rows) / 8)


def nothing(found: Found) -> str:
    """Why no weight is unified, with the main reason."""
    if not found.left:
        return "the model has no floating-point weight, so there is nothing to unify"
    reasons: Mapping[str, int] = {
        reason: sum(x.weights for x in found.left if x.reason == reason) for reason in {x.reason for x in found.left}
    }
    main = max(sorted(reasons), key=lambda reason: reasons[reason])
    count = sum(x.reason == main for x in found.left)
    return f"no weight can be unified; the main reason, of {count} of {len(found.left)}: {main}"


def gzip_bytes(paths: Iterable[Path]) -> int:
    """Bytes of these files after gzip, without writing them."""
    total = 0
    for path in sorted(paths):
        # With the header of gzip and not that of zlib.
        packer = zlib.compressobj(wbits=31)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                total += len(packer.compress(chunk))
        total += len(packer.flush())
    return total
