"""Functions of the user's that are named on the command line: ``package.module:function``."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from compressor.core.formatting import printable
from compressor.errors import CompressorError, UsageError

NAMED: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
"""What such a name looks like."""


def imported(text: str, option: str) -> Callable[..., Any]:
    """The function of that name; modules of the current directory can be named too.

    Args:
        text: ``package.module:function``.
        option: the flag that names it, for messages.

    Raises:
        UsageError: it cannot be imported, or not be called.
    """
    module_name, _, name = text.partition(":")
    with importable(), user_errors(text, option):
        try:
            target: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            # A module that the user's module misses is a fault inside it, which the message for a wrong name would
            # hide.
            if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
                raise
            raise UsageError(
                f"{option} {text}: there is no module {error.name!r}; start in its folder or install its package"
            ) from None
        for part in name.split("."):
            if not hasattr(target, part):
                raise UsageError(
                    f"{option} {text}: module {module_name!r} has no {name!r}; check the name, or {module_name}.py"
                )
            target = getattr(target, part)
    if not callable(target):
        raise UsageError(f"{option} {text}: it is {type(target).__name__}, which cannot be called; name a function")
    return target  # type: ignore[no-any-return]


def name_of(function: Callable[..., Any], option: str) -> str:
    """``package.module:function``, by which :func:`imported` finds a function that was given itself.

    Args:
        function: the function.
        option: the keyword that it was given for, for messages.

    Raises:
        UsageError: it is none that stands in a module under its name.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    text = f"{module}:{name}"
    found: Any = sys.modules.get(str(module))
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not function or not NAMED.fullmatch(text):
        raise UsageError(
            f"{option} takes a function of a module, which other processes can import: define it with def at the top "
            f"of one, and give it or its name, as {option}='package.module:function'; it is called with the model and "
            "gives a number"
        )
    return text


@contextmanager
def importable() -> Iterator[None]:
    """Makes modules of the current directory importable, as they are for ``python -m``."""
    folder = os.getcwd()
    # First, as for ``python -m``, and only while the user's code is looked up or run.
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


@contextmanager
def user_errors(text: str, option: str) -> Iterator[None]:
    """Turns what the user's code raises into our error, with the original as its cause.

    Raises:
        UsageError: with the name of the function and what it raised.
    """
    try:
        yield
    except CompressorError:
        raise
    except Exception as error:
        words = printable(" ".join(str(error).split())[:300])
        raise UsageError(f"{option} {text} raised {type(error).__name__}{': ' if words else ''}{words}") from error
