"""The two programs: ``onnx-compress`` with its commands, and ``onnx-prune``, which is one of them."""

import atexit
import faulthandler
import os
import signal
import sys
from contextlib import suppress
from types import FrameType, MappingProxyType
from typing import NoReturn

import click

from compressor.cli.command import (
    CONTEXT_SETTINGS,
    EXIT_CODES,
    INTERRUPTED,
    TERMINATED,
    Entry,
    LazyGroup,
    discard_stdout,
)
from compressor.cli.defaults import VARIABLE_PREFIX
from compressor.core.lazy_modules import postpone_sympy
from compressor.core.machine import collect_no_more, rarely_collect, sleep_while_waiting
from compressor.errors import UsageError
from compressor.version import VERSION

# To add a command NAME: one file with a `NAME_command`, and one line here.
COMMANDS = MappingProxyType(
    {
        "prune": Entry("compressor.cli.prune", "Remove channels with everything that depends on them."),
        "unify": Entry("compressor.cli.unify", "Share absolute values in blocks of weights; a smaller file."),
        "quantize": Entry("compressor.cli.quantize", "Store weights in 8 or 4 bits, by ONNX Runtime's quantiser."),
        "finetune": Entry("compressor.cli.finetune", "Train the weights on data and write them back."),
        "clean": Entry("compressor.cli.clean", "Remove dead nodes and unused weights; no output changes."),
        "inspect": Entry("compressor.cli.inspect", "Show what could be pruned, and what stands in the way."),
        "sensitivity": Entry("compressor.cli.sensitivity", "Measure what each group costs when it is pruned alone."),
        "diff": Entry("compressor.cli.diff", "Compare two models: sizes, operators, weights."),
        "bench": Entry("compressor.cli.bench", "Time one model, or two in turns, on the target."),
        "verify": Entry("compressor.cli.verify", "Hold two models against each other, output by output."),
        "run": Entry("compressor.cli.run", "Run the stages of a recipe, with gates on the result."),
        "robustness": Entry("compressor.cli.robustness", "Original and compressed models under noise and corruptions."),
    }
)

_EPILOG = f"""\b
Examples:
  onnx-compress inspect model.onnx
  onnx-compress prune model.onnx --ratio 0.5
  onnx-compress prune --help

{EXIT_CODES}"""


@click.group(
    "onnx-compress",
    cls=LazyGroup,
    entries=COMMANDS,
    context_settings=dict(CONTEXT_SETTINGS),
    epilog=_EPILOG,
)
@click.version_option(VERSION)
def compress() -> None:
    """Make exported ONNX models smaller and faster. All that is needed is the .onnx file."""


def compress_entry(prog_name: str = "onnx-compress") -> NoReturn:
    """The console script ``onnx-compress``."""
    sleep_while_waiting()
    _run(compress, prog_name)


def prune_entry() -> NoReturn:
    """The console script ``onnx-prune``, the same as ``onnx-compress prune``."""
    sleep_while_waiting()
    from compressor.cli.prune import prune_command

    _run(prune_command, "onnx-prune", f"{VARIABLE_PREFIX}_PRUNE")


def _run(command: click.Command, prog_name: str, prefix: str = VARIABLE_PREFIX) -> NoReturn:
    signal.signal(signal.SIGTERM, _terminated)
    # A shell that runs the program in the background ignores the signal, and that is left so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _Interrupt())
    # Native libraries run whatever a model says, and where one crashes, nothing else would tell that it did, or where.
    with suppress(OSError, RuntimeError, ValueError):  # there is no stderr that it could be written to
        faulthandler.enable(all_threads=False)
    # The process is the program's own, so that nothing is put in anybody's way.
    postpone_sympy()
    rarely_collect()
    atexit.register(collect_no_more)
    try:
        command.main(prog_name=prog_name, auto_envvar_prefix=prefix)
    except SystemExit as ended:
        if isinstance(ended.code, int) and ended.code in (INTERRUPTED, TERMINATED):
            _leave(ended.code)
        raise
    except OSError as error:  # help, version or schema, which no command prints
        discard_stdout()
        click.echo(f"Error: this cannot be printed: {error.strerror or error}", err=True)
        sys.exit(UsageError.exit_code)
    sys.exit(0)


def _leave(code: int) -> NoReturn:
    """Ends without taking the interpreter apart: with torch and a large graph that takes seconds on a busy machine.

    The command is unwound by now, so that temporary files are gone and everything is said.
    """
    with suppress(OSError, ValueError):  # a reader that is gone, too
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


class _Interrupt:
    """Ctrl-C: the first unwinds, so that temporary files go and what is kept is said; the second ends at once."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            # Without unwinding: whatever hangs in the first interruption could hang again.
            os._exit(INTERRUPTED)
        signal.default_int_handler(number, frame)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 -- the signal's signature
    """Ends by an exception, so that temporary files are removed on the way out."""
    sys.exit(128 + number)
