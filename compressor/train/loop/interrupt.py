"""Ctrl-C and SIGTERM, held back until a step is whole."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Interruption:
    """Whether a signal came; the second one acts at once."""

    number: int = 0
    handlers: dict[int, Any] = field(default_factory=dict)

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remembers the signal; gives every further one to whom it belongs."""
        if self.number:
            self.deliver(number, frame)
        self.number = number

    def deliver(self, number: int | None = None, frame: FrameType | None = None) -> None:
        """Does what the signal would have done: by default KeyboardInterrupt or the end of the process."""
        number = number or self.number or signal.SIGINT
        handler = self.handlers.get(number)
        # SIG_DFL and SIG_IGN are no functions.
        if callable(handler):
            handler(number, frame)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)


@contextmanager
def held_back() -> Iterator[Interruption]:
    """Notes signals inside; in threads other than the main one, where Python delivers none, does nothing."""
    found = Interruption()
    if current_thread() is not main_thread():
        yield found
        return
    found.handlers = {number: signal.signal(number, found.note) for number in SIGNALS}
    try:
        yield found
    finally:
        for number, handler in found.handlers.items():
            # None stands for a handler that was not set from Python, which cannot be put back from there.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
