"""Settings of holding compressed models against their original under noise and corrupted images."""

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from compressor.config.choices import CORRUPTIONS
from compressor.config.data import CALIBRATION_SAMPLES, DataSettings, ValData, validation
from compressor.config.graph import Count
from compressor.config.section import Section, Shown
from compressor.core.intervals import LEVEL
from compressor.core.notation import parse_share, parse_texts, split_commas


def _corruptions(value: object) -> object:
    """``("blur,jpeg",)`` and ``("blur", "jpeg")`` alike, each once."""
    names = split_commas(value)
    for name in names:
        if name not in (*CORRUPTIONS, "none"):
            raise ValueError(f"{name!r} is not a corruption ({', '.join(CORRUPTIONS)}, or none)")
    return names


class ShiftsSection(Section):
    """How inputs are disturbed."""

    title: ClassVar[str] = "How inputs are disturbed"

    noise: float = Field(
        default=0.7, gt=0, description="Largest amplitude of the uniform noise, in standard deviations of the input."
    )
    noise_levels: int = Field(default=7, ge=1, le=100, description="Amplitudes, evenly from zero to the largest.")
    draws: int = Field(default=3, ge=1, description="How often the noise of each amplitude is drawn.")
    corruptions: Annotated[tuple[str, ...], BeforeValidator(_corruptions), Shown("NAME[,NAME]")] = Field(
        default=(), description=f"How images are corrupted: {', '.join(CORRUPTIONS)}, or none. Default: all."
    )
    disturb: Annotated[tuple[str, ...], BeforeValidator(parse_texts), Shown("NAME")] = Field(
        default=(),
        description="Disturb this input only; repeatable. Default: all floating-point inputs, and images of bytes.",
    )


class JudgementSection(Section):
    """What counts as unharmed."""

    title: ClassVar[str] = "What counts"

    margin: Annotated[float, BeforeValidator(parse_share), Shown("SHARE")] = Field(
        default=0.005,
        ge=0,
        le=1,
        description="Accuracy that a model may lose against the original and still count as unharmed.",
    )
    compression: Literal["params", "macs", "bytes"] = Field(
        default="params", description="What the share that compression saves is counted in."
    )
    confidence: float = Field(default=LEVEL, gt=0.5, lt=1, description="Confidence of the intervals.")


class RobustnessSettings(ShiftsSection, JudgementSection, DataSettings):
    """Settings of a robustness measurement."""

    val_data: ValData = Field(
        default=None, description="The same as --data, as other commands call samples to judge on; give one of the two."
    )
    samples: Count = Field(
        default=CALIBRATION_SAMPLES,
        description="Samples to measure on, drawn at random from the data, or made up where there is none.",
    )
    normalised: bool = Field(
        default=False,
        description="The data is normalised already: --mean and --std tell what its pixels were, and change nothing.",
    )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The corruptions asked for."""
        # In the order of the table, whatever the order asked for.
        return tuple(name for name in CORRUPTIONS if not self.corruptions or name in self.corruptions)

    @property
    def told(self) -> "RobustnessSettings":
        """The same, with the samples of either name as those of ``data``."""
        found = validation(self)
        return self if found is None else self.model_copy(update={"data": found.data})

    @model_validator(mode="after")
    def _one_source(self) -> "RobustnessSettings":
        if self.data is not None and self.val_data is not None:
            raise PydanticCustomError("two_sources", "all samples are measured on; give --data or --val-data, not both")
        return self

    @model_validator(mode="after")
    def _normalised_by_something(self) -> "RobustnessSettings":
        if self.normalised and not (self.mean or self.std):
            raise PydanticCustomError("normalised", "give --mean and --std that the data was normalised with")
        return self
