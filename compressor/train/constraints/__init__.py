"""Training under a constraint on weights: ADMM, soft shrinkage, envelopes, straight-through, masks."""
