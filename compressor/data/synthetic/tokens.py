"""Sequences of token indices whose frequencies and repetitions are like those of text."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int64]

FLATTEN = 0.02
"""Offset of the law of Zipf and Mandelbrot, as a share of the vocabulary: special and unused entries come first in
most vocabularies, and would make up most of the text without it."""
REPEAT = 0.2
"""Share of the tokens that repeat a phrase from before."""
PHRASE = 4
"""Tokens of a repeated phrase, at most."""


def tokens(rng: np.random.Generator, shape: tuple[int, ...], vocabulary: int) -> Tokens:
    """Indices int64[\\*shape] within 0..vocabulary-1; the last axis is the sequence, and a scalar any entry alike.

    Frequencies follow the law of Zipf and Mandelbrot, 1 / (index + offset): most tokenisers number their entries by
    frequency. Earlier phrases are repeated, so that attention finds something.
    """
    if not shape:
        return np.asarray(rng.integers(0, vocabulary))
    length = shape[-1]
    rows = int(np.prod(shape[:-1], dtype=np.int64))
    offset = 1 + FLATTEN * vocabulary
    # The inverse of the distribution's continuous form: log(1 + index / offset) is uniform.
    index = offset * np.expm1(rng.random((rows, length)) * np.log1p(vocabulary / offset))
    drawn = np.minimum(index.astype(np.int64), vocabulary - 1)
    for row in drawn:
        _repeat(rng, row)
    text: Tokens = drawn.reshape(shape)
    return text


def _repeat(rng: np.random.Generator, row: Tokens) -> None:
    """Copies phrases of ``row`` to later places."""
    # A phrase has about half of the longest on average, hence the factor of two.
    for start in np.flatnonzero(rng.random(len(row)) < 2 * REPEAT / PHRASE).tolist():
        length = int(rng.integers(1, PHRASE + 1))
        if start >= length and start + length <= len(row):
            source = int(rng.integers(0, start - length + 1))
            row[start : start + length] = row[source : source + length]
