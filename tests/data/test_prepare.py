"""From stored samples to what an input takes: which order of axes fits, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from compressor.config import DataSettings
from compressor.data.prepare import Preparation, check_symbols, normalised, prepare
from compressor.data.spec import InputSpec
from compressor.errors import UsageError

IMAGE = InputSpec("x", ir.DataType.FLOAT, ("N", 3, 4, 5))
OPEN = InputSpec("x", ir.DataType.FLOAT, ("N", None, None, None))
GREY = InputSpec("x", ir.DataType.FLOAT, ("N", 1, 4, 5))


def ready(spec: InputSpec, stored: np.ndarray, **more: Any) -> Preparation:
    return prepare(spec, stored, DataSettings(**more), "the data", normal=True)


def test_channels_last_are_moved_where_only_that_fits() -> None:
    stored = np.arange(2 * 4 * 5 * 3, dtype=np.float32).reshape(2, 4, 5, 3)
    found = ready(IMAGE, stored)
    np.testing.assert_array_equal(found(stored), stored.transpose(0, 3, 1, 2))
    assert found.done == ("channels moved before height and width",)
    assert found.shape(stored.shape) == (2, 3, 4, 5)


def test_an_axis_of_one_channel_is_added() -> None:
    stored = np.ones((2, 4, 5), np.float32)
    found = ready(GREY, stored)
    assert found(stored).shape == found.shape(stored.shape) == (2, 1, 4, 5)


def test_bytes_and_normalisation_are_one_product_and_one_sum() -> None:
    stored = np.asarray([0, 51, 255], np.uint8).reshape(1, 3, 1, 1)
    spec = InputSpec("x", ir.DataType.FLOAT, ("N", 3, 1, 1))
    found = ready(spec, stored, mean=(0.5, 0.1, 0.0), std=(0.5, 0.2, 2.0))
    np.testing.assert_allclose(found(stored).ravel(), [-1.0, 0.5, 0.5], rtol=1e-6)
    assert found(stored).dtype == np.float32


def test_what_is_given_is_never_written_to() -> None:
    stored = np.ones((2, 3, 4, 5), np.float32)
    stored.setflags(write=False)
    made = ready(IMAGE, stored)(stored)
    assert made.flags.writeable
    assert not np.shares_memory(made, stored)


@pytest.mark.parametrize(
    ("spec", "shape", "more", "words"),
    [
        (IMAGE, (3, 4, 5), {}, "put an axis of samples in front"),
        (IMAGE, (2, 4, 5, 3), {"layout": "nchw"}, "the other --layout, or auto, would fit"),
        (IMAGE, (2, 3, 8, 8), {}, "resize or convert the samples"),
        (OPEN, (2, 8, 8, 3), {}, "say it with --layout nhwc"),
        (IMAGE, (2, 3, 4, 5), {"mean": (0.5, 0.5)}, "--mean has 2 numbers"),
    ],
)
def test_what_does_not_fit_says_what_would(
    spec: InputSpec, shape: tuple[int, ...], more: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        ready(spec, np.zeros(shape, np.float32), **more)


def test_numbers_of_bytes_are_no_numbers_of_pixels() -> None:
    with pytest.raises(UsageError, match="divide them by 255"):
        ready(IMAGE, np.zeros((2, 3, 4, 5), np.uint8), mean=(123.0,))


def test_mean_and_std_are_meant_for_images() -> None:
    tokens = InputSpec("t", ir.DataType.INT64, ("N", 7))
    assert normalised([IMAGE, tokens], DataSettings(mean=(0.5,))) == {"x"}
    with pytest.raises(UsageError, match="--mean and --std apply to none"):
        normalised([tokens], DataSettings(mean=(0.5,)))


def test_one_name_of_a_size_is_one_size() -> None:
    specs = [InputSpec(name, ir.DataType.INT64, ("N", "length")) for name in "ab"]
    parts = {spec.name: ready(spec, np.zeros((2, 7), np.int64)) for spec in specs}
    check_symbols(parts, {"a": (2, 7), "b": (3, 7)})
    with pytest.raises(UsageError, match="share the dimension 'length'"):
        check_symbols(parts, {"a": (2, 7), "b": (2, 9)})
