"""Samples nobody has: of the right form, the same for the same seed, indices within their tables."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.data import noise
from compressor.errors import ModelError, UsageError
from tests.data.case import everything, taking
from tests.models import in_memory, model

CONVOLUTION = in_memory(model("(float[N,3,H,W] x) => (float[N,8,a,b] y) <float[8,3,3,3] w> { y = Conv(x, w) }"))
TABLE = in_memory(
    model("(int64[N,L] ids, float16[N,L,4] more) => (float[N,L,4] y) <float[11,4] w> { e = Gather(w, ids) "
          "f = Cast<to=1>(more) y = Add(e, f) }")
)  # fmt: skip


def test_a_sample_follows_from_seed_and_index_alone() -> None:
    dataset = noise(CONVOLUTION, 20, 3, {"H": 9, "W": 7})
    assert len(dataset) == 20
    assert not dataset.labelled
    whole = dataset.take(everything(20)).inputs["x"]
    assert whole.shape == (20, 3, 9, 7)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(dataset.take(np.array([7, 2, 7])).inputs["x"], whole[[7, 2, 7]])
    np.testing.assert_array_equal(noise(CONVOLUTION, 50, 3, {"H": 9, "W": 7}).take(everything(20)).inputs["x"], whole)
    other = noise(CONVOLUTION, 20, 4, {"H": 9, "W": 7}).take(everything(20)).inputs["x"]
    assert not np.isin(other, whole).any()
    assert len(np.unique(whole)) > 0.99 * whole.size
    assert dataset.take(everything(0)).inputs["x"].shape == (0, 3, 9, 7)


def test_numbers_are_unit_normal() -> None:
    x = noise(CONVOLUTION, 200, 0, {"H": 12, "W": 12}).take(everything(200)).inputs["x"].astype(np.float64)
    assert abs(x.mean()) < 0.01
    assert abs(x.std() - 1) < 0.01


def test_indices_stay_within_their_table() -> None:
    batch = noise(TABLE, 64, 0).take(everything(64))
    ids = batch.inputs["ids"]
    assert ids.dtype == np.int64
    assert set(np.unique(ids)) == set(range(11))
    assert batch.inputs["more"].dtype == np.float16
    assert batch.inputs["more"].shape[:2] == ids.shape


def test_sizes_come_from_the_user_or_from_what_the_graph_accepts() -> None:
    def sides(**values: object) -> tuple[int, ...]:
        return noise(CONVOLUTION, 2, 0, **values).take(everything(2)).inputs["x"].shape  # type: ignore[arg-type]

    assert sides(sizes={"H": 5})[2] == 5
    assert sides(shapes={"x": (1, 3, 6, 4)}) == (2, 3, 6, 4)
    assert min(sides()) >= 2
    with pytest.raises(ModelError, match="no symbolic dimension 'K'"):
        sides(sizes={"K": 5})


def test_samples_of_models_with_a_fixed_batch() -> None:
    fixed = in_memory(model("(float[4,3,6,6] x) => (float y) <float[8,3,3,3] w> { y = Conv(x, w) }"))
    assert noise(fixed, 10, 0).take(everything(10)).inputs["x"].shape == (10, 3, 6, 6)


def test_what_samples_cannot_fill() -> None:
    with pytest.raises(UsageError, match="input 'x' is a scalar"):
        noise(taking("float x"), 3, 0)
    with pytest.raises(UsageError, match="0 samples are none"):
        noise(CONVOLUTION, 0, 0)


def test_pixels_take_every_value() -> None:
    pixels = in_memory(model("(uint8[N,3,8,8] x) => (float[N,3,8,8] y) { y = Cast<to=1>(x) }"))
    x = noise(pixels, 20, 0).take(everything(20)).inputs["x"]
    assert x.dtype == np.uint8
    assert len(np.unique(x)) == 256
