"""Settings of every command: a class a concern (a section), from which a command's settings are composed."""

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from compressor.config.base import CleanSettings, RunSettings
from compressor.config.blocks import ALL, BlockShape
from compressor.config.data import DataSettings
from compressor.config.proof import PROVIDERS
from compressor.config.prune import PruneSettings
from compressor.config.selection import CriterionName
from compressor.config.sparsity import SparsifySettings
from compressor.config.target import AMOUNTS, DEFAULT_RATIO
from compressor.config.tune import TuneSettings

if TYPE_CHECKING:
    from compressor.config.bench import BenchSettings
    from compressor.config.unify import UnifySettings
    from compressor.config.verify import VerifySettings

_OF_ONE_COMMAND = MappingProxyType(
    {
        "BenchSettings": "compressor.config.bench",
        "UnifySettings": "compressor.config.unify",
        "VerifySettings": "compressor.config.verify",
    }
)
"""Imported when they are asked for, as other commands do without them."""


def __getattr__(name: str) -> Any:
    if name not in _OF_ONE_COMMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_OF_ONE_COMMAND[name]), name)


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
