"""Why a proof compared nothing, and what to do then."""

from __future__ import annotations

from compressor.errors import NothingToProve
from compressor.runtime.stored import Runs

NO_NUMBER = (
    "no output of the original is a finite number on the inputs of the proof, so nothing can be proved; give sizes "
    "that it is meant for with --dim or --input-shape, or leave the proof out with --no-verify"
)
NO_ELEMENT = (
    "no output of the original has any element on the inputs of the proof ({inputs}), so nothing can be proved; give "
    "sizes at which it computes something with --dim or --input-shape, export it again where it fixes a size to 0, or "
    "leave the proof out with --no-verify"
)


def demand_numbers(compared: int, runs: Runs | None) -> None:
    """Asks of a proof that it compared something: outputs that are all NaN, or empty, agree with anything.

    Args:
        compared: how many results were compared.
        runs: what was fed, and what came of it; None where nothing ran.

    Raises:
        NothingToProve: nothing was compared.
    """
    if compared or runs is None or not runs.feeds:
        return
    if any(array.size for outputs in runs.outputs for array in outputs):
        raise NothingToProve(NO_NUMBER)
    raise NothingToProve(NO_ELEMENT.format(inputs=", ".join(f"{k} {list(v.shape)}" for k, v in runs.feeds[0].items())))
