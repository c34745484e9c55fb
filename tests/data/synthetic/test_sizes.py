"""Sizes of samples where the model leaves them open."""

from __future__ import annotations

import pytest

from compressor.data.synthetic.sizes import sample_shapes
from compressor.errors import UsageError
from compressor.graph.normalise import normalise
from tests.models import in_memory, model

CONVOLUTION = in_memory(model("(float[N,3,H,W] x) => (float[N,8,a,b] y) <float[8,3,3,3] w> { y = Conv(x, w) }"))
TEXT = in_memory(model("(int64[N,L] ids) => (float y) <float[11,4] w> { y = Gather(w, ids) }"))


def test_images_and_texts_of_open_size_are_as_large_as_usual_ones() -> None:
    assert sample_shapes(CONVOLUTION, None, None).inputs["x"][1:] == (3, 224, 224)
    assert sample_shapes(TEXT, None, None).inputs["ids"][1:] == (64,)


def test_the_user_decides_where_he_says_something() -> None:
    assert sample_shapes(CONVOLUTION, None, {"H": 20}).inputs["x"][1:] == (3, 20, 224)
    assert sample_shapes(CONVOLUTION, {"x": (1, 3, 6, 4)}, None).inputs["x"] == (1, 3, 6, 4)
    with pytest.raises(UsageError, match="no symbolic dimension 'K'"):
        sample_shapes(CONVOLUTION, None, {"K": 5})


def test_sizes_that_the_graph_does_not_take_give_way_to_those_that_it_does() -> None:
    fitting = in_memory(
        model(
            "(float[N,3,H,W] x) => (float y) <int64[2] s = {-1,5}, float[5,4] w> { r = Reshape(x, s) y = MatMul(r, w) }"
        )
    )
    assert sample_shapes(fitting, None, None).inputs["x"][1:] == (3, 96, 160)  # 224 x 224 is no multiple of five


def test_what_is_in_a_cache_counts_among_the_positions() -> None:
    text = """(int64[N,L] input_ids, int64[N,T] attention_mask, int64[N,L] position_ids, float[N,2,P,4] past_key)
        => (float y, float z) <float[11,4] table, float[40,4] places> {
        e = Gather(table, input_ids) p = Gather(places, position_ids) s = Add(e, p)
        m = Cast<to=1>(attention_mask) k = Concat<axis=2>(past_key, past_key) y = Relu(s) z = Relu(m) }"""
    found = sample_shapes(in_memory(model(text)), None, None).inputs
    assert found["past_key"][1:] == (2, 16, 4)
    assert found["input_ids"][1:] == found["position_ids"][1:] == (24,)
    assert found["attention_mask"][1:] == (40,)


def test_sequences_have_room_in_tables_that_are_read_by_counted_positions() -> None:
    text = """(int64[N,T] input_ids, float[N,2,P,4] past_key_values) => (float[N,T,c] y, float[N,2,Q,4] present)
        <float[50,8] words, float[40,8] places, int64[1] one = {1}, int64[1] two = {2}, int64 zero = {0},
        int64 step = {1}> {
            s = Shape(input_ids)  n = Gather(s, one)  length = Squeeze(n)
            p = Shape(past_key_values)  m = Gather(p, two)  past = Squeeze(m)
            total = Add(past, length)  r = Range(past, total, step)  e = Gather(places, r)
            w = Gather(words, input_ids)  y = Add(w, e)  present = Identity(past_key_values) }"""
    found = sample_shapes(normalise(in_memory(model(text))), None, None)
    assert found.within(found.inputs)
    length, past = found.inputs["input_ids"][1], found.inputs["past_key_values"][2]
    assert (length, past) == (16, 16), "64 tokens behind 16 positions would be more than 40"
    assert not found.within({"input_ids": (1, 25), "past_key_values": (1, 2, 16, 4)})
