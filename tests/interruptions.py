"""Calls of the operating system that fail once."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

MOVES = ("link", "replace")
"""Functions of ``os`` that put a file under a name."""


def reaches_failing(name: str, at: int, error: BaseException, action: Callable[[], object]) -> bool:
    """Runs an action whose call number ``at`` of a function of ``os`` raises; was there such a call?"""
    count, real = 0, getattr(os, name)

    def counted(*values: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count == at:
            raise error
        return real(*values, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, name, counted)
        action()
    return count >= at
