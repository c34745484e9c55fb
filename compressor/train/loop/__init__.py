"""The training loop: data, objective, optimiser, steps, checkpoints, validation."""
