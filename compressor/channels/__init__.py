"""Channels: which positions of which tensors live and die together."""
