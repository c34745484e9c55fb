"""Kernels as combinations of a few that a layer shares: pruned among the coefficients, stored with them, or lowered."""
