"""The training loop: data, objective, optimiser, steps, checkpoints, validation."""

from compressor.core.extras import TRAINING, require

require("training", *TRAINING)
