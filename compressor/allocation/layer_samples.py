"""Rows of linear layers, drawn from samples: what a matrix reads, and the gradient of the outputs by what it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt

from compressor.allocation.views import LinearView
from compressor.core.arrays import Array
from compressor.errors import ModelError
from compressor.reconstruct.form import Pick, Unrepairable

Floats32 = npt.NDArray[np.float32]
POSITIONS = 24
"""Rows that are drawn of a sample; neighbours in an image tell little more."""


@dataclass(frozen=True)
class Rows:
    """Rows of one layer.

    Attributes:
        inputs: float32[groups, samples, drawn, unknowns].
        gradients: float32[groups, samples, drawn, out], or None where there are none.
        positions: rows that a sample has, of which some were drawn.
    """

    inputs: Floats32
    gradients: Floats32 | None
    positions: int

    @property
    def drawn(self) -> int:
        """How many rows (positions) of each sample were drawn and are held here."""
        return int(self.inputs.shape[2])


@dataclass(frozen=True)
class Collected:
    """Rows of layers, by the names of their nodes.

    Attributes:
        found: of layers that can be judged.
        unread: why others cannot.
    """

    found: Mapping[str, Rows]
    unread: Mapping[str, str]


class Collectors:
    """One :class:`Collector` for each layer; those whose values cannot be taken in are let go, with the reason."""

    def __init__(self, views: Sequence[LinearView], seed: int, drawn: int) -> None:
        self._open = {view.layer.name: Collector(view, seed, drawn) for view in views}
        self._unread: dict[str, str] = {}

    def add(self, values: Mapping[str, Array], gradients: Mapping[str, Array] | None, samples: int) -> None:
        """One batch; raises ModelError where a gradient is no finite number."""
        for name, collector in list(self._open.items()):
            try:
                collector.add(values, gradients, samples)
            except Unrepairable as reason:
                self._unread[name] = str(reason)
                del self._open[name]

    def rows(self) -> Collected:
        """All that was collected."""
        return Collected({name: collector.rows() for name, collector in self._open.items()}, self._unread)


class Collector:
    """Takes in the values of batches and keeps rows.

    Args:
        view: the layer.
        seed: of the choice of rows.
        drawn: rows of a sample, at most.
    """

    def __init__(self, view: LinearView, seed: int, drawn: int = POSITIONS) -> None:
        self._view, self._seed, self._drawn = view, seed, drawn
        self._parts: list[tuple[Floats32, Floats32 | None]] = []
        self._positions = 0

    def add(self, values: Mapping[str, Array], gradients: Mapping[str, Array] | None, samples: int) -> None:
        """One batch of ``samples``: what layers read and, unless there are ``gradients``, what they give.

        Raises:
            Unrepairable: its rows are not those of samples, or not finite.
            ModelError: a gradient is no finite number.
        """
        view, layer = self._view, self._view.layer
        x = values[layer.x]
        shape = tuple((values if gradients is None else gradients)[layer.y].shape)
        # Made anew for each batch, whose size may differ from the bound one and from the last.
        form = layer.form((x.shape, layer.weight.read().shape, shape))
        # Rows of a batch are those of its samples one after another, as many of each.
        count = form.count(shape)
        positions = count // samples
        if not count or count % samples or (self._parts and positions != self._positions):
            raise Unrepairable("it does not give as many rows for each sample")
        pick = self._pick(samples, positions)
        rows = form.rows(x, shape, pick).astype(np.float32).reshape(len(view.matrix), samples, -1, view.inputs)
        slopes = None
        if gradients is not None:
            slopes = form.targets(gradients[layer.y], pick).astype(np.float32).reshape(*rows.shape[:3], -1)
        if not np.isfinite(rows).all():
            raise Unrepairable("what it reads is no finite number")
        # No fault of the layer: without gradients it can be judged.
        if slopes is not None and not np.isfinite(slopes).all():
            raise ModelError(f"the gradient of what node {layer.name!r} gives is no finite number")
        self._parts.append((rows, slopes))
        self._positions = positions

    def _pick(self, samples: int, positions: int) -> Pick:
        # By the layer's name and not its place, so that a layer draws the same rows whatever stands beside it.
        rng = np.random.default_rng([self._seed, crc32(self._view.layer.name.encode()), len(self._parts)])
        drawn = min(positions, self._drawn)
        # Other positions for each sample; one choice for all would see the same places of every image.
        chosen = rng.permuted(np.tile(np.arange(positions), (samples, 1)), axis=1)[:, :drawn]
        return np.asarray((np.sort(chosen, axis=1) + np.arange(samples)[:, None] * positions).ravel(), np.int64)

    def rows(self) -> Rows:
        """All rows that were collected, joined."""
        inputs = np.concatenate([x for x, _ in self._parts], axis=1)
        slopes = [g for _, g in self._parts if g is not None]
        return Rows(inputs, np.concatenate(slopes, axis=1) if slopes else None, self._positions)
