"""Compression of exported ONNX graphs: remove channels with all that depends on them, and prove it.

``import compressor`` is cheap: what needs onnx is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from compressor import version

if TYPE_CHECKING:
    from compressor import errors
    from compressor.api import (
        clean,
        finetune,
        load,
        prune,
        quantize,
        run,
        save,
        unify,
    )
    from compressor.channels.plan import PruningPlan
    from compressor.commands.clean import CleanResult
    from compressor.commands.unify import UnifyResult
    from compressor.config import PruneSettings
    from compressor.interface.measures import bench, diff, inspect, robustness, sensitivity, verify
    from compressor.steps.prune.result import PruneResult

__version__ = version.VERSION
_PLACES = MappingProxyType(
    {
        "CleanResult": "compressor.commands.clean",
        "PruneResult": "compressor.commands.prune",
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


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("compressor.errors")
    if name not in _PLACES:
        raise AttributeError(f"module 'compressor' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "CleanResult",
    "PruneResult",
    "PruneSettings",
    "PruningPlan",
    "UnifyResult",
    "__version__",
    "bench",
    "clean",
    "diff",
    "errors",
    "finetune",
    "inspect",
    "load",
    "prune",
    "quantize",
    "robustness",
    "run",
    "save",
    "sensitivity",
    "unify",
    "verify",
]
