"""Settings of quantization."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from compressor.config.common import Globs, Latency, LeftWeights
from compressor.config.data import DataSettings
from compressor.config.gates import GatesSection
from compressor.config.section import Applies, Section


class QuantizeSection(Section):
    """What becomes of weights and activations."""

    title: ClassVar[str] = "Quantization"
    applies: ClassVar[tuple[Applies, ...]] = (
        Applies(("block_size",), lambda s: s.mode == "int4", "weights have no blocks; say --mode int4"),
        Applies(
            ("per_channel",), lambda s: s.mode != "int4", "in 4 bits every block has a scale; choose another --mode"
        ),
        Applies(("calibration",), lambda s: s.mode in ("auto", "static"), "no range is calibrated; say --mode static"),
    )

    mode: Literal["auto", "static", "dynamic", "int4"] = Field(
        default="auto",
        description="auto: static, or dynamic where outputs stay clearly nearer to the original's or more weights are "
        "taken; static: weights and activations in int8, ranges of activations calibrated on samples; dynamic: "
        "weights in int8, ranges of activations taken while the model runs; int4: weights of matrix products in 4 "
        "bits.",
    )
    per_channel: bool = Field(default=True, description="A scale for each output of a weight instead of one a weight.")
    calibration: Literal["minmax", "entropy", "percentile"] = Field(
        default="minmax", description="How the range of an activation is taken from samples, where they are calibrated."
    )
    block_size: int = Field(
        default=32,
        ge=16,
        le=256,
        description="Inputs that share a scale, with --mode int4; a power of two.",
    )
    include: Globs = Field(
        default=(),
        description="Quantise only the weights that match GLOB, by their name, their node's or their module's; "
        "repeatable.",
    )
    exclude: LeftWeights = ()
    latency: Latency = False


class QuantizeSettings(QuantizeSection, GatesSection, DataSettings):
    """Settings of a run that stores weights, and activations too, in few bits."""

    @model_validator(mode="after")
    # A power of two is more than a range can say, so it is checked here.
    def _fits(self) -> "QuantizeSettings":
        # ONNX Runtime packs blocks of powers of two only.
        if self.block_size & (self.block_size - 1):
            raise PydanticCustomError(
                "block", "--block-size has to be a power of two, such as 32, not {size}", {"size": self.block_size}
            )
        return self
