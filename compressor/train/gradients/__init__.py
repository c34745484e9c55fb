"""Measurements by gradients: saliency of units, squared gradients, singular values of the Jacobian."""
