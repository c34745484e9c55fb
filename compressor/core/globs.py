"""Patterns of names, as a shell has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase


def any_match(names: Iterable[str], globs: Sequence[str]) -> bool:
    """Does one of these names match one of these patterns? Upper and lower case differ."""
    return any(fnmatchcase(name, glob) for name in names for glob in globs)
