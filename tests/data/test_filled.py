"""Inputs that data leave out: empty caches, masks that hide nothing, positions from 0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from compressor.data import open_data, open_parts
from compressor.data.filled import filled_notes
from compressor.errors import UsageError
from tests.data.case import everything, saved, settings
from tests.models import in_memory, model

DECODER = """(int64[N,L] input_ids, int64[N,T] attention_mask, int64[N,L] position_ids, float[N,2,P,4] past_key)
    => (float y, float z) <float[11,4] table, float[40,4] places> {
    e = Gather(table, input_ids) p = Gather(places, position_ids) s = Add(e, p)
    m = Cast<to=1>(attention_mask) k = Concat<axis=2>(past_key, past_key) y = Relu(s) z = Relu(m) }"""


def decoder() -> ir.Model:
    return in_memory(model(DECODER))


def test_text_alone_is_enough_for_a_decoder_with_a_cache(tmp_path: Path, rng: np.random.Generator) -> None:
    ids = rng.integers(0, 11, (5, 7))
    for name in ("input_ids", "x"):
        data = open_data(settings(saved(tmp_path / "a.npz", **{name: ids}, y=np.arange(5))), decoder())
        found = data.take(np.array([4, 0]))
        np.testing.assert_array_equal(found.inputs["input_ids"], ids[[4, 0]])
        np.testing.assert_array_equal(found.inputs["attention_mask"], np.ones((2, 7), np.int64), strict=True)
        np.testing.assert_array_equal(found.inputs["position_ids"], [range(7)] * 2)
        np.testing.assert_array_equal(found.inputs["past_key"], np.zeros((2, 2, 0, 4), np.float32), strict=True)
        np.testing.assert_array_equal(found.labels, [4, 0])
    train, judged = open_parts(settings(tmp_path / "a.npz"), decoder())
    (told,) = filled_notes(train)
    assert "past_key with empty pasts" in told
    assert "attention_mask with masks that hide nothing" in told
    assert "position_ids with positions counted from 0" in told
    assert filled_notes(judged) == [told]


def test_what_is_given_counts_for_the_rest(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", input_ids=np.zeros((3, 5), int), past_key=np.zeros((3, 2, 6, 4), "f4"))
    found = open_data(settings(path), decoder()).take(everything(3)).inputs
    assert found["past_key"].shape == (3, 2, 6, 4)
    assert found["attention_mask"].shape == (3, 11), "past and present"
    np.testing.assert_array_equal(found["position_ids"], [range(6, 11)] * 3)


def test_an_empty_cache_is_no_lack_of_samples(tmp_path: Path) -> None:
    empty = {"past_key": np.zeros((3, 2, 0, 4), "f4"), "attention_mask": np.ones((3, 5), int)}
    path = saved(tmp_path / "a.npz", input_ids=np.zeros((3, 5), int), position_ids=np.zeros((3, 5), int), **empty)
    data = open_data(settings(path), decoder())
    assert len(data) == 3
    assert filled_notes(data) == []
    assert data.take(everything(2)).inputs["past_key"].shape == (2, 2, 0, 4)


def test_other_inputs_have_to_be_given(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", position_ids=np.zeros((3, 5), int), past_key=np.zeros((3, 2, 0, 4), "f4"))
    with pytest.raises(UsageError, match="no array is named input_ids"):
        open_data(settings(saved(path, position_ids=np.zeros((3, 5), int), y=np.zeros(3))), decoder())
    fixed = in_memory(model("(int64[N,L] ids, float[N,4] state) => (float y) <float[11,4] t> { y = Gather(t, ids) }"))
    with pytest.raises(UsageError, match="no array is named state"):
        open_data(settings(saved(tmp_path / "b.npz", ids=np.zeros((3, 5), int))), fixed)
