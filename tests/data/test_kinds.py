"""What each input takes, told by shape, type, name and readers."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.data.kinds import InputKind, Kind, describe_kinds, kinds_of
from compressor.data.synthetic.dataset import synthetic
from compressor.errors import UsageError
from compressor.operators.sizes import infer
from tests.data.case import taking
from tests.models import in_memory, model


def kinds(text: str, **sizes: int) -> dict[str, InputKind]:
    network = in_memory(model(text))
    return {kind.name: kind for kind in kinds_of(network, infer(network, None, sizes))}


def kind(text: str, **sizes: int) -> InputKind:
    return next(iter(kinds(text, **sizes).values()))


def alone(*inputs: str) -> Kind:
    """The kind of the first input of a model that does nothing with it."""
    network = taking(*inputs)
    return kinds_of(network, infer(network))[0].kind


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("(float[N,3,8,8] x) => (float y) <float[4,3,3,3] w> { y = Conv(x, w) }", 0),
        ("(float[N,8,8,3] x) => (float y) <float[4,3,3,3] w> { t = Transpose<perm=[0,3,1,2]>(x) y = Conv(t, w) }", 2),
        ("(float[N,8,9,12] x) => (float y) <float[4,12,3,3] w> { t = Transpose<perm=[0,3,1,2]>(x) y = Conv(t, w) }", 2),
        ("(float[N,8,8,3] x) => (float[N,8,8,3] y) { y = Relu(x) }", 2),
        ("(uint8[N,3,8,8] x) => (float y) <float[4,3,3,3] w> { f = Cast<to=1>(x) y = Conv(f, w) }", 0),
        (
            "(float[N,8,8] x) => (float y) <float[4,1,3,3] w, int64[1] s = {1}> { u = Unsqueeze(x, s) y = Conv(u, w) }",
            None,
        ),
    ],
)
def test_images_have_their_channels_where_the_convolution_looks_for_them(text: str, axis: int | None) -> None:
    found = kind(text)
    assert found.kind == Kind.IMAGE
    assert found.channel_axis == axis
    assert found.pixels


def test_volumes_and_videos() -> None:
    volume = kind("(float[N,1,6,8,8] x) => (float y) <float[4,1,3,3,3] w> { y = Conv(x, w) }")
    assert (volume.kind, volume.channel_axis) == (Kind.VOLUME, 0)
    video = kind("(float[N,7,3,8,8] x) => (float[N,7,3,8,8] y) { y = Relu(x) }")
    assert (video.kind, video.channel_axis) == (Kind.VOLUME, 1)


def test_one_axis_of_convolution_is_sound_or_bands_by_its_channels() -> None:
    text = "(float[N,{c},50] x) => (float y) <float[4,{c},3] w> {{ y = Conv(x, w) }}"
    assert kind(text.format(c=1)).kind == Kind.WAVEFORM
    assert kind(text.format(c=8)).kind == Kind.WAVEFORM
    assert kind(text.format(c=80)).kind == Kind.SPECTROGRAM
    assert kind(text.format(c=80)).channel_axis == 0
    turned = kind("(float[N,50,80] x) => (float y) <float[4,80,3] w> { t = Transpose<perm=[0,2,1]>(x) y = Conv(t, w) }")
    assert (turned.kind, turned.channel_axis) == (Kind.SPECTROGRAM, 1)
    row = kind("(float[N,50] x) => (float y) <float[4,1,3] w, int64[1] s = {1}> { u = Unsqueeze(x, s) y = Conv(u, w) }")
    assert (row.kind, row.channel_axis) == (Kind.WAVEFORM, None)


def test_long_rows_that_no_product_reads_are_sounds_and_short_ones_features() -> None:
    assert alone("float[N,16000] x") == Kind.WAVEFORM
    assert alone("float[N,300] x") == Kind.FEATURES
    assert alone("float[N,300] waveform") == Kind.WAVEFORM
    product = "(float[N,5000] x) => (float y) <float[5000,4] w> { y = MatMul(x, w) }"
    assert kind(product).kind == Kind.FEATURES


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("float[N,80,100] mel", Kind.SPECTROGRAM),
        ("float[N,1,80,100] log_mel_spec", Kind.SPECTROGRAM),
        ("float[N,1,80,100] x", Kind.IMAGE),
        ("float[N,7,16] x", Kind.FEATURES),
        ("float[N,10,4] boxes", Kind.BOXES),
        ("float[N,10,4] x", Kind.FEATURES),
        ("float[N,2] scale_factor", Kind.SIZES),
        ("int64[N,2] orig_target_sizes", Kind.SIZES),
        ("int64[N,12] attention_mask", Kind.MASK),
        ("bool[N,12] keyPaddingMask", Kind.MASK),
        ("int64[N,12] position_ids", Kind.POSITIONS),
        ("int64[N,12] token_type_ids", Kind.SEGMENTS),
        ("int64[N] lengths", Kind.LENGTHS),
        ("float[N] timestep", Kind.NUMBERS),
        ("float[N,2,9,4] past_key_values_0_key", Kind.CACHE),
        ("float[N,2,9] encoder_state", Kind.CACHE),
        ("bool[N,3] x", Kind.FLAGS),
        ("int32[N,3] x", Kind.FLAGS),
        ("float16[N,3,8,8] x", Kind.IMAGE),
        ("double[N,5] x", Kind.FEATURES),
        ("bfloat16[N,5] x", Kind.FEATURES),
    ],
)
def test_names_and_shapes(declared: str, expected: Kind) -> None:
    assert alone(declared) == expected


def test_indices_of_a_table_are_tokens_and_what_has_their_shape_masks_them() -> None:
    text = """(int64[N,L] a, int64[N,L] b, bool[N,L] c, int64[N,L] position_ids) => (float y)
        <float[11,4] table, float[32,4] places> {
        e = Gather(table, a) p = Gather(places, position_ids) s = Add(e, p)
        f = Cast<to=1>(b) g = Cast<to=1>(c) y = Mul(f, g)
    }"""
    found = kinds(text, L=6)
    assert {name: k.kind for name, k in found.items()} == {
        "a": Kind.TOKENS,
        "b": Kind.MASK,
        "c": Kind.MASK,
        "position_ids": Kind.POSITIONS,
    }
    assert found["a"].use.table == 11
    assert found["position_ids"].use.table == 32


def test_caches_are_told_by_what_they_are_joined_with() -> None:
    text = """(float[N,2,9,4] k, float[N,2,1,4] x) => (float y)
        <float[4,4] w> { q = MatMul(x, w) y = Concat<axis=2>(k, q) }"""
    found = kinds(text)
    assert found["k"].kind == Kind.CACHE
    assert found["x"].kind != Kind.CACHE


@pytest.mark.parametrize("declared", ["string[N,3] words", "float[N,1,2,3,4,5] x", "complex64[N,3] x"])
def test_what_no_generator_fits_is_named_with_the_remedy(declared: str) -> None:
    name = declared.rsplit(maxsplit=1)[-1]
    with pytest.raises(
        UsageError, match=rf"input '{name}' takes .* no samples can be made up; give real ones with --data"
    ):
        alone(declared)


def test_scalars_alone_are_refused() -> None:
    with pytest.raises(UsageError, match="input 'x' is a scalar"):
        alone("float x")


def test_a_scalar_is_one_number_for_each_batch() -> None:
    network = taking("float[N,5] x", "float s")
    samples = synthetic(network, infer(network), 8, 0)
    batches = [samples.take(np.arange(start, start + 4)) for start in (0, 4)]
    assert [len(batch) for batch in batches] == [4, 4]
    assert [batch.inputs["s"].shape for batch in batches] == [(), ()]
    # What is fitted to one number alone is wrong at any other.
    assert batches[0].inputs["s"] != batches[1].inputs["s"]
    assert samples.take(np.arange(0)).inputs["s"].shape == ()


def test_described() -> None:
    network = taking("float[N,3,8,8] x", "float[N,5] z")
    assert describe_kinds(kinds_of(network, infer(network))) == {"x": "image 3x8x8", "z": "features 5"}
