"""A model in a file, which nothing edits any more, and what ONNX Runtime makes of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.core.beside import beside
from compressor.core.scratch import scratch
from compressor.errors import ModelError
from compressor.graph.disk.stream import write_beside

if TYPE_CHECKING:
    from compressor.runtime.sessions import Session

Feed = Mapping[str, Array]
WeightChange = Callable[[ir.Model], ir.Model]
"""From a model to a copy of it with other weights."""


def smallest_first(feeds: Sequence[Feed]) -> list[int]:
    """Places of feeds by how many numbers they hold."""
    return sorted(range(len(feeds)), key=lambda k: sum(array.size for array in feeds[k].values()))


@dataclass(frozen=True)
class Runs:
    """Outputs of a model.

    Attributes:
        names: of the outputs.
        feeds: arrays by name of input, for each run.
        outputs: by run, in the order of ``names``.
    """

    names: list[str]
    feeds: list[Feed]
    outputs: list[list[Array]]

    def of_outputs(self, names: Sequence[str]) -> Runs:
        """Outputs of these names, in this order."""
        places = [self.names.index(name) for name in names]
        return Runs(list(names), self.feeds, [[row[place] for place in places] for row in self.outputs])

    def smallest(self) -> Runs:
        """The run with the smallest inputs alone."""
        least = smallest_first(self.feeds[: len(self.outputs)])[0]
        return Runs(self.names, [self.feeds[least]], [self.outputs[least]])


class Tried(NamedTuple):
    """What came of trying several feeds.

    Attributes:
        runs: of the feeds that the model took, one in each.
        problem: why it did not take the first that it did not.
    """

    runs: list[Runs]
    problem: ModelError | None


class Ready(Protocol):
    """A model that is ready to be run."""

    def run(self, feeds: Sequence[Feed]) -> Runs:
        """Runs the model on each feed; raises ModelError where it does not run."""
        ...

    def tried(self, feeds: Sequence[Feed], enough: int) -> Tried:
        """Runs the model on the feeds that it takes, in their order, until there are enough."""
        runs, problem = list[Runs](), None
        for feed in feeds:
            if len(runs) == enough:
                break
            try:
                runs.append(self.run([feed]))
            except ModelError as error:
                problem = problem or error  # the first is what the user is told
        return Tried(runs, problem)


class Runnable(Protocol):
    """A model that can be run, and that nothing edits any more."""

    @property
    def note(self) -> str:
        """What a reader of a proof should know of how it is run; mostly nothing."""
        return ""

    def open(self) -> Ready:
        """Makes it ready to run; raises ModelError where the runtime refuses it."""
        ...

    def run(self, feeds: Sequence[Feed]) -> Runs:
        """Runs the model on each feed; raises as :meth:`open` and :meth:`Ready.run`."""
        return self.open().run(feeds)

    def changed(self, change: WeightChange, folder: Path) -> Runnable:
        """The same with other weights, whose files are put in ``folder``."""
        ...


@dataclass(frozen=True)
class ReadySession(Ready):
    """A session, and the names that it asks for and gives.

    Attributes:
        session: of the runtime.
        lent: arrays that it reads and does not own.
    """

    session: Session
    lent: Mapping[str, Array] = field(default_factory=dict)

    def run(self, feeds: Sequence[Feed]) -> Runs:
        """Runs the model on each feed; names that it does not have are left out.

        Raises:
            ModelError: it does not run.
            OutOfMemory: memory ran out.
        """
        from compressor.runtime.sessions import run_session  # noqa: PLC0415 - 0.2 s that a run without proof need not pay

        outputs = [run_session(self.session, feed) for feed in feeds]
        return Runs([o.name for o in self.session.get_outputs()], list(feeds), outputs)


@dataclass(frozen=True)
class Stored(Runnable):
    """A model file and where it is run. Sessions end with whoever holds them, so that weights are held once.

    Attributes:
        path: the file, as it was read or as it will be put in place.
        provider: short or full name.
        optimised: it is loaded as its users will load it, with the runtime's graph optimisations; else its nodes run
            one by one, so that models which are compared round in the same places, and load sooner.
    """

    path: Path
    provider: str
    optimised: bool = False

    @staticmethod
    def write(model: ir.Model, folder: Path, provider: str) -> Stored:
        """Writes ``model`` to a new place in ``folder``, weights beside it."""
        # A new folder each time: sessions may still read what was written before.
        place = Path(tempfile.mkdtemp(dir=folder))
        write_beside(model, place / "model.onnx")
        return Stored(place / "model.onnx", provider)

    def open(self) -> ReadySession:
        """A session for it.

        Raises:
            ModelError: ONNX Runtime refuses it.
            ProviderUnavailable: the provider is not there.
            OutOfMemory: memory ran out.
        """
        from compressor.runtime.sessions import Setup, start_session  # noqa: PLC0415 - as above

        return ReadySession(start_session(self.path, self.provider, Setup.for_results(optimise=self.optimised)))

    def changed(self, change: WeightChange, folder: Path) -> Stored:
        """The same with other weights, written to ``folder``."""
        return Stored.write(change(ir.load(self.path)), folder, self.provider)


class _OpenedBeside(Runnable):
    """A model that is opened on a thread of its own from now on."""

    def __init__(self, stored: Runnable) -> None:
        self._stored = stored
        self._wait: Callable[[], Ready] | None = beside(stored.open)

    def open(self) -> Ready:
        """Waits for it; raises as it does. Handed out once and not kept, so that it ends with whoever holds it."""
        wait, self._wait = self._wait, None
        return self._stored.open() if wait is None else wait()

    def changed(self, change: WeightChange, folder: Path) -> Runnable:
        """The same with other weights."""
        return self._stored.changed(change, folder)

    def end(self) -> None:
        """Waits until no thread is in the runtime any more."""
        if self._wait is not None:
            with suppress(Exception):
                self._wait()


@contextmanager
def opened_beside(stored: Runnable) -> Iterator[Runnable]:
    """A model that is made ready to run while the block does something else first, such as running another one."""
    model = _OpenedBeside(stored)
    try:
        yield model
    finally:
        # A process that ends while a thread is in the runtime may crash.
        model.end()


@dataclass(frozen=True)
class Answers:
    """What a stored model gives, with its session still open to ask again."""

    stored: Runnable
    ready: Ready
    runs: Runs

    @staticmethod
    def of(stored: Runnable, feeds: Sequence[Feed]) -> Answers:
        """Runs the model on each feed; raises as :meth:`Stored.run`."""
        ready = stored.open()
        return Answers(stored, ready, ready.run(feeds))

    @staticmethod
    def to_some(
        stored: Runnable, feeds: Sequence[Feed], instead: Iterable[Feed] = (), *, enough: int | None = None
    ) -> Answers:
        """Runs the model on the feeds that it takes, in their order, until there are enough; sizes may be made up.

        Args:
            stored: the model.
            feeds: what it may take.
            instead: tried one after the other where it takes none of them, until it takes one.
            enough: runs that are wanted; None: of all feeds.

        Raises:
            ModelError: it takes none.
        """
        ready = stored.open()
        parts, problem = ready.tried(feeds, len(feeds) if enough is None else enough)
        for feed in instead if not parts else ():
            parts, other = ready.tried([feed], 1)
            problem = problem or other
            if parts:
                break
        if not parts:
            raise ModelError(
                f"{problem}; if an open dimension needs a certain size, give it with --dim NAME=SIZE or --input-shape"
            )
        runs = Runs(parts[0].names, [f for p in parts for f in p.feeds], [o for p in parts for o in p.outputs])
        return Answers(stored, ready, runs)

    def apart(self, feeds: Sequence[Feed]) -> tuple[Answers, list[Answers]]:
        """The runs without those of these feeds, and each of those by itself; as they are where no others are left."""
        runs, taken = self.runs, {id(feed) for feed in feeds}
        own = [id(feed) in taken for feed in runs.feeds]
        if all(own):
            return self, []
        alone = [self._of([k == place for k in range(len(own))]) for place in compress(range(len(own)), own)]
        return self._of([not one for one in own]), alone

    def _of(self, kept: Sequence[bool]) -> Answers:
        runs = self.runs
        return replace(self, runs=Runs(runs.names, [*compress(runs.feeds, kept)], [*compress(runs.outputs, kept)]))


def run_once(model: ir.Model, feeds: Sequence[Feed], provider: str, *, optimise: bool = True) -> Runs:
    """Runs a model in memory, written to a temporary folder for as long; raises as :meth:`Stored.run`."""
    with scratch() as folder:
        return replace(Stored.write(model, folder, provider), optimised=optimise).run(feeds)
