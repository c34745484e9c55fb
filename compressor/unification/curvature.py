"""How much a change of each weight matters, from samples: the h of the distance Σ h (w - z)².

- ``inputs``: mean square of what the weight multiplies. Σ h δ² then is the mean squared error of the layer's output,
  but for the products of different weights (diagonal of the layer-wise Hessian, Optimal Brain Surgeon; arXiv:2306.11695
  takes its root). No training is needed.
- ``gradients``: mean square of the gradient of a random projection of the model's outputs: the diagonal of the
  Gauss-Newton matrix (`train/gradients/saliency_loss.py`), which weighs layers and outputs too. Needs torch.

Both are brought to a mean of one in each weight, and kept above a thousandth, so that no weight is free of charge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import tee
from types import MappingProxyType
from zlib import crc32

import numpy as np
import onnx_ir as ir

from compressor.config import UnifySettings
from compressor.core.arrays import Array
from compressor.core.extras import TRAINING_PACKAGES, require
from compressor.data import Batch, Dataset
from compressor.graph.ir.nodes import input_of
from compressor.operators.table import operator_of
from compressor.reconstruct import ReconstructOptions
from compressor.reconstruct.form import Matrix, Unrepairable
from compressor.reconstruct.layers import LayerKind, layer_kind
from compressor.reconstruct.run import batches_of
from compressor.reconstruct.weights import ReadWeight, weight_of
from compressor.runtime.taps import tap

ROWS_A_BATCH = 4096
"""Rows of a layer's input that are looked at in a batch, drawn at random."""
CURVATURE_BATCHES = 32
"""Minibatches that gradients are squared of at least: the relative error of their mean is √(2 / rounds)."""
LEAST = 1e-3
"""Least share of the mean: what samples never excite may matter to others, and at zero it would be free to damage."""
Curvatures = Mapping[str, Matrix]
"""h by the name of the weight, each of its shape."""


@dataclass(frozen=True)
class _Reader:
    """A node that multiplies a weight with something."""

    node: ir.Node
    kind: LayerKind
    held: int
    weight: ReadWeight

    @property
    def ends(self) -> tuple[str, str]:
        """Names of what is multiplied, and of the result."""
        return str(input_of(self.node, 1 - self.held).name), str(self.node.outputs[0].name)


def curvatures(model: ir.Model, names: Iterable[str], data: Dataset, settings: UnifySettings) -> dict[str, Array]:
    """What ``settings.curvature`` says of these weights; a weight that it cannot tell of is left out.

    Args:
        model: not changed.
        names: of initializers.
        data: of which ``settings.samples`` samples are drawn.
        settings: the kind of curvature, samples, seed, provider.

    Raises:
        ModelError: the model does not run.
        UsageError: there is no sample; or torch, which gradients need, is missing.
    """
    found = _KINDS[settings.curvature](model, [*names], data, settings)
    return {name: h for name, total in found.items() if (h := _scaled(total)) is not None}


def _scaled(total: Matrix) -> Array | None:
    mean = float(total.mean())
    if not np.isfinite(mean) or mean <= 0:
        # A weight that no sample reaches, or whose numbers overflow, is left to the plain distance.
        return None
    return np.maximum(total / mean, LEAST).astype(np.float32)


def _drawn(model: ir.Model, data: Dataset, settings: UnifySettings, size: int) -> Iterator[Batch]:
    count, read = batches_of(
        model, data, ReconstructOptions(samples=settings.samples, batch_size=size, seed=settings.seed)
    )
    return (read(index) for index in range(count))


def _of_inputs(model: ir.Model, names: list[str], data: Dataset, settings: UnifySettings) -> Curvatures:
    readers = [*_readers(model, {*names})]
    wanted = list(dict.fromkeys(name for reader in readers for name in reader.ends))
    feeds = {str(v.name) for v in model.graph.inputs}
    sums: dict[int, Matrix] = {}
    found: dict[str, Matrix] = {}
    shown = [name for name in wanted if name not in feeds]
    # Read once and used twice; both iterators go in step, so that one batch is held.
    read, ran = tee(_drawn(model, data, settings, settings.batch_size))
    taps = tap(model, shown, (batch.inputs for batch in ran), settings.provider)
    for number, (batch, arrays) in enumerate(zip(read, taps, strict=True)):
        values = {**batch.inputs, **dict(zip(shown, arrays, strict=True))}
        for k, reader in enumerate(readers):
            # By node and batch: which rows are drawn does not depend on what other weights are asked for.
            seed = [settings.seed, crc32(str(reader.node.name).encode()), number]
            mean = _mean_square(reader, values, np.random.default_rng(seed))
            if mean is not None:
                # By the number of samples, as the last batch may be smaller.
                sums[k] = sums.get(k, np.zeros(())) + len(batch) * mean
    for k, total in sums.items():
        initializer = readers[k].weight.initializer
        # Several nodes may read one weight; what they multiply it with adds up.
        assert initializer.const_value is not None
        whole = found.setdefault(str(initializer.name), np.zeros(initializer.const_value.numpy().shape))
        _add(whole, readers[k].weight, total)
    return found


def _readers(model: ir.Model, names: set[str]) -> Iterator[_Reader]:
    """Every linear node of the main graph that reads one of the weights, moved on the way or not."""
    for node in model.graph:
        kind = layer_kind(node) if operator_of(node).linear else None
        for held in kind.held if kind is not None else ():
            try:
                weight = weight_of(node.inputs[held], model.opset_imports)
            except Unrepairable:
                continue
            if weight is not None and str(weight.initializer.name) in names and node.inputs[1 - held] is not None:
                assert kind is not None
                yield _Reader(node, kind, held, weight)
                # Once for each node: a product of the weight with itself is not told apart.
                break


def _mean_square(reader: _Reader, values: Mapping[str, Array], rng: np.random.Generator) -> Matrix | None:
    """Of what each entry of the weight multiplies, in the shape that the node reads; None where it has no form."""
    x, y = (values[name] for name in reader.ends)
    weight = reader.weight.read()
    try:
        form = reader.kind.make(reader.node, reader.held, (x.shape, weight.shape, y.shape))
        count = form.count(y.shape)
        pick = np.sort(rng.choice(count, min(count, ROWS_A_BATCH), replace=False)).astype(np.int64)
        rows = form.rows(x, y.shape, pick)
        matrix = form.matrix(weight)
        mean = np.square(rows).mean(axis=1)
        # An input matters alike to all outputs.
        return form.weight(np.broadcast_to(mean[:, None], matrix.shape))
    except (Unrepairable, IndexError, ValueError):
        return None


def _add(whole: Matrix, weight: ReadWeight, part: Matrix) -> None:
    if weight.place is None:
        whole += part
    else:
        # A place may occur several times in what the node reads; plain indexing would add once.
        np.add.at(whole.reshape(-1), weight.place.ravel(), part.ravel())


def _of_gradients(model: ir.Model, names: list[str], data: Dataset, settings: UnifySettings) -> Curvatures:
    require("--curvature gradients", *TRAINING_PACKAGES)
    from compressor.train.gradients.squared_gradients import squared_gradients  # noqa: PLC0415 - torch is loaded for gradients only

    # More and smaller batches where there are few samples, as each gives one draw of signs.
    size = max(1, min(settings.batch_size, min(settings.samples, len(data)) // CURVATURE_BATCHES))
    return squared_gradients(model, names, _drawn(model, data, settings, size), settings.seed)


_KINDS: Mapping[str, Callable[[ir.Model, list[str], Dataset, UnifySettings], Curvatures]] = MappingProxyType(
    {"inputs": _of_inputs, "gradients": _of_gradients}
)
