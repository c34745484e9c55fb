from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from compressor.config import BlockShape
from compressor.unification.layout import Blocking, CanonicalAxes
from compressor.unification.moves import Permute, Reshape, apply, shortened
from tests.unification.cases import layouts, weight


@given(layouts())
def test_every_weight_is_in_one_block_and_reading_and_writing_are_inverse(layout: Blocking) -> None:
    indices, present = layout.indices(), layout.present
    size = int(np.prod(layout.view.shape))
    assert indices.shape == (layout.n, layout.count)
    inside = np.ones(indices.shape, bool) if present is None else present.astype(bool)
    assert sorted(indices[inside].tolist()) == list(range(size))
    for column, mask in zip(indices.T, inside.T, strict=True):
        assert set(column) == set(column[mask]), "what stands again is of the same block"
    assert inside.sum(0).tolist() == np.prod(layout.extents, axis=0).tolist()
    assert layout.ragged == (present is not None)
    w = weight(layout.view.shape)
    assert np.array_equal(layout.blocks(w), w.ravel()[indices])
    assert np.array_equal(layout.weight(layout.blocks(w)), w)
    if not layout.ragged:
        assert np.array_equal(apply(layout.to_weight, layout.blocks(w)), w)


def members(view: CanonicalAxes, block: str, column: int = 0) -> set[tuple[int, ...]]:
    indices = Blocking(view, BlockShape.parse(block)).indices()[:, column]
    return {tuple(int(i) for i in np.unravel_index(k, view.shape)) for k in indices}


CONV = CanonicalAxes.of((8, 8, 3, 3), "oitt")


def test_a_tile_is_so_many_outputs_and_inputs_at_one_tap() -> None:
    assert members(CONV, "2x3") == {(o, i, 0, 0) for o in range(2) for i in range(3)}
    assert members(CONV, "2x3", 1) == {(o, i, 0, 1) for o in range(2) for i in range(3)}


def test_named_blocks() -> None:
    assert members(CONV, "tap") == {(0, i, 0, 0) for i in range(8)}
    assert members(CONV, "kernel") == {(0, 0, a, b) for a in range(3) for b in range(3)}
    assert members(CONV, "filter") == {(0, i, a, b) for i in range(8) for a in range(3) for b in range(3)}
    assert members(CONV, "1x2x9") == {(0, i, a, b) for i in range(2) for a in range(3) for b in range(3)}


def test_a_block_of_the_matrix_runs_over_taps_into_the_next_input() -> None:
    assert members(CONV, "matrix:1x11") == {(0, 0, a, b) for a in range(3) for b in range(3)} | {
        (0, 1, 0, 0),
        (0, 1, 0, 1),
    }


def test_orientation_comes_from_the_roles() -> None:
    assert members(CanonicalAxes.of((8, 8), "io"), "1x4") == {(i, 0) for i in range(4)}
    assert members(CanonicalAxes.of((8, 8), "oi"), "1x4") == {(0, i) for i in range(4)}


def test_groups_of_one_axis_are_told_apart() -> None:
    transposed = CanonicalAxes((6, 5, 2), (2, 3, 5, 2), "giot")  # ConvTranspose with two groups of three inputs
    assert transposed.canonical == (2, 5, 3, 2)
    assert members(transposed, "1x3") == {(i, 0, 0) for i in range(3)}
    grouped = CanonicalAxes((8, 4, 1), (2, 4, 4), "goi")
    extents = Blocking(grouped, BlockShape.parse("3x4")).extents[0]
    assert extents.tolist() == [3, 1, 3, 1], "no block crosses from one group to the next"


def test_blocks_at_the_edges_are_smaller() -> None:
    layout = Blocking(CanonicalAxes.of((10, 7), "oi"), BlockShape.parse("4x4"))
    assert layout.count == 6
    assert [e.tolist() for e in layout.extents] == [[4, 4, 4, 4, 2, 2], [4, 3, 4, 3, 4, 3]]
    assert layout.fits
    assert not Blocking(layout.view, BlockShape.parse("4x8")).fits


def test_moves_are_shortened_without_changing_what_they_do() -> None:
    moves = (Reshape((2, 1, 3)), Permute((1, 0, 2)), Reshape((2, 3)), Permute((1, 0)), Reshape((6,)))
    short = shortened((6,), moves)
    assert len(short) == 3
    assert np.array_equal(apply(short, np.arange(6)), apply(moves, np.arange(6)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4x4", BlockShape(4, 4)),
        (" 1X8 ", BlockShape(1, 8)),
        ("4x4x9", BlockShape(4, 4, 9)),
        ("1x*x1", BlockShape(1, 0)),
        ("tap", BlockShape(1, 0)),
        ("kernel", BlockShape(1, 1, 0)),
        ("matrix:1x16", BlockShape(1, 16, 1, matrix=True)),
    ],
)
def test_blocks_are_read(text: str, expected: BlockShape) -> None:
    assert BlockShape.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "4", "0x4", "4x-1", "4x4x4x4", "matrix:", "matrix:2x2x2", "x", "taps", "1x1", "1x1x1"]
)
def test_what_is_no_block_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write 4x4, 1x8"):
        BlockShape.parse(text)
