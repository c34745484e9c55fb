"""Shifted inputs: noise of the right size, pixels found and put back, draws that do not depend on batches."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from compressor.config.robustness import RobustnessSettings
from compressor.data import InputSpec
from compressor.errors import UsageError
from compressor.evaluate.shifts import (
    NOISE,
    UNDISTURBED,
    Disturbance,
    Range,
    Shift,
    image_obstacle,
    input_statistics,
    pixels,
    shifts,
)

FIRST = InputSpec("x", ir.DataType.FLOAT, ("n", 3, 8, 8))
LAST = InputSpec("x", ir.DataType.FLOAT, ("n", 8, 8, 3))
BYTES = InputSpec("x", ir.DataType.UINT8, ("n", 3, 8, 8))
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def pictures(spec: InputSpec, count: int = 20):
    found = np.random.default_rng(0).random((count, 3, 8, 8))
    found[0, :, 0, 0], found[0, :, 0, 1] = 0, 1
    return found if not spec.last else found.transpose(0, 2, 3, 1)


def normal(spec: InputSpec, images):
    shape = (1, 1, 1, 3) if spec.last else (1, 3, 1, 1)
    return ((images - np.reshape(MEAN, shape)) / np.reshape(STD, shape)).astype(np.float32)


def seen(spec: InputSpec, values) -> Range:
    return input_statistics([{"x": values}], [spec])["x"]


@budget(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_a_range_is_that_of_all_batches_together(seed, sizes):
    values = np.random.default_rng(seed).normal(7, 3, (sum(sizes), 3, 4, 4)).astype(np.float32)
    parts = np.split(values, np.cumsum(sizes)[:-1])
    found = input_statistics([{"x": part} for part in parts], [FIRST])["x"]
    assert found.deviation == pytest.approx(values.std(dtype=np.float64), rel=1e-9)
    np.testing.assert_array_equal(found.low, values.min((0, 2, 3)))
    np.testing.assert_array_equal(found.high, values.max((0, 2, 3)))


@pytest.mark.parametrize("spec", [FIRST, LAST])
def test_pixels_are_found_and_put_back(spec):
    images = pictures(spec)
    first = images.transpose(0, 3, 1, 2) if spec.last else images
    values = normal(spec, images)
    known = pixels(spec, seen(spec, values), RobustnessSettings(mean=MEAN, std=STD))
    np.testing.assert_allclose(known.of(values), first, atol=1e-5)
    np.testing.assert_allclose(known.back(known.of(values), values.dtype), values, atol=1e-4)
    guessed = pixels(spec, seen(spec, values), RobustnessSettings())
    assert guessed.guessed
    np.testing.assert_allclose(guessed.of(values), first, atol=1e-5, err_msg="black and white are in the samples")


def test_pixels_of_bytes_and_of_255():
    images = pictures(FIRST)
    whole = np.rint(images * 255).astype(np.uint8)
    known = pixels(BYTES, seen(BYTES, whole), RobustnessSettings())
    np.testing.assert_array_equal(known.back(known.of(whole), whole.dtype), whole)
    floats = (whole - np.float32(100)).astype(np.float32)
    known = pixels(FIRST, seen(FIRST, floats), RobustnessSettings(mean=(100.0,)))
    np.testing.assert_allclose(known.of(floats), whole / 255, atol=1e-5)
    plain = pixels(FIRST, seen(FIRST, images.astype(np.float32)), RobustnessSettings())
    assert not plain.guessed
    assert plain.origin == "numbers from 0 to 1 are pixels"


def test_a_wrong_normalisation_is_refused():
    values = seen(FIRST, normal(FIRST, normal(FIRST, pictures(FIRST))))
    with pytest.raises(UsageError, match="not from 0 to 1 or 255; say --normalised"):
        pixels(FIRST, values, RobustnessSettings(mean=MEAN, std=STD))
    with pytest.raises(UsageError, match="give those it was normalised with"):
        pixels(FIRST, values, RobustnessSettings(mean=MEAN, std=STD, normalised=True))
    with pytest.raises(UsageError, match="one number or 3"):
        pixels(FIRST, values, RobustnessSettings(mean=(0.5, 0.5)))


def test_what_is_no_image_is_said():
    flat = InputSpec("x", ir.DataType.FLOAT, ("n", 8))
    assert "it has 2 axes" in image_obstacle(flat, seen(flat, np.zeros((1, 8))))
    maps = InputSpec("x", ir.DataType.FLOAT, ("n", 16, 8, 8))
    assert "16 channels" in image_obstacle(maps, seen(maps, np.zeros((1, 16, 8, 8))))
    assert not image_obstacle(FIRST, seen(FIRST, np.zeros((1, 3, 8, 8))))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_noise_has_its_amplitude_and_scales(dtype):
    values = np.full((4, 1000), 100).astype(dtype)
    make = Disturbance({"x": 20.0}, {}, seed=3)
    one, two = (make({"x": values}, Shift(NOISE, level), 0, 0)["x"].astype(float) - 100 for level in (0.5, 1.0))
    assert make({"x": values}, Shift(NOISE, 1.0), 0, 0)["x"].dtype == dtype
    assert 19.5 < np.abs(two).max() <= 20
    assert abs(two.mean()) < 1
    np.testing.assert_allclose(2 * one, two, atol=1.5 if dtype == np.uint8 else 0.2)
    assert not np.array_equal(make({"x": values}, Shift(NOISE, 1.0), 1, 0)["x"] - 100.0, two)


@pytest.mark.parametrize("name", [NOISE, "gaussian-noise", "impulse-noise", "blur"])
def test_draws_do_not_depend_on_batches(name):
    values = normal(FIRST, pictures(FIRST, 6))
    known = pixels(FIRST, seen(FIRST, values), RobustnessSettings(mean=MEAN, std=STD))
    make = Disturbance({"x": 1.0}, {"x": known}, seed=1)
    whole = make({"x": values}, Shift(name, 2), 0, 0)["x"]
    parts = [make({"x": values[k : k + 4]}, Shift(name, 2), 0, k)["x"] for k in (0, 4)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    other = Disturbance({"x": 1.0}, {"x": known}, seed=2)({"x": values}, Shift(name, 2), 0, 0)["x"]
    assert np.array_equal(other, whole) == (name == "blur")


def test_only_named_inputs_change():
    inputs = {"x": np.ones((2, 3)), "ids": np.ones((2, 3), np.int64)}
    make = Disturbance({"x": 1.0}, {}, 0)
    assert np.array_equal(make(inputs, Shift(UNDISTURBED), 0, 0)["x"], inputs["x"])
    noisy = make(inputs, Shift(NOISE, 1.0), 0, 0)
    assert not np.array_equal(noisy["x"], inputs["x"])
    assert noisy["ids"] is inputs["ids"]


def test_the_plan_has_every_amplitude_and_severity():
    known = pixels(FIRST, seen(FIRST, normal(FIRST, pictures(FIRST))), RobustnessSettings(mean=MEAN, std=STD))
    asked = RobustnessSettings(noise=0.6, noise_levels=3, draws=2, corruptions=("blur",))
    plan, reasons = shifts(asked, Disturbance({"x": 1.0}, {"x": known}, 0))
    assert not reasons
    assert [(s.name, round(s.level, 6), s.draws) for s in plan[:4]] == [
        ("clean", 0, 1),
        ("noise", 0.2, 2),
        ("noise", 0.4, 2),
        ("noise", 0.6, 2),
    ]
    assert [(s.name, s.level) for s in plan[4:]] == [("blur", k) for k in range(1, 6)]
    assert shifts(asked, Disturbance({}, {}, 0))[0] == [Shift(UNDISTURBED)]
