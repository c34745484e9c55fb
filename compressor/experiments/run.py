"""Measures trials in processes of one thread each; finished ones are remembered at once."""

from __future__ import annotations

import hashlib
import signal
import time
import warnings
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from typing import Protocol

import onnx_ir as ir

from compressor.core.clock import Progress
from compressor.core.machine import cores
from compressor.errors import CompressorError
from compressor.experiments.change import ReferenceOutputs
from compressor.experiments.ledger import Ledger
from compressor.experiments.workers import Workers, workers_gone
from compressor.results.sensitivity import OutputChange

Variant = Callable[[str], ir.Model]
"""Makes a changed model from a change that is written as text."""


class Subject(Hashable, Protocol):
    """A model and a way of changing it; small, hashable and picklable, so that every process opens its own."""

    def open(self) -> Variant:
        """Loads what is needed to make variants."""
        ...


@dataclass(frozen=True)
class Trial:
    """One change.

    Attributes:
        label: what messages call it.
        change: what the subject is told to change; text that is the same for the same change.
    """

    label: str
    change: str


@dataclass(frozen=True)
class Experiment:
    """What is changed and how that is measured.

    Attributes:
        subject: makes the variants.
        reference: measures them.
        digest: hash of the model.
    """

    subject: Subject
    reference: ReferenceOutputs
    digest: str

    def key(self, trial: Trial) -> str:
        """The same for the same change of the same model, on the same samples, at the same provider."""
        # The label is left out: what was measured does not depend on what messages call it.
        facts = [type(self.subject).__name__, self.digest, self.reference.digest, self.reference.provider, trial.change]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def run_trials(
    experiment: Experiment, trials: Sequence[Trial], ledger: Ledger, workers: Workers, tell: Progress
) -> list[OutputChange]:
    """Measures every trial that the ledger does not hold yet; the changes come in the order of the trials.

    Args:
        experiment: what is changed and how that is measured.
        trials: the changes; equal ones are measured once.
        ledger: remembers each measurement as soon as it is made, so that an interruption loses none.
        workers: processes; 0 for one a core, 1 measures in this process; or an executor, which is left open.
        tell: hears how far it is.

    Raises:
        CompressorError: what a trial raised, with its label; or a process was killed, or a cluster went away.
    """
    keys = [experiment.key(trial) for trial in trials]
    # Equal trials have one key, and are measured once.
    todo = {key: trial for key, trial in zip(keys, trials, strict=True) if key not in ledger}
    start = time.perf_counter()
    with closing(_measured(experiment, todo, workers)) as measured:
        for done, (key, change) in enumerate(measured, 1):
            ledger.add(key, todo[key].label, change)
            # What the ledger held took no time, so only what is measured counts for the estimate.
            left = (time.perf_counter() - start) / done * (len(todo) - done)
            tell(f"measure: {done} of {len(todo)}, {left:.0f} s left, {todo[key].label}")
    return [ledger[key] for key in keys]


def _measured(
    experiment: Experiment, todo: Mapping[str, Trial], workers: Workers
) -> Generator[tuple[str, OutputChange]]:
    if isinstance(workers, Executor):
        yield from _handed_out(experiment, todo, workers)
        return
    processes = min(workers or cores(), len(todo))
    if processes <= 1:
        variant = experiment.subject.open() if todo else None
        for key, trial in todo.items():
            assert variant is not None
            yield key, _change(experiment.reference, variant, trial)
        return
    # Spawned, not forked: ONNX Runtime's threads do not survive a fork, and locks that they held stay locked.
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=_end_on_interrupt) as pool:
        try:
            yield from _results(pool, experiment, todo)
        except BrokenProcessPool:
            raise CompressorError(
                "a process that measures was killed, perhaps for want of memory; what was measured is kept, so run "
                "again with fewer --jobs"
            ) from None
        finally:
            # After an error nobody waits for what has not begun.
            pool.shutdown(cancel_futures=True)


def _handed_out(
    experiment: Experiment, todo: Mapping[str, Trial], executor: Executor
) -> Generator[tuple[str, OutputChange]]:
    """By the caller's executor or a cluster; one that loses a worker gives its work to another, as far as it does."""
    try:
        yield from _results(executor, experiment, todo)
    except CompressorError:
        raise
    except (BrokenExecutor, CancelledError, OSError, RuntimeError) as error:
        raise workers_gone(error) from error
    except Exception as error:
        # By its name, since distributed is an extra and must not be imported to catch its error.
        if type(error).__name__ != "KilledWorker":
            raise
        raise workers_gone(error) from error


def _results(
    executor: Executor, experiment: Experiment, todo: Mapping[str, Trial]
) -> Generator[tuple[str, OutputChange]]:
    """Changes as they are measured; what has not begun when this ends is called off."""
    futures = {
        executor.submit(_in_worker, experiment.subject, experiment.reference, trial): key for key, trial in todo.items()
    }
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        for future in futures:
            future.cancel()


def _end_on_interrupt() -> None:
    """Ctrl-C reaches every process of a terminal: workers end at once and silently."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # as in the process that the user started


# A worker measures many trials of one model, which it opens once.
@lru_cache(maxsize=1)
def _open(subject: Subject) -> Variant:
    return subject.open()


def _in_worker(subject: Subject, reference: ReferenceOutputs, trial: Trial) -> OutputChange:
    return _change(reference, _open(subject), trial)


def _change(reference: ReferenceOutputs, variant: Variant, trial: Trial) -> OutputChange:
    try:
        return reference.change(variant(trial.change))
    except CompressorError as error:
        # The same type, as each has an exit code of its own.
        raise type(error)(f"{trial.label}: {error}") from None
