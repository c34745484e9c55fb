"""Would a layer that is written wrongly have been noticed? Its new weights are shifted on purpose, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from compressor.errors import ModelError
from compressor.pruning.canary import EFFORT, NODE_EFFORT, PARAMETER_EFFORT
from compressor.pruning.piecewise import runnable
from compressor.pruning.proof import NotProved
from compressor.pruning.standard import Standard
from compressor.structures.apply import Changed, ChangedLayer

BLIND = "no output moves when the weights that it was written as are shifted by one"


def wrong_weights(changed: Changed, asked: Standard, folder: Path, provider: str) -> tuple[int, list[NotProved]]:
    """How many wrong layers were noticed, and those that were not.

    Args:
        changed: the model and its layers.
        asked: the standard that it met.
        folder: where files may be put.
        provider: where they are run.
    """
    noticed, missing = 0, list[NotProved]()
    for part in _parts(changed, [layer for layer in changed.layers if layer.lowered]):
        if _noticed(changed.model, part, asked, folder, provider):
            noticed += 1
            continue
        for layer in part:
            if len(part) > 1 and _noticed(changed.model, [layer], asked, folder, provider):
                noticed += 1
            else:
                missing.append(NotProved(layer.node, BLIND))
    return noticed, missing


def _parts(changed: Changed, layers: Sequence[ChangedLayer]) -> Iterator[Sequence[ChangedLayer]]:
    """Layers that are written wrongly together: each alone where that is cheap, all at once where it is dear."""
    graph = changed.model.graph
    tensors = [v.const_value for v in graph.initializers.values() if v.const_value is not None]
    effort = NODE_EFFORT * graph.num_nodes() + PARAMETER_EFFORT * sum(int(t.size) for t in tensors)
    # So many layers are written wrongly at once that the effort stays within its limit.
    size = max(1, math.ceil(len(layers) / max(1, EFFORT // max(1, effort))))
    for start in range(0, len(layers), size):
        yield layers[start : start + size]


def _noticed(model: ir.Model, layers: Sequence[ChangedLayer], asked: Standard, folder: Path, provider: str) -> bool:
    copy = model.clone()
    for layer in layers:
        # One weight is enough; of two factors the last one gives the output.
        value = copy.graph.initializers[layer.weights[-1]]
        assert value.const_value is not None
        array = value.const_value.numpy()
        # Along the longest axis, as one of size one would not move at all.
        value.const_value = ir.tensor(np.roll(array, 1, axis=int(np.argmax(array.shape))), name=value.name)
    feeds = asked.runs.feeds
    # Small inputs first, as most faults show at once.
    order = sorted(range(len(feeds)), key=lambda k: sum(a.size for a in feeds[k].values()))
    try:
        live = runnable(copy, folder, provider).open(optimise=asked.optimise)
        return any(not asked.only(k).met_by(live.run([feeds[k]])) for k in order)
    # A wrong layer that does not even run is noticed, too.
    except ModelError:
        return True
