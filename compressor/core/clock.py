"""Time of each phase of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Progress = Callable[[str], None]


class LastingText(str):
    """Text of a running phase that is worth keeping: terminals show it as any other, logs write its ``line``.

    Attributes:
        line: what a log keeps of it.
    """

    line: str

    def __new__(cls, text: str, line: str) -> LastingText:
        """The text, with its line."""
        made = super().__new__(cls, text)
        made.line = line
        return made


class Notice(LastingText):
    """What stays on the screen, too: it tells what was taken for granted, and is no warning."""


@dataclass
class Clock:
    """Seconds of each phase; tells ``progress`` the name of a phase when it starts."""

    progress: Progress | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times what runs inside; a phase that comes twice adds up."""
        self.tell(name)
        start = time.perf_counter()
        # No try: the time of a phase that raised is of no use.
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 4)

    def tell(self, text: str) -> None:
        """Hands ``text`` to ``progress``."""
        if self.progress is not None:
            self.progress(text)
