"""How every command behaves: help in sections, one-line errors, exit codes."""

import difflib
import os
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from compressor.cli.defaults import check_variables, defaults_of
from compressor.cli.failure import Failed, json_place, tell_failure
from compressor.cli.paths import settled
from compressor.core.checkpoint_folder import has_checkpoint
from compressor.core.choices import plugin_at_fault
from compressor.core.formatting import printable
from compressor.errors import REPORT, CompressorError, GateMissed, OutOfMemory

INTERRUPTED = 130
"""128 and SIGINT, as shells report it."""
TERMINATED = 128 + signal.SIGTERM
READER_GONE = 141
"""128 and SIGPIPE: whoever reads our output stopped reading."""
_STAYS = frozenset({0, None, GateMissed.exit_code, READER_GONE})
"""Exit codes with which files may stay: what they lack is said, and the proof has been passed; or they lack nothing."""

_WHOLE, _GO_ON = "compressor.help_all", "compressor.go_on"
_ALWAYS = frozenset({"help", "help_all", "version", "output", "json_to", "quiet", "verbose", "no_progress"})
"""Parameters that every help shows."""

CONTEXT_SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: token.replace("_", "-"),
    }
)

EXIT_CODES = """\b
Exit codes:
  0 done                         4 nothing to prune, or target out of reach
  1 internal error               5 proof failed
  2 usage                        6 a gate was missed
  3 model unreadable or unsafe   7 provider unavailable
                                 8 out of memory
On 1 to 5, 7 and 8 no new output file is left."""


class Option(click.Option):
    """An option that says in which section of the help it stands."""

    def __init__(self, *args: Any, section: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.section = section


def _placed(command: click.Command, error: click.NoSuchOption) -> click.NoSuchOption:
    """The error, which says where to write a setting that is no option, as recipes hold it."""
    if all(parameter.name != "recipe" for parameter in command.params):
        return error
    from compressor.config.recipe import Recipe

    key = error.option_name.lstrip("-").replace("-", "_")
    if key not in Recipe.model_fields:
        return error
    told = f"No such option '{error.option_name}'. Write {key}: in the recipe, or give --set {key}=VALUE"
    return click.NoSuchOption(error.option_name, message=told, ctx=error.ctx)


class Command(click.Command):
    """A command whose help has sections and whose exceptions become exit codes.

    Args:
        brief: parameters that ``--help`` shows; ``--help-all`` shows every one. All, where none are named.
    """

    def __init__(self, *args: Any, brief: Collection[str] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.brief = frozenset(brief)
        if brief:
            self.params.append(_help_all())

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Reads the command line; where it cannot be read, ``--json`` gets the reason."""
        words = list(args)
        try:
            return super().make_context(info_name, args, parent, **extra)
        except (click.ClickException, Failed) as error:
            name = str(info_name) if parent is None else f"{parent.command_path} {info_name}"
            tell_failure(error, name, json_place(words))
            raise

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Reads the command line over the environment and the user's file of defaults."""
        # While a shell completes, a broken file of defaults must not be in the way.
        if not ctx.resilient_parsing:
            try:
                check_variables(self, ctx.auto_envvar_prefix)
                # What the caller of the program has set, as tests do, goes before the file.
                ctx.default_map = {**defaults_of(self), **(ctx.default_map or {})}
            except CompressorError as error:
                click.echo(f"Error: {printable(error)}", err=True)
                raise Failed(error.exit_code, type(error).__name__, str(error)) from None
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise _placed(self, error) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options under the titles of their sections, in the order in which these first come."""
        sections: dict[str, list[tuple[str, str]]] = {}
        # Own options first; those that click adds, such as help, come last.
        for option in sorted(self.get_params(ctx), key=lambda param: not isinstance(param, Option)):
            if self.brief and not ctx.meta.get(_WHOLE) and option.name not in self.brief | _ALWAYS:
                continue
            record = option.get_help_record(ctx)
            if record is not None and isinstance(option, click.Option):
                sections.setdefault(getattr(option, "section", "Other"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; turns what goes wrong into one line and an exit code.

        Raises:
            click.exceptions.Exit: with the exit code, after the message is printed.
        """
        # What numpy notes of overflow and division by zero in the user's numbers is no message for users; what comes of
        # it (a NaN, a proof that fails) is told where it matters.
        try:
            with warnings.catch_warnings(action="ignore", category=RuntimeWarning), settled(ctx, _STAYS):
                return self._invoked(ctx)
        # Once everything that was written is taken back.
        except (click.ClickException, Failed) as ended:
            tell_failure(ended, ctx.command_path, ctx.params.get("json_to"))
            raise

    def _invoked(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        # click's own exceptions have their messages and exit codes already.
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            raise _stopped("Interrupted", INTERRUPTED, ctx) from None
        # Training ends this way after its checkpoint is written.
        except SystemExit as ended:
            if ended.code == TERMINATED:
                raise _stopped("Terminated", TERMINATED, ctx) from None
            raise
        except BrokenPipeError:
            # The interpreter would try to flush the same pipe again at exit.
            discard_stdout()
            raise click.exceptions.Exit(READER_GONE) from None
        except Exception as caught:  # noqa: BLE001 - the one place where a crash becomes a sentence
            error = _named(caught)
            verbose = bool(ctx.params.get("verbose"))
            if verbose:
                traceback.print_exc()
            sentence = printable(_sentence(error, verbose))
            click.echo(sentence, err=True)
            known = isinstance(error, CompressorError)
            code = error.exit_code if isinstance(error, CompressorError) else CompressorError.exit_code
            raise Failed(code, type(error).__name__, str(error) if known else sentence) from error


def _stopped(word: str, code: int, ctx: click.Context) -> Failed:
    """The end of a command that was stopped from outside, once it is said what is kept."""
    sentence = f"{word}. {how_to_go_on(ctx)}".rstrip()
    click.echo(sentence, err=True)
    return Failed(code, word, sentence)


def _named(error: Exception) -> Exception:
    """The error; memory that ran out anywhere, such as in numpy, is no fault of the program."""
    if not isinstance(error, MemoryError):
        return error
    return OutOfMemory(f"memory ran out ({error}); free some, or ask for less with --samples, --batch-size or --dim")


def _help_all() -> click.Option:
    def show(context: click.Context, option: click.Parameter, value: bool) -> None:  # noqa: ARG001 -- click's signature
        # Eager, so that required arguments that are missing do not matter.
        if value and not context.resilient_parsing:
            context.meta[_WHOLE] = True
            click.echo(context.get_help(), color=context.color)
            context.exit()

    text = "Show all options and exit."
    return click.Option(["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=show, help=text)


def resumable(sentence: Callable[[], str]) -> None:
    """Says what is told of the running command when it is interrupted.

    Args:
        sentence: gives what is kept and how to go on from it, when it is asked; an empty text where nothing is.
    """
    click.get_current_context().meta[_GO_ON] = sentence


def resume_from(folder: Path | None) -> None:
    """:func:`resumable` for training whose checkpoint lies in ``folder``."""

    def sentence() -> str:
        if not has_checkpoint(folder):
            return "No checkpoint was written yet."
        # The words as they were typed, with one more; a second ``--resume`` would say nothing new.
        words = [word for word in sys.argv[1:] if word != "--resume"]
        program = "python -m compressor" if sys.argv[0].endswith("__main__.py") else Path(sys.argv[0]).name
        return f"The checkpoint is in {folder}; go on with: {program} {shlex.join([*words, '--resume'])}"

    resumable(sentence)


def how_to_go_on(ctx: click.Context) -> str:
    """What is kept of an interrupted command, in a sentence."""
    sentence = ctx.meta.get(_GO_ON)
    return "" if sentence is None else printable(sentence())


def _sentence(error: Exception, verbose: bool) -> str:
    if isinstance(error, CompressorError):
        return f"Error: {error}"
    fact = " ".join([f"{type(error).__name__}:", *str(error).splitlines()[:1]])
    hint = "the traceback is above" if verbose else "run again with -v for a traceback"
    package = plugin_at_fault(error)
    if package is not None:
        return f"Error in the plug-in package {package!r}: {fact.rstrip(':')}; {hint}, and tell its authors."
    return f"Internal error: {fact.rstrip(':')}; {hint}, and {REPORT}."


def discard_stdout() -> None:
    """Keeps the interpreter from failing again when it flushes stdout at exit."""
    with suppress(OSError, ValueError):
        # Whatever Python still flushes at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass(frozen=True)
class Entry:
    """Where a command of the group lives: a module with a ``command``, and its line in the overview."""

    module: str
    summary: str


class LazyGroup(click.Group):
    """A group that imports the module of a command only when that command is used."""

    def __init__(self, *args: Any, entries: Mapping[str, Entry], **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """The names in the order of the table."""
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name, imported now, or None."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        # By convention, so that the table names each command once.
        command: click.Command = getattr(import_module(entry.module), f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Writes the overview from the table, so that it imports nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self.entries.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command, or says which one was probably meant."""
        # Options before the command are click's to judge.
        if args[0] not in self.entries and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.entries, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"There is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)
