"""Who measures: processes of this machine, any executor of ``concurrent.futures``, or a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Protocol, TypeAlias

from compressor.core import extras
from compressor.errors import CompressorError, UsageError

Workers: TypeAlias = int | Executor
"""So many processes of this machine, 0 for one a core, 1 for this very process; or whom work is handed to."""
SCHEME = "dask://"
PATIENCE = "10s"
"""How long a scheduler is waited for."""


class WorkerSettings(Protocol):
    """Settings that say who measures."""

    @property
    def jobs(self) -> int:
        """Processes of this machine."""
        ...

    @property
    def cluster(self) -> str | None:
        """A cluster that is asked instead."""
        ...


@contextmanager
def workers_of(settings: WorkerSettings, executor: Executor | None = None) -> Iterator[Workers]:
    """The workers that settings ask for; ``executor``, where the caller has one, goes before them.

    Workers read the model and the samples by their paths, so those of other machines need the same folders, temporary
    ones (TMPDIR) included, and the same version of this package.

    Raises:
        UsageError: the cluster is of a kind that is not known, or does not answer.
        CompressorError: the cluster went away while it was measuring.
    """
    if executor is not None or settings.cluster is None:
        yield settings.jobs if executor is None else executor
        return
    if not settings.cluster.startswith(SCHEME):
        raise UsageError(f"--cluster {settings.cluster}: write dask://HOST:PORT, the address of a Dask scheduler")
    extras.require("--cluster", "distributed")
    from distributed import Client  # noqa: PLC0415 - an extra

    address = settings.cluster.removeprefix(SCHEME)
    try:
        # Not as default: a client that the caller has open must stay the one that Dask uses.
        client = Client(f"tcp://{address}", timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"--cluster {settings.cluster} does not answer ({words}); is its scheduler running?") from None
    with client:
        if not client.scheduler_info()["workers"]:
            raise UsageError(f"--cluster {settings.cluster} has no worker; start one with: dask worker tcp://{address}")
        # Not pure: Dask would hash every argument to find out whether it knows the result.
        yield client.get_executor(pure=False)


def workers_gone(error: BaseException) -> CompressorError:
    """The sentence for workers that are gone."""
    return CompressorError(
        f"the workers that measure are gone ({type(error).__name__}); what was measured is kept where there is a file "
        "for it, so start them again and run this again"
    )
