"""The one import of ONNX Runtime, which reports to nobody, and its log.

Its wheels collect events (those of 1.31 for Linux, too), in a database in the user's cache folder, and send
them; it looks once, when it is imported, whether it was told not to.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Final

from compressor.core.machine import reporting_to_nobody

with reporting_to_nobody():
    import onnxruntime as ort

ort.disable_telemetry_events()  # for an ONNX Runtime that was imported before this module, and for Windows

__all__ = ["FATAL", "ort", "silenced"]

WARNING = 2
FATAL = 4
"""Severities of its log (``OrtLoggingLevel`` of the C API); it starts with warnings, and does not say what is set."""
_TURN: Final = RLock()
"""The log is the whole process's: of two threads that silence it, the first one out would let the other be heard."""


@contextmanager
def silenced() -> Iterator[None]:
    """Inside, the log of the process tells only what is fatal: errors come as exceptions, and are told once.

    Sessions have a log of their own, which their options set.
    """
    with _TURN:
        ort.set_default_logger_severity(FATAL)
        try:
            yield
        finally:
            ort.set_default_logger_severity(WARNING)
