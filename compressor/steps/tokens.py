"""``--keep-tokens``: the model of some tokens, before anything else is removed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from compressor.config import PruneSettings
from compressor.core.atomic import write_text
from compressor.errors import UsageError
from compressor.graph.normalise import normalise
from compressor.graph.vocabulary import keep_tokens
from compressor.pruning.measured_shapes import shapes_of


@dataclass(frozen=True)
class FewerTokens:
    """A model that knows some tokens alone.

    Attributes:
        model: with tokens numbered anew.
        reference: the original with new numbers around it, which the preparation of the other is proved against.
        tokens: entry k is the old number of token k.
    """

    model: ir.Model
    reference: ir.Model
    tokens: tuple[int, ...]


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
    other = next((word for word in words if not word.lstrip("-").isdecimal()), None)
    if other is not None:
        raise UsageError(f"--keep-tokens {path}: {other!r} is no number; give a file with the numbers of tokens")
    return sorted({int(word) for word in words})


def of_tokens(model: ir.Model, settings: PruneSettings) -> FewerTokens | None:
    """The model of the tokens that stay; None where all stay.

    Raises:
        UsageError: the file is unreadable, or the model has no such tokens.
        ModelError: scores of tokens are made in a way that is not followed.
    """
    if settings.keep_tokens is None:
        return None
    tokens = read_tokens(settings.keep_tokens)
    plain = normalise(model.clone())
    return FewerTokens(*keep_tokens(plain, shapes_of(plain, settings), tokens), tuple(tokens))


def write_mapping(output: Path, tokens: Sequence[int]) -> Path:
    """Writes ``OUT.tokens.json`` beside a result: a list whose entry k is the old number of token k."""
    path = output.with_name(f"{output.stem}.tokens.json")
    write_text(path, json.dumps(list(tokens)) + "\n")
    return path
