"""Random changes of images: right, fast, and a function of seed, epoch and sample alone."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from compressor.data import Augment, Batch, augmentation
from compressor.errors import UsageError
from tests.data.case import everything, settings, taking


def both(seed: int = 0, epoch: int = 0, padding: int = 4) -> Augment:
    made = augmentation(
        settings("x", augment="flip,crop", crop_padding=padding, seed=seed), taking("float[N,3,8,8] x"), epoch
    )
    assert made is not None
    return made


def possible(image: np.ndarray, padding: int) -> dict[bytes, tuple[int, int, bool]]:
    """Every change that an image [c, h, w] may undergo, by plain padding and slicing."""
    height, width = image.shape[1:]
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    found = {}
    for down in range(2 * padding + 1):
        for right in range(2 * padding + 1):
            window = padded[:, down : down + height, right : right + width]
            found[window.tobytes()] = (down, right, False)
            found[window[..., ::-1].tobytes()] = (down, right, True)
    return found


@given(
    sides=st.tuples(st.integers(1, 6), st.integers(2, 6)),
    padding=st.integers(1, 7),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 999),
)
@hypothesis_settings(max_examples=40, deadline=None)
def test_every_change_is_a_padded_window_mirrored_or_not(
    sides: tuple[int, int], padding: int, seed: int, epoch: int
) -> None:
    images = np.random.default_rng(0).normal(size=(6, 2, *sides)).astype(np.float32)
    indices = everything(6) * 1000
    first = Augment({"x": (2, 3)}, True, padding, seed, epoch)(Batch({"x": images}), indices).inputs["x"]
    for image, found in zip(images, first, strict=True):
        assert np.ascontiguousarray(found).tobytes() in possible(image, padding)
    last = Augment({"x": (1, 2)}, True, padding, seed, epoch)
    moved = last(Batch({"x": np.moveaxis(images, 1, -1)}), indices).inputs["x"]
    np.testing.assert_array_equal(np.moveaxis(moved, -1, 1), first)


def test_all_changes_occur_about_as_often() -> None:
    image = np.random.default_rng(0).normal(size=(1, 5, 5)).astype(np.float32)
    count, padding = 18_000, 1
    images = np.broadcast_to(image, (count, 1, 5, 5))
    known = possible(image, padding)
    changed = both(padding=padding)(Batch({"x": images}), everything(count)).inputs["x"]
    tally = dict.fromkeys(known.values(), 0)
    for found in changed:
        tally[known[found.tobytes()]] += 1
    expected = count / 18
    chi = sum((seen - expected) ** 2 / expected for seen in tally.values())
    assert chi < 40.8, "17 degrees of freedom: p below 0.001"


def test_a_change_follows_from_seed_epoch_and_sample_alone(rng: np.random.Generator) -> None:
    images = rng.normal(size=(20, 3, 8, 8)).astype(np.float32)
    batch = Batch({"x": images}, everything(20))
    whole = both(3, 2)(batch, everything(20)).inputs["x"]
    part = np.array([17, 4, 9])
    np.testing.assert_array_equal(both(3, 2)(Batch({"x": images[part]}), part).inputs["x"], whole[part])
    assert (both(3, 3)(batch, everything(20)).inputs["x"] != whole).any()
    assert (both(4, 2)(batch, everything(20)).inputs["x"] != whole).any()
    np.testing.assert_array_equal(batch.inputs["x"], images, "the batch given is not changed")


def test_only_images_change_and_all_of_a_sample_alike(rng: np.random.Generator) -> None:
    model = taking("float[N,3,8,8] left", "float[N,8,8,1] right", "float[N,5] more", "int64[N,1,8,8] mask")
    change = augmentation(settings("x", augment=["flip"]), model, 0)
    assert change is not None
    assert dict(change.spatial) == {"left": (2, 3), "right": (1, 2)}
    left = rng.normal(size=(9, 3, 8, 8))
    more = rng.normal(size=(9, 5))
    batch = change(Batch({"left": left, "right": left[:, 0, ..., None], "more": more}, everything(9)), everything(9))
    np.testing.assert_array_equal(batch.inputs["left"][:, 0], batch.inputs["right"][..., 0])
    mirrored = (batch.inputs["left"] != left).any(axis=(1, 2, 3))
    assert 0 < mirrored.sum() < 9
    np.testing.assert_array_equal(batch.inputs["left"][mirrored], left[mirrored][..., ::-1])
    assert batch.inputs["more"] is more


def test_only_what_was_asked_for_is_done(rng: np.random.Generator) -> None:
    model = taking("float[N,3,8,8] x")
    assert augmentation(settings("x"), model, 0) is None
    crop = augmentation(settings("x", augment="crop"), model, 0)
    assert crop is not None
    assert not crop.flip
    with pytest.raises(UsageError, match="no input of the model takes images, so that --augment applies to none"):
        augmentation(settings("x", augment="crop"), taking("float[N,5] x"), 0)


def test_small_images_cost_little() -> None:
    batch = Batch({"x": np.random.default_rng(0).normal(size=(128, 3, 32, 32)).astype(np.float32)})
    change, seconds = both(), []
    for _ in range(30):
        start = time.perf_counter()
        change(batch, everything(128))
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.002
