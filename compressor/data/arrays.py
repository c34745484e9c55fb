"""Samples that are held in arrays, in memory or mapped from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from compressor.config.data import DataSection, DataSettings
from compressor.core.arrays import Array
from compressor.core.formatting import printable
from compressor.data.batch import Batch, Indices, samples_in
from compressor.data.labels import batch_labels, tidy_labels
from compressor.data.prepare import Preparation, check_symbols, normalised, prepare
from compressor.data.spec import InputSpec, sizes_of
from compressor.data.values import check_values
from compressor.errors import UsageError

SAMPLE_NAMES = ("x", "images")
LABEL_NAMES = ("y", "labels")


@dataclass(frozen=True)
class ArrayDataset:
    """Samples in arrays, one for each input; prepared when they are taken.

    Attributes:
        arrays: stored samples [n, ...] by the name of the input; one number for an input without axes.
        preparations: by the same names.
        labels: [n, ...], or None.
        filled: inputs that the data leave out, and what stands in for each, in words.
    """

    arrays: Mapping[str, Array]
    preparations: Mapping[str, Preparation]
    labels: Array | None = None
    filled: Mapping[str, str] = field(default_factory=dict)

    @property
    def labelled(self) -> bool:
        """Whether batches have labels."""
        return self.labels is not None

    def __len__(self) -> int:
        return samples_in(self.arrays)

    def take(self, indices: Indices) -> Batch:
        """The samples at ``indices``, prepared."""
        inputs = {
            name: self.preparations[name](np.asarray(rows[indices] if rows.ndim else rows))
            for name, rows in self.arrays.items()
        }
        return Batch(inputs, None if self.labels is None else batch_labels(self.labels[indices]))


def from_arrays(
    arrays: Mapping[str, Array], labels: Array | None, inputs: Sequence[InputSpec], settings: DataSettings, place: str
) -> ArrayDataset:
    """Samples from arrays by the name of the input they are for.

    Args:
        arrays: stored samples [n, ...], one array for each input.
        labels: [n, ...], or None.
        inputs: of the model.
        settings: layout, mean and std.
        place: where the arrays come from, for messages.

    Raises:
        UsageError: shapes, element types or values do not fit the inputs, lengths differ, or there is no sample.
    """
    meant = normalised(inputs, settings)
    arrays = {**arrays, **{s.name: _one_number(s, arrays[s.name], place) for s in inputs if s.scalar}}
    preparations = {}
    for spec in inputs:
        array, called = arrays[spec.name], f"{place}: the array for '{printable(spec.name)}'"
        preparations[spec.name] = prepare(spec, array, settings, called, normal=spec.name in meant)
    # Once shapes fit, since axes are matched by then.
    check_symbols(preparations, {name: array.shape for name, array in arrays.items()})
    counts = {spec.name: len(arrays[spec.name]) for spec in inputs if not spec.scalar}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{printable(name)}: {count}" for name, count in counts.items())
        raise UsageError(f"{place}: inputs have different numbers of samples ({told}); give each sample to all of them")
    count = next(iter(counts.values()))
    # A cache of no length is empty, and none the less a sample's.
    if not count or not any(array.size for array in arrays.values() if array.ndim):
        shapes = ", ".join(sizes_of(array.shape) for array in arrays.values())
        raise UsageError(f"{place}: there is no sample (the data is {shapes}); give at least one")
    # Last, as it is the one check that reads all numbers.
    for spec in inputs:
        check_values(spec, np.atleast_1d(arrays[spec.name]), f"{place}: the array for '{printable(spec.name)}'")
    return ArrayDataset(dict(arrays), preparations, None if labels is None else tidy_labels(labels, count, place))


def _one_number(spec: InputSpec, array: Array, place: str) -> Array:
    """What an input without axes is given, as an array without axes; stored as such, or once for each sample."""
    flat = np.asarray(array).ravel()
    if not flat.size or (flat != flat[0]).any():
        raise UsageError(
            f"{place}: {spec.quoted} is a scalar, the same for all samples, and the data has {flat.size} numbers that "
            "differ; give one number"
        )
    return flat[:1].reshape(())


def assign(
    names: Sequence[str], found: Sequence[InputSpec], settings: DataSection, place: str
) -> tuple[dict[str, str], str | None]:
    """Which array is for which input, and which holds the labels.

    Args:
        names: of the arrays there are.
        found: the inputs.
        settings: ``labels`` names the array of labels.
        place: where the arrays come from, for messages.

    Returns:
        The array's name by the input's, and the name of the labels or None.

    Raises:
        UsageError: an input has no array, or the labels named are not there.
    """
    wanted = [spec.name for spec in found]
    have = ", ".join(printable(name) for name in names) or "none"
    chosen = {name: name for name in wanted if name in names}
    # One input may call its array as everybody does; several have to be told apart by name.
    if len(wanted) == 1 and not chosen:
        chosen = dict(zip(wanted, [name for name in SAMPLE_NAMES if name in names], strict=False))
    missing = [printable(name) for name in wanted if name not in chosen]
    if missing:
        also = " (or x)" if len(wanted) == 1 and wanted != ["x"] else ""
        lacking = ", ".join(missing)
        raise UsageError(f"{place}: no array is named {lacking}{also}; it has {have}; name arrays as the inputs")
    if settings.labels is not None and settings.labels not in names:
        raise UsageError(f"{place}: no array is named {printable(settings.labels)!r} as --labels says; it has {have}")
    # An array that is an input is never taken for the labels.
    free = [name for name in LABEL_NAMES if name in names and name not in chosen.values()]
    return chosen, settings.labels or next(iter(free), None)
