"""Where things are printed: results on stdout, progress, warnings and errors on stderr."""

import functools
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, TextIO, TypeVar, cast

import click

from compressor.cli.command import Option, discard_stdout
from compressor.cli.export_folder import ExportFolder
from compressor.cli.failure import tell_no_failure
from compressor.cli.paths import Destinations, default_output, reports_stay, written_beside
from compressor.core.atomic import write_text
from compressor.core.clock import LastingText, Notice, Progress
from compressor.core.formatting import printable
from compressor.errors import GateMissed, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from compressor.results import Document

F = TypeVar("F", bound=Callable[..., Any])
LOG_SECONDS = 10.0
_TRAILING = re.compile(r"[ \t]+(?=\n)")
_ASKED = MappingProxyType({"dry_run": "dry_run", "plan_out": "plan", "report_to": "report", "card_to": "card"})
"""Parameters of a command -> what :class:`Destinations` call them."""
output_option = functools.partial(click.option, cls=Option, section="Output")
"""`click.option` for what a command writes or prints."""
file_option = functools.partial(output_option, type=click.Path(path_type=Path))
"""The same for the path of a file."""
report_option = file_option(
    "--report", "report_to", metavar="PATH.html", help="Write a report to look at, one HTML file."
)
card_option = file_option(
    "--card", "card_to", metavar="PATH.md", help="Write a model card (Markdown): what was done and proved."
)
dry_run_option = output_option("--dry-run", is_flag=True, help="Do everything but write the model.")


def model_option(suffix: str) -> Callable[[F], F]:
    """``-o`` of a command that writes a model; ``suffix`` is what its default name ends in.

    The command is called with one record of ``destinations`` for all that it was told to write.

    Where IN is the folder of an exporter, the command gets the model in it, and the folder's other files are copied
    beside the result.
    """
    text = f"File to write; a folder where IN is one.  [default: IN with {suffix}]"
    option: Callable[[F], F] = file_option("-o", "--output", metavar="OUT", help=text)

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def placed(*, source: Path, output: Path | None, **values: Any) -> None:
            def called(*, source: Path, output: Path | None) -> None:
                place = output or default_output(source, suffix)
                function(source=source, destinations=Destinations(place, output is not None, **asked), **values)

            quiet, asked = values["quiet"], {name: values.pop(key) for key, name in _ASKED.items() if key in values}
            if ExportFolder.at(source):
                _in_folder(called, ExportFolder.of(source, output, suffix), quiet=quiet)
            else:
                called(source=source, output=output)

        return option(cast("F", placed))

    return decorate


def _in_folder(command: Callable[..., object], folder: ExportFolder, *, quiet: bool) -> None:
    """Calls a command on the model of a folder, and fills the folder of the result."""
    folder.prepare()
    # At the very end, when the results of a command that failed are gone.
    click.get_current_context().call_on_close(folder.withdraw)
    missed: GateMissed | None = None
    try:
        command(source=folder.source / folder.model, output=folder.target / folder.model)
    # The model is written all the same.
    except GateMissed as gate:
        missed = gate
    notes = folder.complete()
    for note in [] if quiet else notes:
        click.echo(f"Warning: {printable(note)}", err=True)
    if missed is not None:
        raise missed


@dataclass(frozen=True)
class View:
    """What the user wants to see of a run, and where."""

    json_to: str | None
    quiet: bool
    verbose: bool
    no_progress: bool

    @contextmanager
    def phases(self) -> Iterator[Progress | None]:
        """Shows the running phase on stderr, in logs now and then as a line; yields what to call with its name."""
        if self.quiet or self.no_progress:
            yield None
            return
        # A log would fill with the frames of a spinner.
        if not sys.stderr.isatty():
            yield Logged()
            return
        # Imported only when something is drawn: rich takes a good part of the time that a small command takes.
        from rich.progress import Progress as Bar
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        with Bar(*columns, console=_console(stderr=True), transient=True) as bar:
            task = bar.add_task("starting", total=None)

            def shown(phase: str) -> None:
                if isinstance(phase, Notice):
                    bar.console.print(printable(phase), markup=False, highlight=False)
                bar.update(task, description=printable(phase))

            yield shown

    def show(self, document: "Document", warnings: list[str], draw: "Callable[[Console], None]") -> None:
        """Prints a result: warnings on stderr, JSON where it was asked for, text unless quiet.

        With JSON on stdout the text goes to stderr.
        """
        if not self.quiet:
            # Warnings before the result, and on stderr, so that stdout holds the result alone.
            for warning in warnings:
                click.echo(f"Warning: {printable(warning)}", err=True)
        if self.json_to not in (None, "-"):
            write_text(str(self.json_to), document.to_json())
            tell_no_failure()
        # One guard for both, as either may meet a full disk.
        with _printing():
            if self.json_to == "-":
                tell_no_failure()
                click.echo(document.to_json(), nl=False)
            self.draw(draw)
            self.draw(_name_beside)
        reports_stay()

    def draw(self, draw: "Callable[[Console], None]") -> None:
        """Prints text unless quiet; to stderr where stdout is for JSON."""
        if not self.quiet:
            with _printing():
                draw(_console(stderr=self.json_to == "-"))


def _name_beside(console: "Console") -> None:
    """A line for each file that was written beside the result."""
    from compressor.render.draw import line

    for path in written_beside():
        line(console, f"Wrote {path}", style="bold")


class Logged:
    """Progress where stderr is no terminal, as lines of ``key=value`` pairs: what lasts, such as an epoch, and of all
    else a line every :data:`LOG_SECONDS` at most."""

    def __init__(self) -> None:
        self.started = self.last = time.monotonic()

    def __call__(self, phase: str) -> None:
        """Writes the phase if it lasts, or if the last line is old enough."""
        now = time.monotonic()
        if isinstance(phase, LastingText):
            self.last = now
            click.echo(f"seconds={now - self.started:.0f} {printable(phase.line)}", err=True)
            return
        # Long runs only: a short one would fill the log with phases that are over already.
        if now - self.last >= LOG_SECONDS:
            self.last = now
            click.echo(f"seconds={now - self.started:.0f} phase={json.dumps(printable(phase))}", err=True)


class _Trimmed:
    """A stream whose lines end without blanks, which tables pad them with."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(_TRAILING.sub("", text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _printing() -> Iterator[None]:
    """What cannot be printed is an error of its own, not a crash, and not nothing; a closed pipe is left alone."""
    try:
        yield
        # Here and not at exit, where a failure could not be told any more.
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_stdout()
        raise UsageError(f"the result cannot be printed: {error.strerror or error}; make room, or use -q") from None


def view_options(function: F) -> F:
    """Gives a command the options that say what is printed, and calls it with one ``view``."""

    @functools.wraps(function)
    def viewed(**values: Any) -> Any:
        # The four are taken out, so that commands know only the view.
        names = ("json_to", "quiet", "verbose", "no_progress")
        return function(view=View(**{name: values.pop(name) for name in names}), **values)

    for option in (
        output_option(
            "--no-progress",
            is_flag=True,
            help="Show no running phase, nor its lines in logs.",
        ),
        output_option("-v", "--verbose", is_flag=True, help="Print every row, and the traceback of an error."),
        output_option("-q", "--quiet", is_flag=True, help="Print nothing but errors and the JSON asked for."),
        output_option(
            "--json",
            "json_to",
            metavar="PATH",
            help="Write the report as JSON; with - to stdout, and the text to stderr.",
        ),
    ):
        option(viewed)
    return viewed  # type: ignore[return-value]


def _console(*, stderr: bool) -> "Console":
    from rich.console import Console

    class PlainConsole(Console):
        """Prints names as they are, and leaves a closed pipe to the command."""

        # rich would end the program with a code of its own.
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    stream = sys.stderr if stderr else sys.stdout
    # A terminal gets the lines as they are; trailing blanks would only be in the way in files.
    file = None if stream.isatty() else cast("IO[str]", _Trimmed(stream))
    return PlainConsole(file=file, stderr=stderr, markup=False, emoji=False, highlight=False)
