"""Sizes of samples where the model leaves them open."""

from __future__ import annotations

import pytest

from compressor.data.synthetic.sizes import sample_shapes
from compressor.errors import UsageError
from compressor.graph.form.normalise import normalise
from tests.models import in_memory, model

CONVOLUTION = in_memory(model("(float[N,3,H,W] x) => (float[N,8,a,b] y) <float[8,3,3,3] w> { y = Conv(x, w) }"))
TEXT = in_memory(model("(int64[N,L] ids) => (float y) <float[11,4] w> { y = Gather(w, ids) }"))


def test_texts_of_open_size_are_as_long_as_usual_ones() -> None:
    assert sample_shapes(TEXT, None, None).inputs["ids"][1:] == (64,)


@pytest.mark.parametrize(
    ("layers", "side"),
    [
        ([(1, 1, 1)] * 6, 32),
        ([(1, 1, 1), (2, 1, 1), (2, 1, 1), (2, 1, 1)], 64),
        ([(2, 1, 1)] * 5, 224),
        # Without padding two positions go at each border, of 16 in the input for the last one.
        ([(2, 0, 1)] * 4, 144),
        # 12 positions apart on a map of every eighth pixel: 193 pixels, in whole strides.
        ([(2, 1, 1), (2, 1, 1), (2, 1, 1), (1, 12, 12)], 200),
    ],
)
def test_images_of_open_size_are_as_large_as_layers_suggest(layers: list[tuple[int, int, int]], side: int) -> None:
    weights = ", ".join(f"float[3,3,3,3] w{k}" for k in range(len(layers)))
    nodes = " ".join(
        f"v{k + 1} = Conv<strides=[{s},{s}], pads=[{pad},{pad},{pad},{pad}], dilations=[{hole},{hole}]>(v{k}, w{k})"
        for k, (s, pad, hole) in enumerate(layers)
    )
    text = f"(float[N,3,H,W] v0) => (float[N,3,a,b] v{len(layers)}) <{weights}> {{ {nodes} }}"
    found = sample_shapes(in_memory(model(text)), None, None)
    assert found.inputs["v0"][1:] == (3, side, side)
    assert found.within(found.inputs)


def test_the_user_decides_where_he_says_something() -> None:
    assert sample_shapes(CONVOLUTION, None, {"H": 20}).inputs["x"][1:] == (3, 20, 32)
    assert sample_shapes(CONVOLUTION, {"x": (1, 3, 6, 4)}, None).inputs["x"] == (1, 3, 6, 4)
    with pytest.raises(UsageError, match="no symbolic dimension 'K'"):
        sample_shapes(CONVOLUTION, None, {"K": 5})


def test_sizes_that_the_graph_does_not_take_give_way_to_those_that_it_does() -> None:
    fitting = in_memory(
        model(
            "(float[N,3,H,W] x) => (float y) <int64[2] s = {-1,5}, float[5,4] w> { r = Reshape(x, s) y = MatMul(r, w) }"
        )
    )
    # Neither 32 x 32 nor 224 x 224 is a multiple of five.
    assert sample_shapes(fitting, None, None).inputs["x"][1:] == (3, 96, 160)
    usual = in_memory(
        model(
            "(float[N,3,H,W] x) => (float y) <int64[2] s = {-1,150528}, float[150528,1] w> "
            "{ r = Reshape(x, s) y = MatMul(r, w) }"
        )
    )
    assert sample_shapes(usual, None, None).inputs["x"][1:] == (3, 224, 224)


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


def sizes(text: str) -> dict[str, tuple[int, ...]]:
    """Shape of one sample by input."""
    found = sample_shapes(normalise(in_memory(model(text))), None, None)
    return {name: shape[1:] for name, shape in found.inputs.items()}


def test_waveforms_are_some_receptive_fields_long() -> None:
    small = "(float[N,1,T] x) => (float[N,8,U] y) <float[8,1,31] w> { y = Conv<strides=[4]>(x, w) }"
    assert sizes(small)["x"] == (1, 1000)
    strided = """(float[N,1,T] x) => (float[N,8,U] y) <float[8,1,10] w, float[8,8,3] v> {
        a = Conv<strides=[50]>(x, w) y = Conv<strides=[2], dilations=[4]>(a, v) }"""
    # 10 + 8 * 50 positions are seen at once, and results are 100 apart.
    assert sizes(strided)["x"] == (1, 3600)
    dilated = """(float[N,T] x) => (float[N,8,U] y) <float[8,1,9] w, int64[1] one = {1}> {
        a = Unsqueeze(x, one) y = Conv<dilations=[64], pads=[256,256]>(a, w) }"""
    assert sizes(dilated)["x"] == (4 * 513,)


def test_a_signal_has_no_more_numbers_than_an_image_has_pixels_but_fills_the_kernels() -> None:
    wide = "(float[N,4,T] x) => (float[N,8,U] y) <float[8,4,5] w> { y = Conv<strides=[4096]>(x, w) }"
    assert sizes(wide)["x"] == (4, 16384), "rounded up to whole strides"
    long = "(float[N,4,T] x) => (float[N,8,U] y) <float[8,4,3] w> { y = Conv<dilations=[7000]>(x, w) }"
    assert sizes(long)["x"] == (4, 14001)


def test_bands_are_told_from_an_open_axis_of_time_however_short_a_probe_makes_it() -> None:
    assert sizes("(float[N,80,T] x) => (float[N,8,U] y) <float[8,80,3] w> { y = Conv(x, w) }")["x"] == (80, 224)
    named = "(float[N,T,80] audio_features) => (float[N,T,8] y) <float[80,8] w> { y = MatMul(audio_features, w) }"
    assert sizes(named)["audio_features"] == (64, 80)


def test_rows_over_time_and_points_are_as_many_as_tokens_of_a_text() -> None:
    assert sizes("(float[N,T,12] x) => (float[N,T,8] y) <float[12,8] w> { y = MatMul(x, w) }")["x"] == (64, 12)
    turned = "(float[N,3,P] x) => (float[N,P,8] y) <float[3,8] w> { t = Transpose<perm=[0,2,1]>(x) y = MatMul(t, w) }"
    assert sizes(turned)["x"] == (3, 64)
    assert sizes("(float[N,F] x) => (float[N,8] y) <float[12,8] w> { y = MatMul(x, w) }")["x"] == (12,)
    voxels = "(float[N,1,D,H,W] x) => (float[N,8,a,b,c] y) <float[8,1,3,3,3] w> { y = Conv(x, w) }"
    assert sizes(voxels)["x"] == (1, 32, 32, 32)
    video = "(float[N,3,D,224,224] x) => (float[N,8,a,b,c] y) <float[8,3,3,3,3] w> { y = Conv(x, w) }"
    assert sizes(video)["x"] == (3, 16, 224, 224)


def test_sizes_without_a_name_are_chosen_alike() -> None:
    assert sizes("(float[N,3,?,?] x) => (float[N,8,a,b] y) <float[8,3,3,3] w> { y = Conv(x, w) }")["x"] == (3, 32, 32)
    assert sizes("(float[?,1,?] x) => (float[N,8,b] y) <float[8,1,3] w> { y = Conv(x, w) }")["x"] == (1, 1000)


def test_signals_whose_length_the_graph_divides_are_multiples_of_what_it_takes() -> None:
    framed = """(float[N,T] audio) => (float y) <int64[2] s = {-1,32}, float[32,4] w> {
        r = Reshape(audio, s) y = MatMul(r, w) }"""
    (length,) = sizes(framed)["audio"]
    assert length % 32 == 0
    assert 900 < length < 1100
