"""Codebooks as they are stored: nothing is lost, in as few bits as codes need."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from compressor.config import BlockShape
from compressor.unification.layout import Blocking, CanonicalAxes
from compressor.unification.packed_codebook import bits_of, bytes_of, entropy_bits, pack_codebook, worthwhile

SHAPE = (6, 5, 3, 3)


def layout(block: str) -> Blocking:
    return Blocking(CanonicalAxes.of(SHAPE, "oitt"), BlockShape.parse(block))


def coded(of: Blocking, count: int, rng: np.random.Generator, dtype: Any = np.float32) -> tuple[Any, Any]:
    """A weight of ``count`` values a codebook, each a number that float16 holds, and its codes."""
    codes = rng.integers(0, count, (of.n, of.count)).astype(np.uint8)
    codes[:count] = np.arange(count)[:, None]  # every value occurs
    values = np.round(rng.normal(size=(count, of.count)), 2).astype(np.float16).astype(dtype)
    return of.weight(np.take_along_axis(values, codes.astype(np.int64), 0)), codes


@pytest.mark.parametrize(("values", "bits"), [(2, (1,)), (3, (2,)), (5, (2, 1)), (8, (2, 1)), (16, (4,)), (256, (8,))])
def test_a_code_has_as_many_bits_as_the_highest_needs(values: int, bits: tuple[int, ...]) -> None:
    assert bits_of(values) == bits
    assert sum(bits) == (values - 1).bit_length()


@pytest.mark.parametrize(("count", "per"), [(2, ""), (5, ""), (16, ""), (100, ""), (2, "/output"), (30, "/output")])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
def test_codes_and_values_come_back(count: int, per: str, dtype: Any, rng: np.random.Generator) -> None:
    of = layout(f"values:{count}{per}")
    weight, codes = coded(of, count, rng, dtype)
    packed = pack_codebook(weight, of, codes, count)
    np.testing.assert_array_equal(packed.codes(), codes)
    assert packed.decode().dtype == weight.dtype
    assert packed.satisfied(packed.decode())
    np.testing.assert_array_equal(packed.decode(), weight)
    assert packed.stored == bytes_of(of, count, 2)


def test_a_weight_with_another_value_does_not_satisfy(rng: np.random.Generator) -> None:
    of = layout("values:4")
    weight, codes = coded(of, 4, rng)
    packed = pack_codebook(weight, of, codes, 4)
    weight = weight.copy()
    weight[1, 2, 0, 1] += np.float32(1e-3)
    assert not packed.satisfied(weight)


def test_values_that_float16_cannot_hold_are_float32(rng: np.random.Generator) -> None:
    of = layout("values:4")
    weight, codes = coded(of, 4, rng)
    for factor in (1e9, 1e-9):
        packed = pack_codebook(weight * np.float32(factor), of, codes, 4)
        assert packed.values.dtype == np.float32
        assert packed.satisfied(weight * np.float32(factor))


def test_an_ideal_coder_needs_no_more_than_is_stored(rng: np.random.Generator) -> None:
    of = layout("values:4")
    weight, codes = coded(of, 4, rng)
    packed = pack_codebook(weight, of, codes, 4)
    values = 8 * packed.values.nbytes
    assert values < entropy_bits(packed) <= values + 2 * weight.size
    plain = pack_codebook(np.zeros_like(weight), of, np.zeros_like(codes), 4)
    assert entropy_bits(plain) == 8 * plain.values.nbytes


def test_a_codebook_is_worth_its_table_where_the_weight_is_large() -> None:
    assert worthwhile(layout("values:16"), 4 * 270)
    assert not worthwhile(layout("values:256/output"), 4 * 270)
