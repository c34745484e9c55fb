"""Where a run in Python shows how far it is: in notebooks by itself, elsewhere where the caller wants it."""

from __future__ import annotations

import html
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

from compressor.core.clock import Progress
from compressor.core.formatting import printable

ProgressLike: TypeAlias = Progress | bool | None
"""What to call with each phase; True for a line that is updated; False for nothing; None for a line in notebooks."""


@contextmanager
def progress_shown(wanted: ProgressLike) -> Iterator[Progress | None]:
    """What a run tells its phases to; the line of a notebook is cleared at the end."""
    # Asked first, as True and False are no functions.
    if callable(wanted):
        yield wanted
    elif wanted is False or (wanted is None and not in_notebook()):
        yield None
    elif in_notebook():
        yield from _in_cell()
    else:
        yield lambda text: print(printable(text), file=sys.stderr, flush=True)  # noqa: T201 - asked for


def in_notebook() -> bool:
    """Is this process the kernel of a notebook? IPython is looked for only where something else has imported it."""
    # Importing IPython to find out would load it for everybody.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return shell is not None and getattr(shell, "kernel", None) is not None


def _in_cell() -> Iterator[Progress]:
    """IPython is there only in notebooks."""
    from IPython.display import HTML, display  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415

    line = display(HTML("<i>starting</i>"), display_id=True)
    try:
        yield lambda text: line.update(HTML(f"<i>{html.escape(printable(text))}</i>"))
    finally:
        line.update(HTML(""))
