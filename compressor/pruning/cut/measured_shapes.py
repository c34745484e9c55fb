"""Shapes behind operators that nobody knows: taken from a run in ONNX Runtime, which knows them or runs nothing.

An operator of a foreign domain says nothing of what it makes, and whatever stands behind it would have no shape and
could not be pruned. Only the operator itself and what it touches need to stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from compressor.config import RunSettings
from compressor.config.proof import ProofSection
from compressor.errors import ModelError, ProviderUnavailable
from compressor.graph.ir.captures import has_graph
from compressor.graph.ir.meta_keys import SAMPLE
from compressor.graph.ir.nodes import is_standard
from compressor.graph.sizes.binding import Bound
from compressor.graph.sizes.dims import Misfit
from compressor.graph.sizes.feeds import feeds
from compressor.graph.sizes.known import MeasuredValue
from compressor.graph.sizes.shapes import Shapes
from compressor.operators.sizes import infer

SEEDS = 2
"""Runs on different numbers at each size: a shape that differs between them depends on data."""


def shapes_of(model: ir.Model, settings: RunSettings) -> Shapes:
    """Every shape that can be inferred, also behind operators that need a run.

    Args:
        model: normalised; not changed.
        settings: sizes that the user gave, the provider, the seed.

    Raises:
        ModelError: shapes do not fit; see :func:`compressor.operators.sizes.infer`.
    """
    shapes = infer(model, settings.input_shapes, settings.dims)
    found = _completed(model, shapes, settings.seed, settings.provider)
    # Costs of convolutions and of attention grow differently with sizes, so those that will be used tell more.
    if (sample := model.graph.meta.get(SAMPLE)) is not None:
        found.count_at(sample, model.graph)
    return found


def shapes_at(model: ir.Model, inputs: Bound, settings: ProofSection) -> Shapes:
    """:func:`shapes_of` at given sizes of the inputs."""
    return _completed(model, infer(model, inputs), settings.seed, settings.provider)


def _completed(model: ir.Model, shapes: Shapes, seed: int, provider: str) -> Shapes:
    # Mostly nothing is missing, and ONNX Runtime is not loaded at all.
    missing = unknown(model.graph, shapes)
    if not missing:
        return shapes
    try:
        return shapes.completed(model, _run(model, shapes, missing, seed, provider))
    except (ModelError, ProviderUnavailable, Misfit):
        return shapes  # what is behind the operator stays, with the reason that its shape is not known


def unknown(graph: ir.Graph, shapes: Shapes) -> list[ir.Value]:
    """Results whose shape does not follow, though those of the inputs do: of foreign operators and control flow, and
    where the numbers of the input decide how many there are."""
    missing: list[ir.Value] = []
    clear = {*graph.inputs, *graph.initializers.values()}
    for node in graph:
        # Only the first unknown value on a way is asked for; what follows from it is inferred once that is known.
        if not all(v is None or v in clear for v in node.inputs):
            continue
        behind = any(v is not None and shapes(v) is None and not shapes.sequence(v) for v in node.inputs)
        # A standard operator behind an unknown shape is unknown because of it, and needs no run of its own.
        foreign = not is_standard(node) or has_graph(node) or not behind
        for value in node.outputs:
            sequence = shapes.sequence(value)
            if foreign and value.name and shapes(value) is None and not sequence:
                missing.append(value)
            if foreign or behind or sequence or shapes(value) is not None:
                clear.add(value)
    return missing


def _run(
    model: ir.Model, shapes: Shapes, missing: Sequence[ir.Value], seed: int, provider: str
) -> dict[ir.Value, MeasuredValue]:
    """What runs showed of ``missing``; values whose shape depends on data, or that are no tensors, are left out."""
    from compressor.runtime.shape_probe import probe  # noqa: PLC0415 - ONNX Runtime is loaded only where it runs

    names = [str(v.name) for v in missing]
    # Same sizes, other numbers: what differs between the runs depends on data.
    runs = [feeds(model, shapes.inputs, shapes, seed + k) for k in range(SEEDS)]
    first, *others = probe(model, names, runs, provider)
    return {v: first[n] for v, n in zip(missing, names, strict=True) if n in first and _agree(n, first, others)}


def _agree(name: str, first: Mapping[str, MeasuredValue], others: Sequence[Mapping[str, MeasuredValue]]) -> bool:
    """Is there something, of as many axes in every run? A size that differs counts as open, like all that the file
    does not declare: nothing goes along it."""
    shape, dtype = first[name]
    # An empty result says nothing about the sizes that it has otherwise.
    return bool(np.prod(shape)) and all(
        name in other and len(other[name][0]) == len(shape) and other[name][1] == dtype for other in others
    )
