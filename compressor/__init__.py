"""Compression of exported ONNX graphs: remove channels with all that depends on them, and prove it.

``import compressor`` is cheap: what needs onnx is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from compressor import version
from compressor.core.lazy_modules import postpone_sympy

if TYPE_CHECKING:
    from compressor.api import finetune, inspect, load, prune, save, unify
    from compressor.channels.plan import PruningPlan
    from compressor.commands.bench import bench
    from compressor.commands.prune import PruneResult
    from compressor.commands.robustness import robustness
    from compressor.commands.sensitivity import sensitivity
    from compressor.commands.verify import verify
    from compressor.config import PruneSettings

postpone_sympy()  # here, because it has to come before the first import of onnx_ir

__version__ = version.VERSION
_PLACES = {
    "PruneResult": "compressor.commands.prune",
    "PruneSettings": "compressor.config",
    "PruningPlan": "compressor.channels.plan",
    "bench": "compressor.commands.bench",
    "finetune": "compressor.api",
    "inspect": "compressor.api",
    "load": "compressor.api",
    "prune": "compressor.api",
    "robustness": "compressor.commands.robustness",
    "save": "compressor.api",
    "sensitivity": "compressor.commands.sensitivity",
    "unify": "compressor.api",
    "verify": "compressor.commands.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'compressor' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


__all__ = [
    "PruneResult",
    "PruneSettings",
    "PruningPlan",
    "__version__",
    "bench",
    "finetune",
    "inspect",
    "load",
    "prune",
    "robustness",
    "save",
    "sensitivity",
    "unify",
    "verify",
]
