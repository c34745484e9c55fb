"""Settings of every command: one file a command; fields state their default, range and help once."""

from compressor.config.base import PROVIDERS, CleanSettings, RunSettings
from compressor.config.bench import BenchSettings, VerifySettings
from compressor.config.data import DataSettings
from compressor.config.prune import AMOUNTS, DEFAULT_RATIO, CriterionName, PruneSettings
from compressor.config.tune import TuneSettings
from compressor.config.unify import ALL, BlockShape, UnifySettings

__all__ = [
    "ALL",
    "AMOUNTS",
    "DEFAULT_RATIO",
    "PROVIDERS",
    "BenchSettings",
    "BlockShape",
    "CleanSettings",
    "CriterionName",
    "DataSettings",
    "PruneSettings",
    "RunSettings",
    "TuneSettings",
    "UnifySettings",
    "VerifySettings",
]
