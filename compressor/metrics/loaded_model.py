"""A model as functions of the user's get it: something that runs, and a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.data.batch import Batch, Dataset
from compressor.data.order import batches
from compressor.graph.sizes.batch_limit import batch_limit

if TYPE_CHECKING:
    from compressor.runtime.sessions import Session


@dataclass(frozen=True)
class LoadedModel:
    """A model in ONNX Runtime, in the way of an ``onnxruntime.InferenceSession``.

    It is also the path of an .onnx file that lasts as long as the function runs: ``onnx.load(model)`` and
    ``open(model, "rb")`` work.

    Attributes:
        path: of the file, weights beside it.
        session: the ``onnxruntime.InferenceSession``.
        samples: makes an iterator over the samples that the command judges on; None where it has none.
    """

    path: Path
    session: Session
    samples: Callable[[], Iterator[Batch]] | None = None  # not read: onnx.load takes what has one for a file

    def __fspath__(self) -> str:
        return str(self.path)

    def run(self, output_names: Sequence[str] | None, feeds: Mapping[str, Array]) -> list[Any]:
        """Outputs in the order asked for, or of the graph; as ``InferenceSession.run`` has it."""
        return list(self.session.run(output_names, dict(feeds)))

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Any]:
        """Runs the model on what is fed, by name; its outputs by name."""
        names = [value.name for value in self.session.get_outputs()]
        return dict(zip(names, self.run(names, feeds), strict=True))

    def get_inputs(self) -> list[Any]:
        """Inputs with ``name``, ``shape`` and ``type``, as a session has them."""
        return list(self.session.get_inputs())

    def get_outputs(self) -> list[Any]:
        """Outputs with ``name``, ``shape`` and ``type``, as a session has them."""
        return list(self.session.get_outputs())

    def batches(self) -> Iterator[Batch]:
        """The samples that the command judges on, as the model takes them, in batches with ``inputs`` and ``labels``.

        There are none where the command has no data. Of a model that takes a fixed number at a time, what is left over
        is left out.
        """
        return iter(()) if self.samples is None else self.samples()


@contextmanager
def loaded(
    model: ir.Model, provider: str, data: Dataset | None, batch_size: int, threads: int | None
) -> Iterator[LoadedModel]:
    """A model in memory as :class:`LoadedModel`, in a temporary folder that lasts as long.

    Args:
        model: not changed.
        provider: where it runs.
        data: samples to judge on.
        batch_size: of :meth:`LoadedModel.batches`.
        threads: of :class:`compressor.runtime.sessions.Setup`.

    Raises:
        ModelError: ONNX Runtime refuses the model.
        ProviderUnavailable: the provider is not there.
    """
    from compressor.runtime import sessions  # noqa: PLC0415 - slow to import, and many runs judge nothing

    limit = batch_limit(model) if data is not None else None

    def read() -> Iterator[Batch]:
        assert data is not None
        return batches(data, limit or batch_size, drop_last=limit is not None)

    with sessions.placed(model) as path:
        session = sessions.start_session(path, provider, sessions.Setup(threads=threads))
        yield LoadedModel(path, session, None if data is None else read)


def named(session: Session, arrays: Sequence[Array]) -> dict[str, Array]:
    """Outputs by name, in the order of the graph."""
    return dict(zip([str(value.name) for value in session.get_outputs()], map(np.asarray, arrays), strict=True))
