"""Settings of every command: a class a concern (a section), from which a command's settings are composed."""

from compressor.config.base import CleanSettings, RunSettings
from compressor.config.bench import BenchSettings
from compressor.config.blocks import ALL, BlockShape
from compressor.config.data import DataSettings
from compressor.config.proof import PROVIDERS
from compressor.config.prune import PruneSettings
from compressor.config.selection import CriterionName
from compressor.config.sparsity import SparsifySettings
from compressor.config.target import AMOUNTS, DEFAULT_RATIO
from compressor.config.tune import TuneSettings
from compressor.config.unify import UnifySettings
from compressor.config.verify import VerifySettings

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
    "SparsifySettings",
    "TuneSettings",
    "UnifySettings",
    "VerifySettings",
]
