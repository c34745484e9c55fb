"""Settings that all commands share which read or write a model."""

from compressor.config.graph import GraphSection
from compressor.config.proof import ProofSection


class RunSettings(GraphSection, ProofSection):
    """What every run that writes or reads a model shares: binding of shapes, preparation and proof."""


class CleanSettings(RunSettings):
    """Settings of a clean-up, which removes no channel."""
