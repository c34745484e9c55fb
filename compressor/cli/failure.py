"""Why a command failed, as JSON in the place of the report that it could not make."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compressor.core.formatting import printable
from compressor.errors import CompressorError

if TYPE_CHECKING:
    from compressor.results.failure import Failure

_FLAG, _TOLD = "--json", "compressor.told"
_OURS = '"schema": "onnx-compressor.'


class Failed(click.exceptions.Exit):
    """The end of a command whose message is printed already.

    Args:
        code: the exit code.
        kind: the class of the error, or what else ended the command.
        message: what was printed, without the words before it.
    """

    def __init__(self, code: int, kind: str, message: str) -> None:
        super().__init__(code)
        self.kind, self.message = kind, message


def tell_no_failure() -> None:
    """A failure from here on adds no JSON: that of the report is out, or its place was refused."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[_TOLD] = True


def json_place(words: Sequence[str]) -> str | None:
    """What a command line that cannot be read says of ``--json``."""
    found = None
    for word, after in zip(words, [*words[1:], None], strict=True):
        flag, equals, value = word.partition("=")
        if flag == _FLAG:
            found = value if equals else after
    return found


def tell_failure(ended: BaseException, command: str, place: str | None) -> None:
    """Writes why a command ended to the place of its JSON, if somebody asked for one.

    What is there already stays, unless it is JSON of this tool: a path that was mistaken may be that of a model.
    """
    context = click.get_current_context(silent=True)
    if place is None or (context is not None and context.meta.get(_TOLD)):
        return
    found = _failure(ended, command)
    if found is None:
        return
    # The message is on stderr, and the exit code says the rest.
    with suppress(OSError, ValueError, CompressorError):
        if place == "-":
            click.echo(found.to_json(), nl=False)
        elif _may_replace(Path(place)):
            from compressor.core.atomic import write_text

            write_text(place, found.to_json())


def _failure(ended: BaseException, command: str) -> Failure | None:
    from compressor.results.failure import Failure

    if isinstance(ended, Failed):
        code, kind, message = ended.exit_code, ended.kind, ended.message
    elif isinstance(ended, click.ClickException):
        code, kind, message = ended.exit_code, "UsageError", ended.format_message()
    else:
        return None  # help, or whoever read the output is gone
    text = printable(message)
    # The fact comes first, and what to do behind it.
    remedy = text.partition("; ")[2] or None
    return Failure(command=command, kind=kind, exit_code=code, message=text, remedy=remedy)


def _may_replace(path: Path) -> bool:
    if not path.is_file():
        return True
    with path.open(encoding="utf-8") as file, suppress(UnicodeDecodeError, json.JSONDecodeError):
        return _OURS in file.read(200)
    return False
