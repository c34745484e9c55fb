"""Moves between blocks and weight: the same in every library, and after they are shortened."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from compressor.unification.moves import LayoutMove, Permute, Reshape, apply, as_array_of, on_host, shortened


@pytest.mark.parametrize(
    ("shape", "moves", "left"),
    [
        ((2, 6), (Reshape((2, 2, 3)), Reshape((4, 3))), 1),
        ((2, 1, 3), (Permute((0, 2, 1)),), 1),
        ((2, 1, 3), (Permute((0, 2, 1)), Reshape((6,))), 1),
        ((2, 3, 4), (Permute((2, 0, 1)), Reshape((4, 6)), Permute((1, 0))), 3),
        ((4, 3), (Reshape((2, 2, 3)), Permute((0, 1, 2)), Permute((1, 0, 2)), Reshape((12,))), 3),
    ],
)
def test_shortened_moves_do_the_same(shape: tuple[int, ...], moves: tuple[LayoutMove, ...], left: int) -> None:
    array = np.arange(prod(shape)).reshape(shape)
    short = shortened(shape, moves)
    np.testing.assert_array_equal(apply(short, array), apply(moves, array))
    assert len(short) == left


def test_a_permutation_that_only_moves_axes_of_one_is_a_reshape() -> None:
    assert shortened((2, 1, 3), (Permute((1, 0, 2)),)) == (Reshape((1, 2, 3)),)
    assert shortened((2, 4, 3), (Permute((1, 0, 2)),)) == (Permute((1, 0, 2)),)


def test_both_libraries_move_alike() -> None:
    torch = pytest.importorskip("torch")
    array = np.arange(24.0).reshape(2, 3, 4)
    moves = (Permute((2, 0, 1)), Reshape((8, 3)))
    made = apply(moves, torch.from_numpy(array).requires_grad_())
    np.testing.assert_array_equal(on_host(made), apply(moves, array))
    assert as_array_of(array, made).dtype == torch.float64
    assert as_array_of(array, array) is array
    assert on_host(array) is array
