"""How large a model is and what it costs: bytes, parameters, multiply-accumulates and nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from compressor.channels.groups import ChannelGroup
from compressor.config import RunSettings
from compressor.graph.disk import files
from compressor.graph.disk.stream import plan_files
from compressor.graph.form.normalise import normalise
from compressor.graph.form.restore_packed import with_plain_weights
from compressor.graph.sizes.binding import Bound, fitted
from compressor.graph.sizes.shapes import Shapes
from compressor.operators import quantization_grid
from compressor.pruning.budgets import cost
from compressor.pruning.cut.analysis import Analysis
from compressor.pruning.cut.measured_shapes import shapes_at, shapes_of
from compressor.results import (
    ModelStats,
)

if TYPE_CHECKING:
    from compressor.evaluate.pair import Opened


@dataclass(frozen=True)
class CountedGraph:
    """A graph whose multiply-accumulates are counted, and its shapes."""

    graph: ir.Graph
    shapes: Shapes


def stats(path: Path | None, size: int, source: ir.Graph, params: int, counted: CountedGraph) -> ModelStats:
    """One row of the report.

    Args:
        path: of the file.
        size: bytes on disk.
        source: the graph as it is.
        params: parameters of it.
        counted: what MACs are counted on.
    """
    graph, shapes = counted.graph, counted.shapes
    return ModelStats(
        path=None if path is None else str(path),
        bytes=size,
        params=params,
        macs=cost.macs_per_sample(graph, shapes),
        macs_at=_counted_at(source, shapes),
        uncounted=len(cost.uncounted(graph, shapes)),
        nodes=source.num_nodes(),
        opset=source.opset_imports.get("", 0),
    )


def _counted_at(source: ir.Graph, shapes: Shapes) -> dict[str, list[int]]:
    """Shapes of one sample, by the inputs that have open sizes beside the axis of samples."""
    open_inputs = (v for v in source.inputs if v.shape is None or not all(isinstance(d, int) for d in v.shape[1:]))
    bound = {str(v.name): shapes.cost_inputs.get(str(v.name)) for v in open_inputs}
    # A number of samples that was made up is divided by; one that the model fixes is counted whole.
    return {n: [1 if shape[0] == shapes.batch else shape[0], *shape[1:]] for n, shape in bound.items() if shape}


def stats_of(source: ir.Model, analysis: Analysis, size: int, path: Path | None) -> ModelStats:
    """The original, counted before anything is cut."""
    return stats(path, size, source.graph, _params(source), CountedGraph(analysis.model.graph, analysis.shapes))


def _params(model: ir.Model) -> int:
    """Parameters of a model as it came; those of Constant nodes count, so it is normalised first."""
    return cost.graph_params(with_plain_weights(normalise(model.clone())).graph)


def stats_in_memory(
    model: ir.Model,
    settings: RunSettings,
    size: int | None = None,
    path: Path | None = None,
    *,
    inputs: Bound | None = None,
) -> ModelStats:
    """A model as it is; without ``size``, bytes on disk, its bytes are those it would have in one file.

    ``inputs`` are the sizes that the original was counted at. Those that would be chosen for this model may be larger,
    as its values are smaller.
    """
    stored = normalise(model.clone())
    # What unpacks weights is computed once, when a runtime loads the model, and is no cost of a sample.
    plain = with_plain_weights(stored)
    shapes = shapes_at(plain, fitted(inputs, plain.graph), settings) if inputs else shapes_of(plain, settings)
    size = plan_files(model).size if size is None else size
    return stats(path, size, model.graph, cost.graph_params(plain.graph), CountedGraph(plain.graph, shapes))


def counted_inputs(model: ir.Model, settings: RunSettings) -> Bound:
    """The sizes of its inputs at which a model is counted."""
    return shapes_of(with_plain_weights(normalise(model.clone())), settings).cost_inputs


def stats_of_file(opened: Opened, settings: RunSettings) -> ModelStats:
    """A model that was opened to be measured."""
    return stats_in_memory(opened.model, settings, files.size_on_disk(opened.path), opened.path)


def prunable_params(analysis: Analysis, groups: Sequence[ChannelGroup], whole: int) -> int:
    """How many of the ``whole`` parameters of a model lie in weights that some group has an axis of.

    In the analysed graph constants have copies, are folded or fused, so the share there is what counts.
    """
    held = quantization_grid.weight_elements(dict.fromkeys(slot.value for member in groups for slot in member.slots))
    return round(whole * held / max(1, cost.graph_params(analysis.model.graph)))
