"""Perplexity of language models."""

from __future__ import annotations

from math import exp

import numpy as np

from compressor.core.arrays import Array, Floats
from compressor.data.batch import Batch
from compressor.data.labels import IGNORED
from compressor.data.output_forms import class_axis
from compressor.data.output_units import are_probabilities
from compressor.errors import UsageError
from compressor.metrics.metric import Metric, Outputs, first_floating

LARGEST_LOSS = 700.0
"""Mean negative log-likelihood beyond which its exponential is no number any more."""


class Perplexity(Metric):
    """The exponential of the mean negative log-likelihood of the tokens.

    The first floating output holds scores [n, t, tokens] (or [n, tokens] where one token is foretold). Labels int[n, t]
    are the token that each position foretells, -100 for none. Without labels they are the model's own input of tokens
    [n, t], moved by one: position i foretells token i + 1. Source: Jelinek et al., *Perplexity, a measure of the
    difficulty of speech recognition tasks*, 1977; Jurafsky and Martin, *Speech and Language Processing*, section 3.3.
    """

    name = "perplexity"
    higher_is_better = False
    share = False
    relative_drop = True
    needs_labels = False

    def __init__(self) -> None:
        self._loss, self._count = 0.0, 0

    def add(self, outputs: Outputs, batch: Batch, original: Outputs | None) -> None:  # noqa: ARG002
        """Adds the loss of every token that counts."""
        name, scores = first_floating(outputs, self.name)
        labels = batch.labels if batch.labels is not None else following_tokens(scores, batch)
        axis = None if labels is None else class_axis(scores, labels)
        if labels is None or axis is None:
            held = "no labels" if labels is None else f"labels {list(labels.shape)}"
            raise UsageError(
                f"--eval {self.name} needs scores of tokens [n, t, tokens] and labels [n, t], or an input of tokens "
                f"[n, t]; output {name!r} is {list(scores.shape)}, and there are {held}"
            )
        counted = labels != IGNORED
        rows = np.moveaxis(scores, axis, -1)[counted]
        wanted = labels[counted].astype(np.int64)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < rows.shape[-1]:
            raise UsageError(
                f"labels run from {wanted.min()} to {wanted.max()}, and the model knows tokens from 0 to "
                f"{rows.shape[-1] - 1}; renumber them, with -100 where there is none"
            )
        own = np.take_along_axis(_log_probabilities(rows), wanted[:, None], -1)
        self._loss -= float(own.sum())
        self._count += wanted.size

    def value(self) -> float:
        """The perplexity: 1 for tokens that are foretold for certain, and more."""
        if not self._count:
            raise UsageError(f"--eval {self.name}: no token has a label that counts")
        # An exponential that overflows would be no number to compare by.
        return exp(min(self._loss / self._count, LARGEST_LOSS))


def following_tokens(scores: Array, batch: Batch) -> Array | None:
    """Labels of a language model from its own input: the next token at every position but the last, which has none.

    Args:
        scores: [n, t, tokens].
        batch: one of whose inputs is whole numbers [n, t].

    Returns:
        int64[n, t]; None where no input has that form.
    """
    # Of several inputs of that form the one whose name has ``ids`` in it comes first; masks have the same shape.
    named = sorted(batch.inputs.items(), key=lambda item: "ids" not in item[0].lower())
    for _, tokens in named:
        if tokens.dtype.kind in "iu" and scores.ndim == 3 and tokens.shape == scores.shape[:2]:
            labels = np.full(tokens.shape, IGNORED, np.int64)
            labels[:, :-1] = tokens[:, 1:]
            return labels
    return None


def _log_probabilities(rows: Array) -> Floats:
    """float64 of scores, or of probabilities where that is what rows are."""
    wide = rows.astype(np.float64)
    # Models that end with a softmax give shares, whose softmax would be another distribution.
    if are_probabilities(wide, -1):
        return np.asarray(np.log(np.maximum(wide, np.finfo(np.float64).tiny)))
    # The largest score becomes zero, so that no exponential overflows.
    wide -= wide.max(-1, keepdims=True)
    return np.asarray(wide - np.log(np.exp(wide).sum(-1, keepdims=True)))
