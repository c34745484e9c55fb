"""Codebooks: k-means in one dimension, what is left to train, and how it is stored."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from compressor.config import BlockShape
from compressor.unification import packed_codebook
from compressor.unification.codebook import Codebook, SharedValues, lloyd
from compressor.unification.layout import Blocking, CanonicalAxes
from compressor.unification.packed_codebook import bits_of, bytes_of, entropy_bits
from compressor.unification.unpack import install
from compressor.unification.unpacked import unpacked

SHAPE = (6, 5, 3, 3)


def layout_of(text: str, shape: tuple[int, ...] = SHAPE, roles: str = "oitt") -> Blocking:
    return Blocking(CanonicalAxes.of(shape, roles), BlockShape.parse(text))


def normal(shape: tuple[int, ...] = SHAPE, seed: int = 0, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_distance_is_nearly_the_least_of_all(count: int, weighted: bool) -> None:
    w = normal((1, 12), 3, np.float64)
    h = np.random.default_rng(4).uniform(0.1, 3.0, w.shape) if weighted else None
    book = Codebook(layout_of("values:4", (1, 12), "oi"), count, h)
    order, importance = np.sort(w.ravel()), np.ones(12) if h is None else h.ravel()[np.argsort(w.ravel())]
    best = min(
        sum(
            float((importance[a:b] * (order[a:b] - np.average(order[a:b], weights=importance[a:b])) ** 2).sum())
            for a, b in zip((0, *cuts), (*cuts, 12), strict=True)
        )
        for cuts in combinations(range(1, 12), count - 1)
    )
    found = float(((1 if h is None else h) * (w - book.project(w)) ** 2).sum())
    assert best - 1e-9 <= found <= 1.6 * best


@pytest.mark.parametrize(("count", "least"), [(2, 0.3634), (4, 0.1175), (16, 0.009497)])
def test_many_normal_weights_come_near_the_known_least_distance(count: int, least: float) -> None:
    w = normal((200_000,), 1)
    places = lloyd(w, count)
    gap = w - places[np.searchsorted((places[1:] + places[:-1]) / 2, w)]
    assert float(np.square(gap).mean()) == pytest.approx(least, rel=0.03)


@pytest.mark.parametrize("block", ["values:3", "values:16", "values:5/output"])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_projection_is_idempotent_and_keeps_to_its_count(block: str, library: str) -> None:
    layout, w = layout_of(block), normal()
    book = Codebook(layout, layout.block.values)
    if library == "torch":
        torch = pytest.importorskip("torch")
        found = book.project(torch.from_numpy(w))
        assert torch.equal(book.project(found), found)
        z = found.numpy()
        assert np.array_equal(z, book.project(w)), "both libraries find the same"
    else:
        z = book.project(w)
        assert np.array_equal(book.project(z), z)
    columns = layout.blocks(z).T
    assert all(len(np.unique(column)) <= layout.block.values for column in columns)
    assert len(columns) == (6 if "output" in block else 1)
    assert 0 < np.abs(z - w).mean() < np.abs(w).mean()


def test_fewer_values_than_asked_for_are_kept() -> None:
    w = np.float32([[0.1, 0.2, 0.1], [0.3, 0.3, 0.2]])
    assert np.array_equal(Codebook(layout_of("values:4", (2, 3), "oi"), 4).project(w), w)


def test_what_is_left_to_train_is_one_number_a_code() -> None:
    layout, w = layout_of("values:4/output"), normal()
    book = Codebook(layout, 4)
    codes = book.kinds(w)
    held = SharedValues(layout, codes, 4)
    z = held.project(w)
    np.testing.assert_array_equal(z, book.impose(w, codes))
    assert np.array_equal(held.project(z), z)
    gradient = layout.blocks(held.project(normal(seed=1)))
    for column in range(layout.count):
        own = layout.blocks(normal(seed=1))[:, column]
        for code in range(4):
            here = codes[:, column] == code
            np.testing.assert_allclose(gradient[here, column], own[here].mean(), rtol=1e-5, atol=1e-6)


def test_filters_of_one_codebook_are_scaled_together() -> None:
    ties = Codebook(layout_of("values:4"), 4).ties()
    assert ties is not None
    assert ties.tolist() == [0] * 6
    assert Codebook(layout_of("values:4/output"), 4).ties() is None


@pytest.mark.parametrize(
    ("values", "bits"), [(2, (1,)), (3, (2,)), (4, (2,)), (8, (2, 1)), (16, (4,)), (100, (4, 2, 1)), (256, (8,))]
)
def test_codes_take_the_bits_they_need(values: int, bits: tuple[int, ...]) -> None:
    assert bits_of(values) == bits
    layout = layout_of(f"values:{values}", (64, 64), "oi")
    w = normal((64, 64))
    book = Codebook(layout, values)
    packed = packed_codebook.pack_codebook(w, layout, book.kinds(w), values)
    assert packed.stored == bytes_of(layout, values, 2) == 64 * 64 * sum(bits) // 8 + 2 * values
    assert entropy_bits(packed) < 8 * packed.stored + 1


@pytest.mark.parametrize("values", [2, 3, 8, 12, 16, 40, 200])
@pytest.mark.parametrize("per", ["", "/output"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_the_runtime_unpacks_the_bits_that_were_packed(values: int, per: str, dtype: str) -> None:
    layout = layout_of(f"values:{values}{per}", (6, 50, 3), "oit")
    kind = ir.DataType[{"float64": "DOUBLE", "float32": "FLOAT"}.get(dtype, dtype.upper())]
    w = normal((6, 50, 3)).astype(kind.numpy())
    wide = w.astype(np.float32) if w.dtype.itemsize < 4 else w
    packed = packed_codebook.pack_codebook(w, layout, Codebook(layout, values).kinds(wide), values)
    value = ir.Value(name="w", shape=ir.Shape(w.shape), type=ir.TensorType(kind), const_value=ir.tensor(w, dtype=kind))
    node = ir.node("Identity", [value])
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = "y", ir.TensorType(kind), value.shape
    graph = ir.Graph([], node.outputs, nodes=[node], initializers=[value], opset_imports={"": 18}, name="g")
    model = ir.Model(graph, ir_version=10)
    install(model, {value: packed})
    for optimise in (False, True):
        found = unpacked(model, ["w"], optimise=optimise)["w"]
        assert found.tobytes() == packed.decode().tobytes()
        assert packed.satisfied(found)
    wrong = np.ascontiguousarray(packed.decode())
    wrong.reshape(-1)[7] *= 2
    assert not packed.satisfied(wrong)
    assert len(np.unique(packed.decode().astype(np.float64))) <= values * layout.count


def test_values_that_float16_cannot_hold_are_stored_in_float32() -> None:
    layout, w = layout_of("values:4"), normal() * np.float32(1e-7)
    packed = packed_codebook.pack_codebook(w, layout, Codebook(layout, 4).kinds(w), 4)
    assert packed.values.dtype == np.float32
    assert np.abs(packed.decode() - w).mean() < np.abs(w).mean()
