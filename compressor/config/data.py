"""Settings of the data that a model is calibrated, trained and judged on."""

from pydantic import Field

from compressor.config.base import RunSettings


class DataSettings(RunSettings):
    """Where samples come from and how they are prepared."""

    data: str | None = Field(
        default=None,
        description="Samples: an .npz file (arrays named as the inputs, or x and y), a folder of images with one "
        "subfolder a class, or package.module:callable.",
    )
    samples: int = Field(default=256, ge=1, description="Samples to calibrate on.")
    batch_size: int = Field(default=64, ge=1, description="Samples in a batch.")
