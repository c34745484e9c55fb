"""Programs as a user starts them, one after the other in one other process.

An interpreter that has loaded numpy, ONNX Runtime and torch once runs many of them; it is none of the tests' own, so
that nothing that a test or ``conftest.py`` changed is in force.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

WIDTH = "80"


class Done(NamedTuple):
    """What a program ended with, and what it printed."""

    code: int
    stdout: str
    stderr: str


@contextmanager
def interpreter() -> Iterator[ProcessPoolExecutor]:
    """The other process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_as_in_a_terminal) as pool:
        yield pool


def _as_in_a_terminal() -> None:
    os.environ.update({"COLUMNS": WIDTH, "NO_COLOR": "1"})


def run(arguments: list[str], folder: Path) -> Done:
    """``python ARGUMENTS`` in a folder: a script, ``-m module`` or ``-c code``, with what is to be given to it."""
    kind, rest = (arguments[0], arguments[1:]) if arguments[0] in ("-m", "-c") else ("", arguments)
    out, err, code = StringIO(), StringIO(), 0
    held = sys.argv
    sys.argv = rest
    try:
        with chdir(folder), redirect_stdout(out), redirect_stderr(err):
            if kind == "-m":
                runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
            elif kind == "-c":
                exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})  # code of README.md
            else:
                runpy.run_path(rest[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        err.write("" if isinstance(end.code, int | None) else str(end.code))
    finally:
        sys.argv = held
    return Done(code, out.getvalue(), err.getvalue())
