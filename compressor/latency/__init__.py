"""A latency as a target: measured operator times, widths chosen by them, the result measured and corrected."""

from compressor.latency.target import LatencyTarget

__all__ = ["LatencyTarget"]
