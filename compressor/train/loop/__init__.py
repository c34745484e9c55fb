"""The training loop: data, objective, optimiser, steps, checkpoints, validation."""

from compressor.core.extras import TRAINING_PACKAGES, require

require("training", *TRAINING_PACKAGES)
