"""Measurements of activations in ONNX Runtime: what the readers of each unit see, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.channels.groups import no_group
from compressor.channels.labels import Term, UnitArray
from compressor.core.arrays import Array
from compressor.data import Batch
from compressor.errors import NothingToPrune
from compressor.operators.quantization_grid import real
from compressor.pruning.criteria.measurement import Measurement, Need, Rounds
from compressor.pruning.readers import Reading, readings

Sums = npt.NDArray[np.float64]
BYTES_HELD = 1 << 28
"""Of activations held at a time, about."""
MATRICES = 1 << 22
"""Entries of the matrices that are decomposed together."""


class Reducer:
    """Takes in activations and keeps numbers by unit."""

    def __init__(self, coupling: Coupling, readings: Sequence[Reading]) -> None:
        self.coupling = coupling
        self.readings = readings
        self.count = len(coupling.units)
        self.names = list(dict.fromkeys(str(r.value.name) for r in readings))

    def add(self, values: Mapping[str, Array]) -> None:
        """One batch: an array by the name of its value."""
        raise NotImplementedError

    def result(self) -> Rounds:
        """Scores of each round: float64[rounds, units]."""
        raise NotImplementedError

    def values(self) -> Iterable[tuple[str, Term[int], UnitArray]]:
        """Every value and term once: the value's name, the term, and int64 of the shape of the term's units, which
        holds the units that readers of the value gate and 0 elsewhere."""
        seen: dict[tuple[str, tuple[int, ...]], tuple[Term[int], list[UnitArray]]] = {}
        for reading in self.readings:
            for term in reading.terms:
                # Several readers may take one value along the same axes; its activations have to be counted once, not
                # once a reader.
                key = (str(reading.value.name), term.axes)
                seen.setdefault(key, (term, []))[1].append(np.unique(reading.slot.term.units))
        for (name, _), (term, gated) in seen.items():
            # Units that no reader gates become 0, the frozen unit, whose score nobody asks for; so they need no mask of
            # their own.
            units = self.coupling.units.find(term.units)
            yield name, term, np.where(np.isin(units, np.concatenate(gated)), units, 0)


class Energy(Reducer):
    """Mean square of the activations of each unit, summed over the values that its readers take it from."""

    def __init__(self, coupling: Coupling, readings: Sequence[Reading]) -> None:
        super().__init__(coupling, readings)
        self._places = list(self.values())
        self._sums = [np.zeros(self.count) for _ in self._places]
        self._counts = [np.zeros(self.count) for _ in self._places]

    def add(self, values: Mapping[str, Array]) -> None:  # noqa: D102 - see Reducer
        for k, (name, term, units) in enumerate(self._places):
            # In float32, as the square of a float16 activation overflows from 256 on.
            square = _reduced(np.square(values[name].astype(np.float32)), term, np.sum)
            # Elements behind each position of the term, so that sums divided by counts are means over samples and
            # positions.
            entries = values[name].size / max(units.size, 1)
            self._sums[k] += np.bincount(units.ravel(), square.ravel(), minlength=self.count)
            self._counts[k] += np.bincount(units.ravel(), minlength=self.count) * entries

    def means(self) -> dict[tuple[str, tuple[int, ...]], Sums]:
        """Mean square by unit, for each value and term."""
        means = {}
        for (name, term, _), sums, counts in zip(self._places, self._sums, self._counts, strict=True):
            means[name, term.axes] = np.divide(sums, counts, out=np.zeros(self.count), where=counts > 0)
        return means

    def result(self) -> Rounds:  # noqa: D102 - see Reducer
        return np.asarray(np.sum(list(self.means().values()), axis=0))[None]


class Input(Energy):
    """Mean square of the activations times the squared norm of the slice that reads them, summed over readers."""

    def result(self) -> Rounds:  # noqa: D102 - see Reducer
        means, total = self.means(), np.zeros(self.count)
        for reading in self.readings:
            norms = _of_weights(reading, self.coupling, self.count, np.add)
            for term in reading.terms:
                total += means[str(reading.value.name), term.axes] * norms
        return total[None]


class Peak(Reducer):
    """Largest product of an activation and a weight that reads it."""

    def __init__(self, coupling: Coupling, readings: Sequence[Reading]) -> None:
        super().__init__(coupling, readings)
        self._places = list(self.values())
        self._peaks = [np.zeros(self.count) for _ in self._places]

    def add(self, values: Mapping[str, Array]) -> None:  # noqa: D102 - see Reducer
        for k, (name, term, units) in enumerate(self._places):
            peak = _reduced(np.abs(values[name]), term, np.max)
            # ``maximum.at`` and not plain indexing: several positions may belong to one unit. A NaN would win every
            # maximum.
            np.maximum.at(self._peaks[k], units.ravel(), np.nan_to_num(peak).ravel().astype(np.float64))

    def result(self) -> Rounds:  # noqa: D102 - see Reducer
        peaks = {(name, term.axes): p for (name, term, _), p in zip(self._places, self._peaks, strict=True)}
        total = np.zeros(self.count)
        for reading in self.readings:
            weights = _of_weights(reading, self.coupling, self.count, np.maximum)
            for term in reading.terms:
                np.maximum(total, peaks[str(reading.value.name), term.axes] * weights, out=total)
        return total[None]


class Rank(Reducer):
    """What the nuclear norm of a sample's feature map, as units x positions, loses without a unit; mean over
    samples and values."""

    def __init__(self, coupling: Coupling, readings: Sequence[Reading]) -> None:
        super().__init__(coupling, readings)
        self._places = list(self.values())
        self._sums, self._counts = np.zeros(self.count), np.zeros(self.count)

    def add(self, values: Mapping[str, Array]) -> None:  # noqa: D102 - see Reducer
        for name, term, units in self._places:
            flat = units.ravel()
            # 0 stands for everything that cannot be removed or that no reader gates.
            present = np.unique(flat[flat > 0])
            for image in _images(values[name].astype(np.float64), term):
                self._sums[present] += nuclear_drops(image, [np.flatnonzero(flat == u) for u in present])
                self._counts[present] += 1

    def result(self) -> Rounds:  # noqa: D102 - see Reducer
        return np.divide(self._sums, self._counts, out=np.zeros(self.count), where=self._counts > 0)[None]


MEASURES: Mapping[Need, Callable[[Coupling, Sequence[Reading]], Reducer]] = MappingProxyType(
    {Need.ENERGY: Energy, Need.INPUT: Input, Need.PEAK: Peak, Need.RANK: Rank}
)


def measure_activations(
    need: Need, model: ir.Model, coupling: Coupling, batches: Iterable[Batch], provider: str
) -> Measurement:
    """Measures what a criterion of activations needs.

    Args:
        need: one of MEASURES.
        model: the analysed model; not changed.
        coupling: of that model.
        batches: samples.
        provider: where ONNX Runtime runs.

    Raises:
        NothingToPrune: no weight holds channels that may go.
        ModelError: ONNX Runtime refuses the model, or it does not run.
        ProviderUnavailable: the provider is not there.
    """
    from compressor.runtime.taps import tap  # noqa: PLC0415 - ONNX Runtime is loaded only where it runs

    # Readers are looked up before any run: without one there is nothing to tap, and no session to start.
    reducer = MEASURES[need](coupling, readings(coupling))
    if not reducer.names:
        raise NothingToPrune(no_group(coupling))
    values = {str(reading.value.name): reading.value for reading in reducer.readings}
    for arrays in tap(model, reducer.names, (b.inputs for b in batches), provider):
        # Quantised activations are integers; scores compare them with weights, so both have to be real numbers.
        reducer.add({name: real(values[name], array) for name, array in zip(reducer.names, arrays, strict=True)})
    return Measurement(reducer.result(), coupling.units, need.value.join)


def samples_at_once(coupling: Coupling) -> int:
    """How many samples' activations fit into BYTES."""
    # By value, as one that several weights read is held once.
    held = {r.value: int(np.prod(coupling.shapes(r.value) or ())) for r in readings(coupling)}
    return max(1, int(BYTES_HELD / max(4 * sum(held.values()) / coupling.shapes.batch, 1)))


def nuclear_drops(matrix: Sums, rows: Sequence[npt.NDArray[np.int64]]) -> Sums:
    """``|A|_* - |A without the rows|_*`` for each set of rows; float64[sets].

    By the eigenvalues of the smaller Gram matrix, from which the part of the rows is taken.
    """
    # A A^T and A^T A have the same nonzero eigenvalues, so the smaller one gives the same singular values for less.
    wide = len(matrix) <= matrix.shape[1]
    gram = matrix @ matrix.T if wide else matrix.T @ matrix
    whole = _nuclear(gram[None])[0]
    drops = np.zeros(len(rows))
    # One call for many matrices is much faster than one each, but every one is a copy of the Gram matrix.
    together = max(1, MATRICES // max(gram.size, 1))
    for start in range(0, len(rows), together):
        part = rows[start : start + together]
        less = np.repeat(gram[None], len(part), axis=0)
        for k, gone in enumerate(part):
            # Without some rows, A A^T lacks these rows and columns, while A^T A is a sum over rows, from which they are
            # subtracted.
            if wide:
                less[k, gone, :] = 0
                less[k, :, gone] = 0
            else:
                less[k] -= matrix[gone].T @ matrix[gone]
        drops[start : start + together] = whole - _nuclear(less)
    return drops


def _nuclear(grams: Sums) -> Sums:
    """Sum of the singular values whose squares are the eigenvalues; what is not finite counts as 0."""
    # Rounding makes small eigenvalues negative, and eigvalsh raises on NaN.
    return np.asarray(np.sqrt(np.maximum(np.linalg.eigvalsh(np.nan_to_num(grams)), 0)).sum(axis=-1))


def _reduced(array: Array, term: Term[int], how: Callable[..., Array]) -> Array:
    """``array`` reduced by ``how`` over all axes but those of ``term``: of the shape of its units."""
    others = tuple(a for a in range(array.ndim) if a not in term.axes)
    return np.asarray(how(array, axis=others)) if others else array


def _images(array: Sums, term: Term[int]) -> Iterable[Sums]:
    """The feature map of each sample: positions of the term by everything else. The first axis holds the samples,
    unless the term does."""
    # Without an axis of samples the whole value counts as one feature map.
    if 0 in term.axes:
        yield np.moveaxis(array, term.axes, range(len(term.axes))).reshape(term.units.size, -1)
        return
    moved = np.moveaxis(array, term.axes, range(1, len(term.axes) + 1))
    for sample in moved:
        yield sample.reshape(term.units.size, -1)


def _of_weights(reading: Reading, coupling: Coupling, count: int, join: np.ufunc) -> Sums:
    """Sum of squares (``join`` is ``np.add``) or largest modulus (``np.maximum``) of each unit's weights in the slot:
    float64[``count``], by unit; zeros for a weight that the file does not hold."""
    tensor = reading.slot.value.const_value
    total = np.zeros(count)
    # A weight that is made at run time has no numbers to read before; it adds nothing to the score.
    if tensor is None:
        return total
    weight = np.abs(real(reading.slot.value, tensor.numpy()).astype(np.float32))
    units = coupling.units.find(reading.slot.term.units)
    square = join is np.add
    part = _reduced(np.square(weight) if square else weight, reading.slot.term, np.sum if square else np.max)
    join.at(total, units.ravel(), part.ravel().astype(np.float64))
    return total
