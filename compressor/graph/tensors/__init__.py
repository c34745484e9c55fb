"""Where the bytes of weights are, and weights that stay there until they are read."""
