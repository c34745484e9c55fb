"""Layouts and weights that the tests of this room draw from."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from compressor.config import BlockShape
from compressor.unification.layout import Blocking, CanonicalAxes

BLOCKS = ("4x4", "1x8", "2x1", "3x2x2", "1x1x*", "tap", "filter", "matrix:1x5", "matrix:2x*")
VIEWS = ("oi", "io", "oit", "oitt", "iott", "gio", "ogit")


@st.composite
def layouts(draw: st.DrawFn, *, largest: int = 7) -> Blocking:
    """A layout of any orientation, with smaller blocks at the edges or without."""
    roles = draw(st.sampled_from(VIEWS))
    split = tuple(draw(st.integers(1, 3 if role in "gt" else largest)) for role in roles)
    return Blocking(CanonicalAxes.of(split, roles), BlockShape.parse(draw(st.sampled_from(BLOCKS))))


def weight(shape: tuple[int, ...], seed: int = 0, dtype: Any = np.float32) -> NDArray[Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)
