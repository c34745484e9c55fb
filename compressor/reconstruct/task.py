"""The repair of one weight: rows of the layers that use it, a fit on most of them, a verdict on the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from types import MappingProxyType
from zlib import crc32

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.reconstruct.biases import read_bias, write_bias
from compressor.reconstruct.fit import Affine, Fit, Holdout, MakeFit
from compressor.reconstruct.form import Matrix, OperandForm, Pick, Unrepairable
from compressor.reconstruct.layers import LayerPair
from compressor.reconstruct.options import ReconstructOptions

EXACT = 1e-5
"""Error of a layer, as a share of the spread of its outputs, that is not worth a repair."""
UNDERSTOOD = MappingProxyType({"float16": 2e-2, "float32": 1e-3, "float64": 1e-6})
"""Largest difference between a dense layer's form and its output, as a share of the output's range."""
UNCHANGED = "nothing tried is better on the held-out rows"
"""Why a layer keeps its weights that could have had others."""
BY_INTEGERS = 2e-2
"""The same where the weight is integers on a grid: a runtime may then round what the layer reads to 8 bits."""
CHECKED = 64
"""Rows on which a form is held against the runtime."""


@dataclass(frozen=True)
class LayerRepair:
    """What was done to one layer.

    Attributes:
        node: its name.
        before: error of its output on held-out rows with the surviving weights, as a share of the dense output's
            spread about its mean.
        after: the same with the weights that it has now.
        changed: whether these are new.
        reason: why not, or None.
    """

    node: str
    before: float
    after: float
    changed: bool
    reason: str | None = None


@dataclass(frozen=True)
class Split:
    """Which batches fit and which judge; a single batch does both, with different rows."""

    batches: int

    @property
    def held(self) -> int:
        """Batches that judge: the last quarter."""
        # A single batch has no batch to spare; its rows are split instead.
        return max(1, self.batches // 4) if self.batches > 1 else 0

    def fits(self, batch: int) -> bool:
        """Is the batch one that is fitted, not one that judges?"""
        return batch < self.batches - self.held

    def judges(self, batch: int) -> bool:
        """Is the batch one of which rows judge?"""
        return not self.held or not self.fits(batch)


@dataclass
class _User:
    """One layer of the task, once its first batch was seen."""

    form: OperandForm
    bias: Matrix
    rank: int


class WeightTask:
    """Repairs the weight of one layer, or of several that share it."""

    def __init__(self, layers: list[LayerPair], make: MakeFit, split: Split, options: ReconstructOptions) -> None:
        self.layers = layers
        self._make, self._split, self._options = make, split, options
        self._users: dict[int, _User] = {}
        self._fit: Fit | None = None
        self._matrix: Matrix | None = None
        self._holdout = Holdout(len(layers))
        self.reason: str | None = None
        """Why the weight cannot be repaired, once that is known."""
        self._exact = False

    @property
    def live(self) -> bool:
        """Is it still to be repaired?"""
        return self.reason is None and not self._exact

    def feed(
        self,
        index: int,
        batch: int,
        found: tuple[Array | None, Array, Array | None],
        kept: Callable[[str, Array], Array],
    ) -> None:
        """One batch of layer ``index``: its input, the dense output, and the dense input where it is known.

        Without an input, what the cut left of the dense one takes its place. ``kept`` says what that is of a value, by
        name.
        """
        # Reasons and exact layers are final: later batches cost nothing then.
        if not self.live:
            return
        layer = self.layers[index]
        x, whole, dense_x = found
        try:
            if x is None and dense_x is not None:
                x = kept(layer.x, dense_x)
            y = kept(layer.y, whole)
            assert x is not None
            # At the first batch, before a row is fitted: a misread attribute then costs a repair and never accuracy.
            if index not in self._users:
                if dense_x is not None:
                    _check(layer, dense_x, whole)
                self._start(index, x, y)
            self._take(index, batch, x, y)
        except Unrepairable as reason:
            self.reason = str(reason)
        # numpy says so where rows or windows of this input and output do not fit together.
        except (IndexError, ValueError):
            self.reason = "the sizes of its input and output do not belong together"

    def _start(self, index: int, x: Array, y: Array) -> None:
        layer = self.layers[index]
        weight = layer.weight.read()
        form = layer.form((x.shape, weight.shape, y.shape))
        matrix = form.matrix(weight)
        if self._matrix is None:
            self._matrix = matrix
            self._fit = self._make(matrix, len(self.layers), self._options)
        # One weight for all of them is only right if each reads it as the same matrix.
        elif not np.array_equal(self._matrix, matrix):
            raise Unrepairable("layers that share its weight read it in other ways")
        self._users[index] = _User(form, read_bias(layer, form, matrix, y.ndim), y.ndim)

    def _take(self, index: int, batch: int, x: Array, y: Array) -> None:
        user, name = self._users[index], self.layers[index].name
        assert self._fit is not None
        assert self._matrix is not None
        pick, held = self._pick(name, batch, user.form.count(y.shape))
        if len(held):
            self._holdout.add(index, user.form.rows(x, y.shape, held), user.form.targets(y, held))
        if len(pick):
            rows, targets = user.form.rows(x, y.shape, pick), user.form.targets(y, pick)
            # A layer before which nothing was lost is right already; fitting it would only add noise.
            if batch == 0 and len(self.layers) == 1 and not self._fit.binding:
                self._exact = _error(self._matrix, user.bias, rows, targets) <= EXACT
            self._fit.add(index, rows, targets)

    def _pick(self, name: str, batch: int, count: int) -> tuple[Pick, Pick]:
        """Rows of this batch, of which it has ``count``, to fit and to judge: a seeded sample without replacement.

        Two sorted int64 arrays with no row in common; one may be empty.
        """
        assert self._matrix is not None
        options, split = self._options, self._split
        # One more for the bias.
        unknowns = self._matrix.shape[2] + 1
        # A wide layer keeps its rows themselves, so that more of them would not fit into memory.
        budget = options.rows_for(unknowns)
        fitting = ceil(budget / (split.batches - split.held)) if split.fits(batch) else 0
        judging = ceil(options.held_rows / max(split.held, 1)) if split.judges(batch) else 0
        # A single batch does both; at most a quarter of its rows judge.
        if fitting and judging:
            judging = min(judging, count // 4)
            fitting = min(fitting, count - judging)
        # By name and batch, so that a layer draws the same rows whatever other layers are repaired.
        rng = np.random.default_rng([options.seed, crc32(name.encode()), batch])
        wanted = min(fitting + judging, count)
        chosen = np.arange(count) if wanted == count else rng.choice(count, wanted, replace=False, shuffle=False)
        if fitting and judging:
            # Unshuffled, the held rows would all be the last ones, of the last samples.
            chosen = rng.permutation(chosen)
        held = chosen[wanted - min(judging, wanted) :] if judging else chosen[:0]
        # Sorted, since rows are read from memory in this order.
        return np.sort(chosen[: wanted - len(held)]), np.sort(held)

    def finish(self) -> list[LayerRepair]:
        """Chooses by the held-out rows, writes, and says what was done to each layer."""
        if not self.live or self._fit is None or self._matrix is None:
            return []
        now = Affine(self._matrix, tuple(self._users[k].bias for k in range(len(self.layers))))
        before = after = self._holdout.error(now)
        best = now
        for proposal in map(self._stored, self._fit.proposals()):
            error = self._holdout.error(proposal)
            # A fit that is binding has to replace the weights, so its first proposal is taken even if it is worse.
            if error < after or (self._fit.binding and best is now):
                best, after = proposal, error
        changed = best is not now and self._write(now, best)
        reason = None if changed else UNCHANGED
        return [LayerRepair(layer.name, before, after if changed else before, changed, reason) for layer in self.layers]

    def _stored(self, proposal: Affine) -> Affine:
        """A proposal as the file will hold it: rounded, where the weight is integers on a grid."""
        weight, form = self.layers[0].weight, self._users[0].form
        if weight.reals is None:
            return proposal
        return replace(proposal, matrix=form.matrix(weight.stored(form.weight(proposal.matrix))))

    def _write(self, now: Affine, best: Affine) -> bool:
        """Writes ``best`` over ``now``; false, and nothing is written, where the element type cannot hold a number."""
        first, weight = self._users[0], self.layers[0].weight
        made = first.form.weight(best.matrix)
        # A float16 weight overflows to infinity at 65504, and would spoil the whole net.
        limit = float(ir.DataType.from_numpy(weight.read().dtype).max)
        if not all(np.abs(array).max(initial=0.0) < limit for array in (made, *best.biases)):
            return False
        # Bias correction without a change of spread leaves the matrix as it is.
        if best.matrix is not now.matrix:
            weight.write(made)
        for index, layer in enumerate(self.layers):
            user = self._users[index]
            # The difference and not the bias itself, which may lie in an Add that holds more than this layer's bias.
            write_bias(layer, user.form, best.biases[index] - now.biases[index], user.rank)
        return True


def _error(matrix: Matrix, bias: Matrix, x: Matrix, y: Matrix) -> float:
    gap = y - x @ matrix.transpose(0, 2, 1) - bias[:, None]
    # Constant outputs, as those of a single row, are no reason to repair a layer by their rounding.
    spread = float(np.square(y - y.mean(axis=1, keepdims=True)).sum()) or float(np.square(y).sum())
    # Rows of zeros, as of empty sequences, tell nothing.
    return float(np.sqrt(np.square(gap).sum() / spread)) if spread else float("inf")


def _check(layer: LayerPair, x: Array, y: Array) -> None:
    """Raises Unrepairable where the form of the dense layer does not give what the runtime gave."""
    weight = layer.dense_weight.read()
    form = layer.form((x.shape, weight.shape, y.shape), dense=True)
    matrix = form.matrix(weight)
    count = form.count(y.shape)
    pick = np.unique(np.linspace(0, count - 1, min(count, CHECKED)).astype(np.int64))
    # The dense layer on both sides, so that reading its bias goes the same way as for any pair.
    dense = LayerPair(layer.dense, layer.dense, layer.held, layer.dense_weight, layer.dense_weight, layer.kind)
    made = form.rows(x, y.shape, pick) @ matrix.transpose(0, 2, 1) + read_bias(dense, form, matrix, y.ndim)[:, None]
    targets = form.targets(y, pick)
    gap, scale = np.abs(made - targets).max(initial=0.0), np.abs(targets).max(initial=0.0)
    # Written so that NaN, which compares as false, is refused too.
    allowed = UNDERSTOOD.get(str(y.dtype), 2e-2) if layer.dense_weight.reals is None else BY_INTEGERS
    if not gap <= allowed * max(float(scale), 1e-30):
        raise Unrepairable("its numbers are not what its attributes say, or not finite")


def by_weight(layers: list[LayerPair]) -> list[list[LayerPair]]:
    """Layers together that share a weight, in the order of the graph."""
    found: Mapping[ir.Value, list[LayerPair]] = {layer.weight.initializer: [] for layer in layers}
    for layer in layers:
        found[layer.weight.initializer].append(layer)
    return list(found.values())
