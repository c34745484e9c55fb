"""Compression of exported ONNX graphs: remove channels with all that depends on them, and prove it.

``import compressor`` is cheap: what needs onnx is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from compressor import version

if TYPE_CHECKING:
    from compressor import errors as errors
    from compressor.api import clean as clean
    from compressor.api import finetune as finetune
    from compressor.api import load as load
    from compressor.api import prune as prune
    from compressor.api import quantize as quantize
    from compressor.api import run as run
    from compressor.api import save as save
    from compressor.api import unify as unify
    from compressor.channels.plan import PruningPlan as PruningPlan
    from compressor.commands.clean import CleanResult as CleanResult
    from compressor.commands.unify import UnifyResult as UnifyResult
    from compressor.config import PruneSettings as PruneSettings
    from compressor.interface.measures import bench as bench
    from compressor.interface.measures import diff as diff
    from compressor.interface.measures import inspect as inspect
    from compressor.interface.measures import robustness as robustness
    from compressor.interface.measures import sensitivity as sensitivity
    from compressor.interface.measures import verify as verify
    from compressor.steps.prune.result import PruneResult as PruneResult

__version__ = version.VERSION
_PLACES = MappingProxyType(
    {
        "CleanResult": "compressor.commands.clean",
        "PruneResult": "compressor.steps.prune.result",
        "PruneSettings": "compressor.config",
        "PruningPlan": "compressor.channels.plan",
        "UnifyResult": "compressor.commands.unify",
        "bench": "compressor.interface.measures",
        "clean": "compressor.api",
        "diff": "compressor.interface.measures",
        "finetune": "compressor.api",
        "inspect": "compressor.interface.measures",
        "load": "compressor.api",
        "prune": "compressor.api",
        "quantize": "compressor.api",
        "robustness": "compressor.interface.measures",
        "run": "compressor.api",
        "save": "compressor.api",
        "sensitivity": "compressor.interface.measures",
        "unify": "compressor.api",
        "verify": "compressor.interface.measures",
    }
)
"""Public name -> the module that it is loaded from; type checkers read the same off the imports above."""


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("compressor.errors")
    if name not in _PLACES:
        raise AttributeError(f"module 'compressor' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = ["__version__", "errors"]
__all__ += list(_PLACES)
