"""Whose fault is a failed run: does the original model take the user's samples?

Sizes that a file leaves open, and indices into its tables, are seen to be wrong only where a model runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from compressor.config.data import DataSettings, validation
from compressor.core.arrays import Array
from compressor.core.formatting import printable
from compressor.data.batch import Dataset
from compressor.data.source import open_data
from compressor.data.spec import sizes_of
from compressor.data.synthetic.sizes import sample_shapes
from compressor.errors import CompressorError, DoesNotRun, UsageError
from compressor.graph.form.normalise import normalise
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.operators.input_use import table_size
from compressor.operators.sizes import infer

if TYPE_CHECKING:
    from compressor.runtime.sessions import Session

InputArrays = Mapping[str, Array]


@contextmanager
def samples_tried(original: Callable[[], ir.Model], settings: DataSettings) -> Iterator[None]:
    """Looks into a failed run inside: where the original does not run on the user's samples either, they are at fault.

    A run that goes well costs nothing.

    Args:
        original: gives the model that the samples are for.
        settings: name the samples.

    Raises:
        UsageError: the original does not run on a sample; with the input, what it takes, what it is given, the remedy.
    """
    try:
        yield
    except DoesNotRun:
        # Whatever goes wrong here is no word on the samples, and the first error counts.
        refused = None
        with suppress(CompressorError):
            refused = _first_refused(original(), settings)
        if refused is not None:
            raise refused from None
        raise


def _first_refused(model: ir.Model, settings: DataSettings) -> UsageError | None:
    """The error about the first sample that ``model`` does not run on; None where it runs on all."""
    from compressor.runtime import sessions

    parts = [part for part in (settings, validation(settings)) if part is not None and part.data is not None]
    with sessions.opened(model, settings.provider) as session:
        for part in parts:
            trial = _Trial(model, session, str(part.data), part)
            refused = trial.of(open_data(part, model))
            if refused is not None:
                return refused
    return None


@dataclass(frozen=True)
class _Trial:
    """A model that samples are tried on, and where they come from."""

    model: ir.Model
    session: Session
    place: str
    settings: DataSettings

    def of(self, data: Dataset) -> UsageError | None:
        limit = batch_limit(self.model)
        size = limit or self.settings.batch_size
        for start in range(0, len(data) // size * size if limit else len(data), size):
            rows = np.arange(start, min(start + size, len(data)), dtype=np.int64)
            if self._problem(data.take(rows).inputs) is None:
                continue
            # Where the number of samples in a run is open, one of them alone tells more.
            for one in [rows] if limit else rows.reshape(-1, 1):
                inputs = data.take(one).inputs
                if (problem := self._problem(inputs)) is not None:
                    return self._told(int(one[0]), inputs, problem)
        return None

    def _problem(self, inputs: InputArrays) -> str | None:
        """Why the model does not run, in the runtime's words; None where it does."""
        from compressor.runtime import sessions

        try:
            sessions.run_session(self.session, inputs)
        except DoesNotRun as error:
            return str(error).removeprefix(sessions.NOT_RUN)
        return None

    def _told(self, index: int, inputs: InputArrays, problem: str) -> UsageError:
        zeros = {name: _zeros(array) for name, array in inputs.items()}
        if self._problem(zeros) is None:
            # The first input without whose numbers the model runs is the one that is wrong.
            wrong = next((n for n in inputs if self._problem({**inputs, n: zeros[n]}) is None), next(iter(inputs)))
            return self._numbers(index, wrong, inputs, problem)
        held = _listed({name: array.shape for name, array in inputs.items()})
        return UsageError(
            f"{self.place}: the model does not run on samples of these sizes ({held}): {problem}; "
            f"give samples of sizes that it was made for{self._fitting()}"
        )

    def _numbers(self, index: int, name: str, inputs: InputArrays, problem: str) -> UsageError:
        array = inputs[name]
        held = f"{self.place} holds {array.min()} to {array.max()} in sample {index}"
        entries = self._entries(name, inputs)
        if entries is not None and array.dtype.kind in "iu":
            return UsageError(
                f"input '{printable(name)}' takes whole numbers from 0 to {entries - 1}, as it picks from a table of "
                f"{entries:,}, and {held}; number them as this model does, such as with its own tokenizer"
            )
        return UsageError(
            f"input '{printable(name)}': {held}, on which the model does not run: {problem}; give numbers that it was "
            "made for"
        )

    def _entries(self, name: str, inputs: InputArrays) -> int | None:
        """Entries of the smallest table that an input picks from."""
        with suppress(CompressorError):
            plain = normalise(self.model.clone())
            value = next(v for v in plain.graph.inputs if v.name == name)
            return table_size(value, infer(plain, {key: array.shape for key, array in inputs.items()}))
        return None

    def _fitting(self) -> str:
        """Sizes on which the model runs, in words, where some are found; else nothing."""
        with suppress(CompressorError):
            plain = normalise(self.model.clone())
            shapes = sample_shapes(plain, self.settings.input_shapes, self.settings.dims).inputs
            types = {str(v.name): v.dtype or ir.DataType.FLOAT for v in plain.graph.inputs}
            zeros = {n: _zeros(np.empty(shape, types[n].numpy())) for n, shape in shapes.items() if n in types}
            if self._problem(zeros) is None:
                return ", such as " + ", ".join(
                    f"'{printable(n)}' {sizes_of(shape[1:])}" for n, shape in shapes.items()
                )
        return ""


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Inputs and the sizes of one sample each."""
    return ", ".join(f"'{printable(name)}' {sizes_of(shape[1:])}" for name, shape in shapes.items())


def _zeros(array: Array) -> Array:
    """Zeros, or empty texts, in the place of an array."""
    return np.full(array.shape, "", object) if array.dtype.kind in "OU" else np.zeros_like(array)
