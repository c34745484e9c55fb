"""How many samples a model takes at a time: what its inputs declare, or what was found by running it."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from compressor.core.formatting import printable
from compressor.errors import UsageError
from compressor.graph.ir.meta_keys import BATCH


def limit_batch(model: ir.Model, count: int) -> None:
    """Takes note that a model takes ``count`` samples at a time, whatever its file says; copies of it know."""
    model.graph.meta[BATCH] = count


def batch_limit(model: ir.Model) -> int | None:
    """How many samples the model takes at a time, or None where their number is open and it was not found otherwise.

    An input without axes has no say in it; whether samples can fill it, :func:`compressor.data.spec.specs` tells.

    Raises:
        UsageError: inputs differ in it, or in which of their axes has that size.
    """
    inputs = {str(v.name): v.shape for v in model.graph.inputs if not v.is_initializer()}
    _demand_first_axis(inputs)
    fixed = {name: shape[0] for name, shape in inputs.items() if shape and isinstance(shape[0], int)}
    if len(set(fixed.values())) > 1:
        sizes = ", ".join(f"{printable(name)}: {size}" for name, size in fixed.items())
        raise UsageError(
            f"the inputs do not have the same number of samples on their first axis ({sizes}); "
            "export the model with the batch as first axis of every input"
        )
    found: int | None = next(iter(fixed.values()), model.graph.meta.get(BATCH))
    return found


def _demand_first_axis(inputs: Mapping[str, ir.Shape | None]) -> None:
    """Raises where a size that one input has on its first axis stands on a later axis of another one."""
    named = {name: [None if isinstance(d, int) else d.value for d in shape or ()] for name, shape in inputs.items()}
    first = {sizes[0]: name for name, sizes in named.items() if sizes and sizes[0] is not None}
    for name, sizes in named.items():
        for axis, size in enumerate(sizes[1:], start=1):
            other = None if size is None else first.get(size)
            if other is not None and other != name:
                raise UsageError(
                    f"input '{printable(name)}' has {size} on axis {axis}, input '{printable(other)}' on its first; "
                    "samples have to lie along the first axis of every input, so export the model with the batch there"
                )
