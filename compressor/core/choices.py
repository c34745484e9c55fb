"""Names that a setting may take, stated once, with what each name stands for.

A table holds import paths instead of objects, so that the command line can list the names without loading what is
behind them, and packages at the bottom can state what packages above them provide. Other distributions add names by
entry points (https://packaging.python.org/en/latest/specifications/entry-points/).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from compressor.errors import UsageError


@lru_cache(maxsize=1)
def _installed(path: tuple[str, ...]) -> Any:  # noqa: ARG001 -- what is found depends on it
    """Entry points of all distributions, whose type differs by version of Python; read once for all tables, as it takes
    milliseconds."""
    return entry_points()


def plugin_at_fault(error: BaseException) -> str | None:
    """The package that raised ``error``, if it is one whose entry points add names here; else None."""
    installed = _installed(tuple(sys.path))
    groups = [group for group in installed.groups if group.startswith("onnx_compressor.")]
    packages = {entry.module.partition(".")[0] for group in groups for entry in installed.select(group=group)}
    trace, inner = error.__traceback__, None
    while trace is not None:
        package = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        # The innermost of the two: what a library below raises is the fault of who called it.
        inner = package if package in {*packages, "compressor"} else inner
        trace = trace.tb_next
    return inner if inner in packages else None


class Choices(Mapping[str, Any]):
    """Name -> object, imported when it is asked for.

    Args:
        subject: what a name stands for, such as ``criterion``; for messages.
        builtin: name -> ``module:attribute``.
        group: entry-point group whose names join the table; a name that is there already is not replaced.
    """

    def __init__(self, subject: str, builtin: Mapping[str, str], group: str | None = None) -> None:
        self._subject, self._builtin, self.group = subject, dict(builtin), group

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        found = _installed(tuple(sys.path)).select(group=self.group) if self.group is not None else ()
        # A plug-in must not change what a built-in name means.
        return {entry.name: entry for entry in found if entry.name not in self._builtin}

    @property
    def added(self) -> tuple[str, ...]:
        """The names that entry points brought."""
        return tuple(self._plugins)

    def __getitem__(self, name: str) -> Any:
        """The object; raises UsageError for a plug-in that cannot be imported."""
        if name in self._builtin:
            module, _, attribute = self._builtin[name].partition(":")
            return getattr(import_module(module), attribute)
        plugin = self._plugins[name]
        try:
            return plugin.load()
        except Exception as error:  # a plug-in may raise anything while it is imported
            raise UsageError(
                f"{self._subject} {name!r} of the package {plugin.module.partition('.')[0]!r} cannot be loaded: {error}"
            ) from error

    def __iter__(self) -> Iterator[str]:
        # Names alone, so that listing them imports nothing.
        yield from self._builtin
        yield from self._plugins

    def __len__(self) -> int:
        return len(self._builtin) + len(self._plugins)

    def __contains__(self, name: object) -> bool:
        return name in self._builtin or name in self._plugins

    def find(self, name: str) -> Any:
        """Like ``self[name]``; raises UsageError, with all names, where there is none."""
        if name not in self:
            raise UsageError(f"no {self._subject} {name!r}; there are {', '.join(self)}")
        return self[name]

    def literal(self, *before: str) -> Any:
        """The type of a setting that takes these names: ``before``, then all of the table."""
        return Literal[(*before, *self)]
