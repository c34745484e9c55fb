"""Settings of the data that a model is calibrated, trained and judged on."""

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from compressor.config.base import RunSettings
from compressor.config.choices import METRICS
from compressor.config.section import Applies, Section, Shown, did_you_mean
from compressor.core.default_metric import DEFAULT_METRIC
from compressor.core.notation import parse_numbers, split_commas
from compressor.core.user_code import NAMED

Change = Literal["flip", "crop"]
Std = Annotated[float, Field(gt=0)]
_CHANGES = ("flip", "crop")
ValData = Annotated[str | None, Shown("PATH")]
"""Samples to judge on."""
CALIBRATION_SAMPLES = 256
"""Samples that layers are fitted to and models compared on, where nobody says how many (docs/recovery.md)."""
MEASURED_SAMPLES = 1024
"""Samples on which many small changes are measured, where nobody says how many."""
BATCH_SIZE = 64


def _changes(value: object) -> object:
    """``("flip,crop",)`` and ``("flip", "crop")`` alike."""
    names = split_commas(value)
    for name in names:
        if name not in _CHANGES:
            raise ValueError(f"{name!r} is not an augmentation ({', '.join(_CHANGES)})")
    return tuple(dict.fromkeys(names))


def _limits(value: object) -> object:
    """``"0,255"`` and ``(0, 255)`` alike."""
    if value is None:
        return None
    numbers = parse_numbers(value)
    if not isinstance(numbers, tuple) or len(numbers) != 2 or not numbers[0] < numbers[1]:
        raise ValueError(f"{value!r} is not a pair of numbers, the lower one first, such as 0,255 or -1,1")
    return numbers


def _metric(value: object) -> object:
    text = str(value)
    if text in METRICS or NAMED.fullmatch(text):
        return text
    hint = did_you_mean(text, METRICS)
    raise ValueError(f"{text!r} is not a metric{hint} ({', '.join(METRICS)} or package.module:function)")


CROPS = Applies(("crop_padding",), lambda s: "crop" in s.augment, "no image is cropped; add --augment crop")
"""Where nothing but ``augment`` changes images."""


class DataSection(Section):
    """Where samples come from and how they are prepared."""

    title: ClassVar[str] = "Data"
    applies: ClassVar[tuple[Applies, ...]] = (
        Applies(
            ("val_share",),
            lambda s: s.val_data is None,
            "--val-data names the samples to judge on; leave --val-data out",
        ),
        Applies(("labels",), lambda s: (s.data or s.val_data) is not None, "made-up samples have none; give --data"),
    )

    data: Annotated[str | None, Shown("PATH")] = Field(
        default=None,
        description="Samples: an .npz file (arrays named as the inputs, or x and y), a folder of images with one "
        "subfolder a class, or package.module:callable.",
    )
    val_data: ValData = Field(
        default=None,
        description="Samples to judge on, given like --data; by default a share of the data is set aside.",
    )
    val_share: Annotated[Annotated[float, Field(ge=0, lt=1)] | None, Shown("SHARE")] = Field(
        default=None,
        description="Share of the samples that is set aside to judge on, taken from every class alike. Default: a "
        "tenth, or 64 samples where that is less, but at most a quarter.",
    )
    labels: Annotated[str | None, Shown("NAME")] = Field(
        default=None, min_length=1, description="Name of the array that holds the labels. Default: y or labels."
    )
    eval: Annotated[Annotated[str, BeforeValidator(_metric)] | None, Shown("METRIC")] = Field(
        default=None,
        description=f"What a model is judged by: {', '.join(METRICS)}; or package.module:function, which is called "
        f"with the model and gives a number. Default: {DEFAULT_METRIC}, where labels are classes.",
    )
    samples: int = Field(default=CALIBRATION_SAMPLES, ge=1, le=10**7, description="Samples to calibrate on.")
    batch_size: int = Field(default=BATCH_SIZE, ge=1, description="Samples in a batch.")
    mean: Annotated[tuple[float, ...], BeforeValidator(parse_numbers), Shown("X,X,X")] = Field(
        default=(),
        description="Subtracted from images, one number or one a channel, such as 0.485,0.456,0.406; "
        "8-bit pixels are divided by 255 first.",
    )
    std: Annotated[tuple[Std, ...], BeforeValidator(parse_numbers), Shown("X,X,X")] = Field(
        default=(), description="What images are divided by after that, one number or one a channel."
    )
    input_range: Annotated[tuple[float, float] | None, BeforeValidator(_limits), Shown("LOW,HIGH")] = Field(
        default=None,
        description="Black and white in made-up images before --mean and --std, such as 0,255. Without any of the "
        "three, the range is read from the network's behaviour.",
    )
    layout: Literal["auto", "nchw", "nhwc"] = Field(
        default="auto",
        description="Where images in arrays have their channels: first (nchw), last (nhwc), or wherever the model's "
        "input tells.",
    )
    augment: Annotated[tuple[Change, ...], BeforeValidator(_changes), Shown("flip,crop")] = Field(
        default=(),
        description="Change training images at random: flip, left to right; crop, moved by up to --crop-padding; "
        "flip,crop for both.",
    )
    crop_padding: int = Field(
        default=4, ge=1, le=1024, description="Pixels by which a random crop may move an image in each direction."
    )


class DataSettings(DataSection, RunSettings):
    """Settings of a run on samples."""


def validation(settings: DataSettings) -> DataSettings | None:
    """The same settings for the samples of ``val_data``, or None where there are none of their own."""
    if settings.val_data is None:
        return None
    # Samples to judge on are never changed at random.
    return settings.model_copy(update={"data": settings.val_data, "augment": ()})


__all__ = ["Change", "DataSection", "DataSettings", "validation"]
