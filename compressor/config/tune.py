"""Settings of a fine-tuning run."""

from compressor.config.data import DataSettings
from compressor.config.training import LossSection, StepsSection, TrainingSection


class TuneSettings(LossSection, StepsSection, TrainingSection, DataSettings):
    """Settings of a fine-tuning run; labels are needed by the losses that say so, and by no other."""
