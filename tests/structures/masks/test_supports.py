"""Supports of kernels: their families, and which channel has which."""

from __future__ import annotations

import numpy as np

from compressor.structures.masks.supports import Supports, families


def test_supports_go_where_energy_is() -> None:
    energy = np.zeros((4, 9, 3, 3))
    for channel in range(9):
        energy[:, channel, channel % 3] = 1.0
    (mask,) = [m for words, m in Supports().masks(energy, 0) if words == "kernel of rows"]
    assert (mask == (energy > 0)).all()


def test_families_of_a_square_kernel() -> None:
    found = families((3, 3))
    assert {name: [int(s.sum()) for s in family] for name, family in found.items()} == {
        "a cross": [5],
        "corners": [4] * 4,
        "rows": [3] * 3,
        "columns": [3] * 3,
        "its centre": [1],
    }
    for name in ("corners", "rows", "columns"):
        assert np.logical_or.reduce(found[name]).all()
    assert np.argwhere(found["its centre"][0]).tolist() == [[1, 1]]


def test_other_kernels_have_what_suits_them() -> None:
    assert list(families((3,))) == ["rows", "its centre"]
    assert list(families((2, 2))) == ["rows", "columns", "its centre"]
    assert not families((1, 1))


def test_every_support_has_a_channel() -> None:
    assert [words for words, _ in Supports().masks(np.ones((4, 3, 3, 3)), 0)] == [
        "kernel of a cross",
        "kernel of rows",
        "kernel of columns",
        "kernel of its centre",
    ]
