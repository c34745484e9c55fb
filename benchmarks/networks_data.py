"""What the networks of ``networks.py`` learn from: photographs, made-up reviews, and the source text of Python.

Every function returns the training and the held-out samples, numpy arrays ``(x, y)``.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
import cifar

Array = npt.NDArray[np.generic]
Samples = tuple[Array, Array]


def photographs(path: Path) -> tuple[Samples, Samples]:
    """CIFAR-10 as pixels uint8[n, 3, 32, 32] and classes int64[n], from a file that ``models/cifar.py`` reads."""
    mean, std = (np.float32(v).reshape(3, 1, 1) for v in (cifar.MEAN, cifar.STD))

    def split(name: str) -> Samples:
        images, labels = cifar.read(path, name)
        return np.rint((images * std + mean) * 255).astype(np.uint8), labels  # a quarter of the bytes of float32

    return split("train"), split("test")


ASK, NOT, VERY, END = range(4)
"""Tokens with a meaning of their own; then come the three kinds of words."""
NOUNS, ADJECTIVES, FILLERS = range(4, 12), range(12, 72), range(72, 128)
VOCABULARY, LENGTH, CLASSES = 128, 20, 3


def clause(rng: np.random.Generator, noun: int, strengths: npt.NDArray[np.int64]) -> tuple[list[int], int]:
    """``[filler] noun [not] [very] adjective end``, and what it says of the noun."""
    negated, stressed = rng.random() < 0.2, rng.random() < 0.25
    adjective = int(rng.choice(ADJECTIVES))
    words = [int(rng.choice(FILLERS))] * (rng.random() < 0.5)
    words += [noun] + [NOT] * negated + [VERY] * stressed + [adjective, END]
    return words, int(strengths[adjective - ADJECTIVES.start]) * (1 + stressed) * (1 - 2 * negated)


def review(rng: np.random.Generator, strengths: npt.NDArray[np.int64]) -> tuple[list[int], int]:
    """``ask noun``, then clauses about it and another noun; the class tells the sign of what those about it sum to.

    Class 0 is below zero, 1 zero (or no clause), 2 above it. An adjective counts as its strength, twice after *very*,
    reversed after *not*. What is said of the other noun does not count, and neither do fillers, which fill up the line.
    """
    asked, other = (int(noun) for noun in rng.choice(NOUNS, 2, replace=False))
    words, total = [ASK, asked], 0
    while True:
        noun = asked if rng.random() < 0.6 else other
        more, value = clause(rng, noun, strengths)
        if len(words) + len(more) > LENGTH:
            break
        words += more
        total += value if noun == asked else 0
    words += [int(word) for word in rng.choice(FILLERS, LENGTH - len(words))]
    return words, 1 + (total > 0) - (total < 0)


def reviews(train: int = 40000, test: int = 4000, seed: int = 0) -> tuple[Samples, Samples]:
    """Made-up sentences int64[n, 20] below 128, and how they speak of the noun asked about: int64[n] of 3 classes.

    To answer, a network has to learn the strengths of 60 adjectives, to bind *not* and *very* to the adjective and
    the adjective to the noun before it, and to weigh the clauses about one noun against each other.
    """
    rng = np.random.default_rng(seed)
    strengths = rng.permutation(np.repeat([-3, -2, -1, 1, 2, 3], len(ADJECTIVES) // 6))
    written = [review(rng, strengths) for _ in range(train + test)]
    tokens, labels = (np.array(part, np.int64) for part in zip(*written, strict=True))
    return (tokens[:train], labels[:train]), (tokens[train:], labels[train:])


def source_text(length: int = 128, most: int = 1000) -> tuple[Samples, Samples]:
    """Bytes of this Python's own modules, int64[n, length], and at each position the byte that follows.

    Every tenth file, in the order of their names, is held out, and of those at most ``most`` rows. Rows come in random
    order, so that the first ones are from all files.
    """
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    held_out = paths[9::10]
    rng = np.random.default_rng(0)
    train = rng.permutation(windows([path for path in paths if path not in held_out], length))
    return next_tokens(train), next_tokens(rng.permutation(windows(held_out, length))[:most])


def windows(paths: list[Path], length: int) -> npt.NDArray[np.int64]:
    """The files one after the other, cut into rows of length + 1 that overlap by one byte."""
    text = np.frombuffer(b"\n".join(path.read_bytes() for path in paths), np.uint8)
    rows = np.lib.stride_tricks.sliding_window_view(text, length + 1)[::length]
    return rows.astype(np.int64)


def next_tokens(rows: npt.NDArray[np.int64]) -> Samples:
    return rows[:, :-1], rows[:, 1:]
