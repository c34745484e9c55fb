"""Values inside a model, as ONNX Runtime computes them: made outputs and read batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.runtime.outputs import giving
from compressor.runtime.sessions import opened, run_session


def tap(
    model: ir.Model, names: Sequence[str], feeds: Iterable[Mapping[str, Array]], provider: str
) -> Iterator[list[Array]]:
    """The values called ``names``, in that order, for each of ``feeds``; only one feed's are held at a time.

    Args:
        model: not changed; the values are in its main graph.
        names: values that nodes compute.
        feeds: arrays by name of input; names that the model does not have are left out.
        provider: short or full name.

    Raises:
        ModelError: ONNX Runtime refuses the model, or it does not run.
        ProviderUnavailable: the provider is not there.
    """
    with opened(giving(model, names), provider) as session:
        for feed in feeds:
            yield run_session(session, feed, names)
