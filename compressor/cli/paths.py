"""Where a command writes: default names, and no file that is also an input."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from types import MappingProxyType
from typing import TYPE_CHECKING

import click

from compressor.cli.failure import tell_no_failure
from compressor.core.formatting import printable
from compressor.core.notation import parse_also
from compressor.errors import CompressorError, ModelError, UsageError
from compressor.graph.disk.before import Before, file_mark, files_of

if TYPE_CHECKING:
    from rich.console import Console

    from compressor.results import Document
    from compressor.results.records import RunDocument

_OUTPUTS = ("--output", "output")
_REPORTS = ("--json", "--report", "report", "--card", "--plot")
"""What stays once it is all written, as it may say why the command fails."""
_LOG = "--metrics"
"""What is written while the command runs, and stays."""
_BEFORE, _BESIDE = "compressor.before", "compressor.beside"
_LONGEST_NAME = 255
"""Bytes of a file's name on the file systems in use."""
_PAGE = ("HTML", (".html", ".htm"))
_KINDS = MappingProxyType(
    {"--report": _PAGE, "--plot": _PAGE, "report": _PAGE, "--card": ("Markdown", (".md", ".markdown"))}
)
"""What is written for a flag, and what names of such files end in."""


@dataclass(frozen=True)
class Destinations:
    """What a command that makes a model writes; None for what nobody asked for.

    Attributes:
        place: of the model.
        named: that place was asked for.
        dry_run: all is done but writing the model.
        plan: what goes, as JSON.
        report: one HTML file.
        card: Markdown.
    """

    place: Path
    named: bool
    dry_run: bool = False
    plan: Path | None = None
    report: Path | None = None
    card: Path | None = None

    @property
    def model(self) -> Path | None:
        """Where the model is written; None where it is not."""
        return None if self.dry_run else self.place

    def check(self, sources: Collection[Path | None], more: Mapping[str, str | Path | None]) -> None:
        """:func:`check_destinations` of all these and ``more``, by flag."""
        # With --dry-run a place that was named is checked all the same, as the next run will want it.
        model = self.place if self.named or not self.dry_run else None
        # Before the work, not after it.
        if self.report is not None:
            from compressor.core.extras import require

            require("--report", "jinja2")
        own = {"--output": model, "--plan-out": self.plan, "--report": self.report, "--card": self.card}
        check_destinations(sources, {**own, **more}, dry_run=self.dry_run)

    def write_report(self, report: RunDocument, draw: Callable[[Console], None]) -> None:
        """Writes the page of a run that trained, unified or quantised, where one is asked for; ``draw`` prints it."""
        if self.report is not None:
            from datetime import datetime

            from compressor.render.run_page import write_run

            write_run(report, self.report, draw, datetime.now().astimezone())

    def write_card(self, report: Document) -> None:
        """Writes the model card, where one is asked for."""
        if self.card is not None:
            from compressor.render.card import write_card

            write_card(self.card, self.model, report)


def default_output(source: Path, suffix: str) -> Path:
    """``model.onnx`` and ``.pruned.onnx`` give ``model.pruned.onnx`` in the same folder."""
    if not source.name:
        raise ModelError(f"{str(source)!r} is not the name of a file; give the path of an .onnx file")
    stem = source.name.removesuffix(".onnx") if source.suffix == ".onnx" else source.name
    return source.with_name(stem + suffix)


def results_beside(place: Path, also: Iterable[str]) -> dict[str, Path]:
    """Where the results of further files of a model go, by what is said of them."""
    from compressor.steps.run_files import pruned_beside

    return {f"the result of --also {text}": pruned_beside(place, Path(parse_also(text)[0])) for text in also}


def demand_named(source: Path | None) -> None:
    """Raises ModelError where there is no such file, and one of that name that ends in ``.onnx``."""
    if source is None or not source.name:
        return
    meant = source.with_name(source.name + ".onnx")
    # Names that no file system takes are for whoever reads the file to refuse.
    with suppress(OSError, ValueError):
        if not os.path.lexists(source) and meant.is_file():
            raise ModelError(f"{source}: there is no such file; did you mean {meant}?")


def check_destinations(
    sources: Collection[Path | None], written: Mapping[str, str | Path | None], *, dry_run: bool = False
) -> None:
    """Refuses, before any work is done, places that cannot be written or that hold an input.

    Args:
        sources: files that are read.
        written: file to be written by the flag that names it; ``-`` is stdout.
        dry_run: no model is written.

    Raises:
        UsageError: a folder does not exist, or a file would be read and written, or written twice; or a card of a model
            that is not written is wanted.
    """
    if dry_run and written.get("--card") is not None:
        from compressor.render.card import NO_CARD

        raise UsageError(NO_CARD)
    for source in sources:
        demand_named(source)
    taken = {source: "the input" for source in sources if source is not None}
    # Weights beyond a size lie in a file beside the model.
    for flag, model in _given(written, _OUTPUTS):
        taken |= dict.fromkeys(files_of(model)[1:], f"for weights of the file of {flag}")
    for flag, place in written.items():
        if place is None or (flag == "--json" and str(place) == "-"):
            continue
        path = Path(place)
        _check_named(flag, path, taken)
        taken[path] = f"the file of {flag}"
    # Outside of a command, as in tests, there is nothing to take back.
    context = click.get_current_context(silent=True)
    if context is not None:
        beside = [Path(place) for flag, place in written.items() if place not in (None, "-") and flag not in _OUTPUTS]
        context.meta[_BESIDE] = {path: file_mark(path) for path in beside}
        context.meta[_BEFORE] = before = Before()
        before.note(
            [model for flag, model in _given(written, set(written) - {*_REPORTS, _LOG})],
            [report for flag, report in _given(written, _REPORTS) if str(report) != "-"],
        )


def _check_named(flag: str, path: Path, taken: Mapping[Path, str]) -> None:
    """Raises UsageError, with the flag, where a place cannot be written or is that of something else."""
    try:
        _check(flag, path, taken)
        # Whoever writes a model knows which files it was read from.
        if flag not in _OUTPUTS:
            _demand_no_weights(flag, path, taken)
    except UsageError:
        if flag == "--json":
            tell_no_failure()
        raise
    # Paths may hold what no file system takes.
    except (OSError, ValueError) as error:  # such as a name that is too long, or holds a zero byte
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{flag}: {str(path)[:100]!r} cannot be written: {reason}; choose another place") from None


def reports_stay() -> None:
    """Tells that the running command has written all its reports: they stay where it fails after that."""
    context = click.get_current_context(silent=True)
    if context is not None and _BEFORE in context.meta:
        context.meta[_BEFORE].reports_stay()


@contextmanager
def settled(context: click.Context, stays: Collection[object]) -> Iterator[None]:
    """Takes back what a command wrote, if it ends with an exception whose exit code is none of ``stays``."""
    try:
        yield
    except BaseException as ended:
        # click and SystemExit have it under different names.
        code = getattr(ended, "exit_code", getattr(ended, "code", 1))
        _end(context, fails=code not in stays)
        raise
    _end(context, fails=False)


def _end(context: click.Context, *, fails: bool) -> None:
    before = context.meta.get(_BEFORE)
    if before is not None:
        for kept in before.end(fails=fails):
            click.echo(printable(f"Error: the file from before cannot be put back; it is kept in {kept}"), err=True)


def written_beside() -> list[Path]:
    """What the running command has written beside its result: reports, cards, plans, lines of progress."""
    context = click.get_current_context(silent=True)
    before = {} if context is None else context.meta.get(_BESIDE, {})
    return [path for path, known in before.items() if file_mark(path) not in (None, known)]


def _given(written: Mapping[str, str | Path | None], flags: Collection[str]) -> list[tuple[str, Path]]:
    return [(flag, Path(place)) for flag, place in written.items() if place is not None and flag in flags]


def _is_text(path: str) -> bool:
    """Are the bytes of a path those of a text?"""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check(flag: str, path: Path, taken: Mapping[Path, str]) -> None:
    if str(path) == "-":
        raise UsageError(f"{flag}: only --json can be written to stdout; name a file")
    # A name that is too long would fail only once the work is done.
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    if flag in _OUTPUTS and not _is_text(str(path.absolute())):
        raise UsageError(f"{flag}: ONNX Runtime opens only paths that are UTF-8; choose another place")
    if not path.parent.is_dir():
        raise UsageError(f"{flag}: folder {path.parent} does not exist; create it or choose another place")
    if path.is_dir():
        raise UsageError(f"{flag}: {path} is a folder; name a file in it")
    kind, suffixes = _KINDS.get(flag, ("", ()))
    # A name that exists and is no file, such as a pipe, may end in anything.
    if suffixes and path.suffix.lower() not in suffixes and (path.is_file() or not path.exists()):
        raise UsageError(f"{flag}: {path} would hold {kind}; give it a name that ends in {suffixes[0]}")
    if not path.exists() or path.is_file():
        # Asking for permissions says nothing to root, of folders of the kernel or of read-only disks; trying does.
        # Removed at once; only whether it can be made matters.
        with TemporaryFile(dir=path.parent):
            pass
    for other, owner in taken.items():
        if _same(path, other):
            raise UsageError(f"{flag}: {path} is {owner} too, which is never overwritten; name another file")


def _demand_no_weights(flag: str, path: Path, sources: Iterable[Path]) -> None:
    """Raises UsageError for a file that holds weights of a model that is read."""
    from compressor.graph.disk.files import model_files

    if not path.is_file():
        return
    for source in sources:
        # External data lies in the folder of its model or below, so that most models need not be looked into.
        if source.is_file() and path.resolve().is_relative_to(source.parent.resolve()):
            # What is no model, such as a plan, has no weights, and what is a broken one is for its reader to refuse.
            files: set[Path] = set()
            with suppress(CompressorError):
                files = model_files(source)
            if any(_same(path, file) for file in files):
                raise UsageError(f"{flag}: {path} holds weights of {source}; name another file")


def _same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        # By what they are: links and other spellings of a path may lead to one file.
        return one.samefile(other)
    return os.path.realpath(one) == os.path.realpath(other)
