"""``--keep-tokens``: the model of some tokens, before anything else is removed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from compressor.config import PruneSettings
from compressor.core.atomic import write_text
from compressor.core.formatting import printable
from compressor.errors import UsageError
from compressor.graph.form.normalise import normalise
from compressor.graph.form.vocabulary import keep_tokens
from compressor.pruning.cut.measured_shapes import shapes_of
from compressor.pruning.proofs.preparation import Original
from compressor.pruning.proofs.renumbered import Renumbering, demand_rows

_DIGITS = 20
"""Of the largest number that an index can be, and some more."""


def read_tokens(path: Path) -> list[int]:
    """Numbers of tokens in a text file, between blanks or lines, or as a JSON list; ascending, each once.

    Raises:
        UsageError: there is no such file, or it holds anything else.
    """
    try:
        words = path.read_text(encoding="utf-8").strip().strip("[]").replace(",", " ").split()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"--keep-tokens {path}: {why}; give a file with the numbers of tokens") from None
    # Of so many digits that Python reads them, and few enough for a message.
    other = next((w for w in words if not w.lstrip("-").isdecimal() or len(w) > _DIGITS), None)
    if other is not None:
        text = printable(other)[:_DIGITS]
        raise UsageError(
            f"--keep-tokens {path}: {text!r} is no number of a token; give a file with the numbers of tokens"
        )
    return sorted({int(word) for word in words})


def of_tokens(original: Original, settings: PruneSettings) -> Original | None:
    """The original of a run as the model of the tokens that stay; None where all do.

    Raises:
        UsageError: the file is unreadable, or the model has no such tokens.
        ModelError: scores of tokens are made in a way that is not followed.
        ProofFailed: a weight is not what the original has for these tokens.
    """
    if settings.keep_tokens is None:
        return None
    tokens = read_tokens(settings.keep_tokens)
    plain = normalise(original.model.clone())
    fewer = plain.clone()
    names = keep_tokens(fewer, shapes_of(fewer, settings), tokens)
    if settings.proves:
        demand_rows(plain, fewer, tokens)
    return Original(original.given, fewer, Renumbering(tuple(tokens), names))


def mapping_beside(output: Path) -> Path:
    """Where the numbers of tokens go that a result has: ``OUT.tokens.json``."""
    return output.with_name(f"{output.stem}.tokens.json")


def write_mapping(output: Path, tokens: Sequence[int]) -> None:
    """Writes a list beside a result whose entry k is the old number of token k."""
    write_text(mapping_beside(output), json.dumps(list(tokens)) + "\n")
