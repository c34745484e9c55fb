"""Limits on the result of a run: it is written all the same, and the run ends with exit code 6."""

from typing import Annotated, ClassVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from compressor.config.section import Section, Shown
from compressor.config.target import FileSize
from compressor.core.notation import Percent, parse_share


def _of_accuracy(value: float, info: ValidationInfo) -> float:
    """Without a metric of its own scale, what may be lost is a share."""
    # With --eval the metric may have any scale.
    if info.data.get("eval") is not None:
        return value
    if value > 1:
        raise ValueError(f"{value:g} is more than accuracy can lose; write a share such as 0.01 or 1%")
    # Nobody asks for a gate that nothing can miss.
    if value == 1 and not isinstance(value, Percent):
        raise ValueError("1 is all of the accuracy; write 1% or 0.01 for one in a hundred, or leave it out")
    return value


def _as_written(value: object, check: ValidatorFunctionWrapHandler) -> float:
    """The number, which still knows that it was per cent; a field of floats would forget it."""
    found: float = check(value)
    return Percent(found) if isinstance(parse_share(value), Percent) else found


Drop = Annotated[
    float,
    Field(ge=0),
    BeforeValidator(parse_share),
    WrapValidator(_as_written),
    AfterValidator(_of_accuracy),
]
"""How much a metric may lose: per cent, or a number in its own unit."""


Distance = Annotated[float, Field(ge=0), BeforeValidator(parse_share)]
"""How far outputs may move: a share of their norm."""


class GatesSection(Section):
    """Limits on the result; one that is missed is exit code 6."""

    title: ClassVar[str] = "Gates"

    max_drop: Annotated[Drop | None, Shown("SHARE")] = Field(
        default=None,
        description="Most accuracy that may be lost, such as 0.01 or 1%; of a metric that is no share, per cent of its "
        "value, or a number in its unit. Needs labels, or what --eval needs.",
    )
    max_distance: Annotated[Distance | None, Shown("SHARE")] = Field(
        default=None,
        description="Most that outputs may move, as a share of their norm on the samples, such as 0.05 or 5%; needs no "
        "labels.",
    )
    max_size: Annotated[FileSize | None, Shown("SIZE")] = Field(
        default=None, description="Largest file that is accepted: bytes such as 500kB, or a share of the original."
    )
