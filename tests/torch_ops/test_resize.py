"""Where resampling reads, and how much of it: weights that sum to one, at the places that ONNX names."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from compressor.torch_ops.resize import _Axis, _Manner, _taps


def taps(axis: _Axis, coordinates: str = "half_pixel", mode: str = "linear", **more: object) -> np.ndarray:
    """Weights of every place of the input, by place of the output; float64[out, size]."""
    given = {"rounding": "round_prefer_floor", "cubic": -0.75, "antialias": False, "exclude_outside": False,
             "extrapolation": 0.0, **more}  # fmt: skip
    places, weights = _taps(_Manner(mode, coordinates, **given), axis)  # type: ignore[arg-type]
    found = np.zeros((axis.out, axis.size))
    rows = np.broadcast_to(np.arange(axis.out)[:, None], places.shape)
    np.add.at(found, (rows, places.clip(0, axis.size - 1)), weights)
    return found


@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"])
@pytest.mark.parametrize("axis", [_Axis(5, 10, 2.0), _Axis(10, 4, 0.4), _Axis(4, 4, 1.0)])
def test_weights_sum_to_one(axis: _Axis, coordinates: str, mode: str) -> None:
    np.testing.assert_allclose(taps(axis, coordinates, mode).sum(1), 1)


def test_nothing_moves_where_sizes_stay() -> None:
    for mode in ("linear", "cubic", "nearest"):
        np.testing.assert_allclose(taps(_Axis(4, 4, 1.0), mode=mode), np.eye(4), atol=1e-12)


def test_corners_stay_corners() -> None:
    found = taps(_Axis(3, 5, 5 / 3), "align_corners")
    np.testing.assert_allclose(found, [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]])


def test_half_pixels_are_between_neighbours() -> None:
    np.testing.assert_allclose(taps(_Axis(2, 4, 2.0)), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])


def test_shrinking_smoothly_reads_everything() -> None:
    plain, smooth = (taps(_Axis(8, 2, 0.25), antialias=flag) for flag in (False, True))
    assert (plain > 0).sum() == 4
    assert (smooth > 0).sum() > 8
    np.testing.assert_allclose(smooth.sum(1), 1)


@pytest.mark.parametrize(
    ("rounding", "places"), [("floor", [0, 0, 1, 1]), ("ceil", [0, 1, 1, 1]), ("round_prefer_ceil", [0, 1, 1, 1])]
)
def test_the_nearest_place(rounding: str, places: list[int]) -> None:
    found = taps(_Axis(2, 4, 2.0), "asymmetric", "nearest", rounding=rounding)
    assert found.argmax(1).tolist() == places
