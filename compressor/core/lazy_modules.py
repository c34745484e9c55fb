"""Modules that other libraries import and a run seldom uses: loaded when something of them is first touched.

onnx-ir imports sympy for arithmetic with symbolic dimensions, which takes as long as all other imports of a prune
together and is hardly ever needed. Nothing changes for whoever uses either module, before or after.

The standard library's ``LazyLoader`` does not serve: it loads on any attribute, and an ``import`` of a module that is
there already reads its ``__spec__``.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any

_LOCK = RLock()


def postpone_sympy() -> None:
    """Makes sympy, and the module of onnx-ir that uses it at import, load on first use.

    Has no effect where onnx-ir is imported already, or is built in another way than expected.
    """
    # Too late then, as onnx-ir imports sympy with the first of its modules.
    if "onnx_ir" in sys.modules:
        return
    package = importlib.util.find_spec("onnx_ir")
    if package is None or package.origin is None:
        return
    # The spec is made from the file, because asking for a submodule's spec imports its package.
    uses = Path(package.origin).with_name("_symbolic_shapes.py")
    if uses.is_file():
        _postpone(importlib.util.spec_from_file_location("onnx_ir._symbolic_shapes", uses))
        # Only together: as long as onnx-ir loads its module at once, sympy is touched at once too.
        _postpone(importlib.util.find_spec("sympy"))


class _Postponed(ModuleType):
    """A module with its spec and path and nothing else, until something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        # Two threads may touch the module at the same time, and it must not be executed twice.
        with _LOCK:
            if type(self) is _Postponed:
                # First, because the module may import itself while it loads.
                self.__class__ = ModuleType  # type: ignore[assignment]
                assert self.__spec__ is not None
                assert self.__spec__.loader is not None
                self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def _postpone(spec: ModuleSpec | None) -> None:
    if spec is None or spec.loader is None or spec.name in sys.modules:
        return
    module = importlib.util.module_from_spec(spec)
    module.__class__ = _Postponed
    sys.modules[spec.name] = module
