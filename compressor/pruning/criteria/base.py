"""What a criterion is, and what it looks at: weights, and what was measured on data."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from compressor.channels.groups import ChannelGroup, Slot
from compressor.channels.labels import UnitArray
from compressor.errors import CompressorError
from compressor.graph.tensors.weights import parts
from compressor.operators.quantization_grid import grid_of, real
from compressor.pruning.criteria.measurement import Measurement, Need

Scores = npt.NDArray[np.float64]
LARGEST_ENERGY = 1e30
"""Stands for the score of weights that are not finite."""


class Weights:
    """What a criterion scores by.

    Args:
        aggregate: how scores of several slots become one: ``mean``, ``sum`` or ``max``.
        measurement: what was measured for the criterion, if it needs anything.
        seed: of criteria that draw at random; not negative.
    """

    def __init__(self, aggregate: str, measurement: Measurement | None = None, seed: int = 0) -> None:
        self.aggregate, self.seed = aggregate, seed
        self.measurement = measurement
        self._energy: dict[tuple[str, tuple[int, ...], int], Scores] = {}
        self._sorted: dict[int, tuple[Slot, UnitArray, UnitArray]] = {}

    def measured(self, group: ChannelGroup) -> Scores:
        """What was measured of the group's units; float64[rounds, n units].

        Raises:
            CompressorError: nothing was, though the criterion needs it.
        """
        if self.measurement is None:
            raise CompressorError("the criterion needs something measured, and nothing was; call measure() first")
        return self.measurement.of(group)

    def kernels(self, group: ChannelGroup) -> list[Slot]:
        """Slots that say how much a channel matters: filters and consumers, else whatever there is."""
        floats = [s for s in group.slots if s.value.dtype is None or not s.value.dtype.is_string()]
        return [s for s in floats if s.role != "affine"] or floats

    def energy(self, slot: Slot, power: int) -> Scores:
        """Sum of ``|w| ** power`` over what one position of the slot owns; shape of its term. 0 counts weights."""
        key = (str(slot.value.name), slot.term.axes, power)
        if key not in self._energy:
            tensor = slot.value.const_value
            assert tensor is not None
            if grid_of(slot.value) is not None:
                energies = _energy(real(slot.value, tensor.numpy()), slot.term.axes, power)
            else:
                split = [_energy(array, slot.term.axes, power) for _, array in parts(tensor)]
                energies = np.concatenate(split) if 0 in slot.term.axes else np.sum(split, axis=0)
            self._energy[key] = np.nan_to_num(energies, posinf=LARGEST_ENERGY)
        return self._energy[key]

    def of_units(self, group: ChannelGroup, slot: Slot, power: int) -> Scores:
        """``energy`` summed over each unit's positions; float64[n units]."""
        places, owners = self._places(group, slot)
        energy = self.energy(slot, power).ravel()[places]
        return np.bincount(owners, energy, minlength=len(group.units)).astype(np.float64, copy=False)

    def _places(self, group: ChannelGroup, slot: Slot) -> tuple[UnitArray, UnitArray]:
        """Positions of the units of ``group`` in ``slot``, and which unit each is of, by unit and then by position.

        The positions are sorted once for each slot: many groups may share one, behind a Concat.
        """
        if id(slot) not in self._sorted:
            flat = slot.term.units.ravel()
            order = np.argsort(flat, kind="stable")
            self._sorted[id(slot)] = slot, order, flat[order]  # holding the slot keeps its id from being used again
        _, order, flat = self._sorted[id(slot)]
        first, end = (np.searchsorted(flat, group.units, side) for side in ("left", "right"))
        counts = end - first
        owners = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        return order[first[owners] + within], owners

    def rows(self, group: ChannelGroup, slot: Slot) -> npt.NDArray[np.float32] | None:
        """Weights of each unit as a matrix [n units, elements], or None where units differ in size."""
        tensor = slot.value.const_value
        assert tensor is not None
        axes = slot.term.axes
        weight = np.moveaxis(real(slot.value, tensor.numpy()), axes, range(len(axes)))
        flat = weight.reshape(slot.term.units.size, -1)
        places, owners = self._places(group, slot)
        counts = np.bincount(owners, minlength=len(group.units))
        if len(set(counts.tolist())) != 1:
            return None
        rows = flat[places].reshape(len(group.units), -1).astype(np.float32)
        return np.nan_to_num(rows, posinf=0, neginf=0)


def _energy(array: npt.NDArray[np.generic], axes: tuple[int, ...], power: int) -> Scores:
    """Sum of ``|array| ** power`` over all axes but these; power 0 counts."""
    weight = np.abs(array.astype(np.float32, copy=False))
    if power == 0:
        weight = np.ones_like(weight)
    elif power == 2:
        np.square(weight, out=weight)
    others = tuple(a for a in range(weight.ndim) if a not in axes)
    return np.asarray(weight.sum(axis=others, dtype=np.float64))


class Criterion(Protocol):
    """Scores the units of a group: higher is kept."""

    @property
    def needs(self) -> Need | None:
        """What has to be measured before it can score; None: weights are enough."""
        ...

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """float64[n units], finite and not negative."""
        ...


def aggregate_scores(parts: list[Scores], how: str, count: int) -> Scores:
    """Aggregates scores of several slots, each divided by its own mean first so that no slot drowns another."""
    scaled = [p / m for p in parts if (m := float(p.mean())) > 0 and np.isfinite(m)]
    if not scaled:
        return np.zeros(count)
    stack = np.stack(scaled)
    if how == "max":
        return np.asarray(stack.max(axis=0))
    return np.asarray(stack.sum(axis=0) if how == "sum" else stack.mean(axis=0))


def weakest_first(units: UnitArray, scores: Scores) -> npt.NDArray[np.int64]:
    """Positions from least to most important; ties by unit, so that runs repeat."""
    return np.lexsort((units, scores))
