"""Datasets of the user's own make: each batch is checked on its way to the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from compressor.core.arrays import Array
from compressor.core.formatting import printable
from compressor.data.batch import Batch, Dataset, Indices
from compressor.data.labels import batch_labels, tidy_labels
from compressor.data.spec import InputSpec, dtype_name, sizes_of
from compressor.data.values import check_values
from compressor.errors import CompressorError, UsageError


class ForeignDataset:
    """Samples of an object with ``take``, ``__len__`` and ``labelled``, taken as the model wants them.

    Args:
        dataset: the object.
        found: the model's inputs.
        place: what messages call it.

    Raises:
        UsageError: it is empty, or its first sample does not fit the inputs.
    """

    def __init__(self, dataset: Dataset, found: Sequence[InputSpec], place: str) -> None:
        self._dataset = dataset
        self._found = tuple(found)
        self._place = place
        if not len(dataset):
            raise UsageError(f"--data {place}: there is no sample; give at least one")
        # A look at one sample, so that a misfit shows before any work.
        self.take(np.zeros(1, np.int64))

    @property
    def labelled(self) -> bool:
        """Whether batches have labels."""
        return bool(self._dataset.labelled)

    def __len__(self) -> int:
        return len(self._dataset)

    def take(self, indices: Indices) -> Batch:
        """The samples at ``indices``.

        Raises:
            UsageError: the object fails, or gives what does not fit the inputs.
        """
        try:
            given: Any = self._dataset.take(indices)
            inputs = {str(name): np.asarray(array) for name, array in dict(given.inputs).items()}
            labels = None if given.labels is None else np.asarray(given.labels)
        # Our own errors name a remedy already.
        except CompressorError:
            raise
        # It is the user's code, and may raise anything.
        except Exception as error:
            words = " ".join(str(error).split())[:300]
            raise UsageError(f"--data {self._place}: take raised {type(error).__name__}: {printable(words)}") from error
        for spec in self._found:
            self._check(spec, inputs.get(spec.name), len(indices))
        if labels is None and self.labelled:
            raise UsageError(f"--data {self._place}: it is labelled, and take gave no labels; give them")
        tidy = None
        if labels is not None:
            tidy = batch_labels(tidy_labels(labels, len(indices), f"--data {self._place}"))
        return Batch({spec.name: inputs[spec.name] for spec in self._found}, tidy)

    def _check(self, spec: InputSpec, array: Array | None, count: int) -> None:
        place = f"--data {self._place}: take"
        if array is None:
            raise UsageError(f"{place} gave nothing for {spec.quoted}; name arrays as the inputs")
        # Not converted: a silent cast could hide pixels of the wrong range.
        if array.dtype != spec.dtype.numpy():
            name = dtype_name(spec.dtype)
            raise UsageError(f"{place} gave {array.dtype} for {spec.quoted}, which takes {name}; convert it")
        if spec.scalar and array.ndim == 0:
            check_values(spec, array[None], f"{place}: the array for '{printable(spec.name)}'")
            return
        declared = spec.shape if spec.shape is not None else (None, *array.shape[1:])
        sizes = zip(declared[1:], array.shape[1:], strict=False)
        if len(declared) != array.ndim or any(isinstance(dim, int) and dim != size for dim, size in sizes):
            raise UsageError(
                f"{place} gave samples of {sizes_of(array.shape[1:])} for {spec.quoted}, which takes "
                f"{sizes_of(declared[1:])}; give them as the model wants them"
            )
        if len(array) != count:
            raise UsageError(f"{place} gave {len(array)} samples for {count} indices; give one for each")
        check_values(spec, array, f"{place}: the array for '{printable(spec.name)}'")
