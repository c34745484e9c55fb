"""Made-up samples by kind of input, for models whose data nobody has."""

from compressor.data.kinds import InputKind, Kind, describe_kinds, kinds_of
from compressor.data.synthetic.dataset import Synthetic, synthetic
from compressor.data.synthetic.pixel_range import (
    BYTES,
    DARK_CANDIDATES,
    IMAGENET,
    SIGNED,
    UNIT,
    USUAL_RANGES,
    PixelRange,
    RangeChoice,
    given_range,
)
from compressor.data.synthetic.sizes import left_open, sample_shapes

__all__ = [
    "BYTES",
    "DARK_CANDIDATES",
    "IMAGENET",
    "SIGNED",
    "UNIT",
    "USUAL_RANGES",
    "InputKind",
    "Kind",
    "PixelRange",
    "RangeChoice",
    "Synthetic",
    "describe_kinds",
    "given_range",
    "kinds_of",
    "left_open",
    "sample_shapes",
    "synthetic",
]
