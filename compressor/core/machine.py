"""What this process may use of the machine."""

import gc
import os


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def rarely_collect() -> None:
    """Lets Python look for circular garbage seldom, for a process of its own.

    A graph is many small objects that stay until the end; to walk over them again whenever 700 more were made, which is
    the default, takes a fifth of the time.
    """
    gc.set_threshold(100_000, 20, 100)
