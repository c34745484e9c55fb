"""Samples of every kind: of the right form, the same for the same seed, and consistent within a sample."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from compressor.core.arrays import Array
from compressor.data.synthetic import IMAGENET, SIGNED, Kind, RangeChoice, Synthetic, synthetic
from compressor.data.synthetic.dataset import GENERATORS
from compressor.errors import UsageError
from compressor.operators.sizes import infer
from tests.data.case import everything, taking
from tests.models import in_memory, model

CONVOLUTION = in_memory(model("(float[N,3,H,W] x) => (float[N,8,a,b] y) <float[8,3,3,3] w> { y = Conv(x, w) }"))


def samples(network: ir.Model, count: int, seed: int = 0, **sizes: int) -> Synthetic:
    return synthetic(network, infer(network, None, sizes), count, seed)


def made(*inputs: str, count: int = 30) -> dict[str, Array]:
    return samples(taking(*inputs), count).take(everything(count)).inputs


def test_a_sample_follows_from_seed_and_index_alone() -> None:
    dataset = samples(CONVOLUTION, 20, 3, H=9, W=7)
    assert len(dataset) == 20
    assert not dataset.labelled
    whole = dataset.take(everything(20)).inputs["x"]
    assert whole.shape == (20, 3, 9, 7)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(dataset.take(np.array([7, 2, 7])).inputs["x"], whole[[7, 2, 7]])
    np.testing.assert_array_equal(samples(CONVOLUTION, 50, 3, H=9, W=7).take(np.array([4])).inputs["x"], whole[[4]])
    assert np.abs(samples(CONVOLUTION, 20, 4, H=9, W=7).take(everything(20)).inputs["x"] - whole).mean() > 0.1
    assert dataset.take(everything(0)).inputs["x"].shape == (0, 3, 9, 7)


def test_another_input_changes_nothing() -> None:
    alone = made("float[N,5] x")["x"]
    np.testing.assert_array_equal(made("float[N,5] x", "float[N,9] z")["x"], alone)


def test_every_kind_has_a_generator() -> None:
    assert set(GENERATORS) == set(Kind)


@pytest.mark.parametrize(
    ("declared", "dtype"),
    [
        ("float[N,3,8,8] x", np.float32),
        ("float16[N,3,8,8] x", np.float16),
        ("double[N,4,6] x", np.float64),
        ("bfloat16[N,3,8,8] x", ir.DataType.BFLOAT16.numpy()),
        ("uint8[N,8,8,3] x", np.uint8),
        ("int8[N,3,8,8] x", np.int8),
        ("float[N,1,4,8,8] x", np.float32),
        ("float[N,80,50] mel", np.float32),
        ("float[N,1,80,50] mel", np.float32),
        ("float[N,5000] audio", np.float32),
        ("int16[N,500] audio", np.int16),
        ("int64[N,12] input_mask", np.int64),
        ("float16[N,1,1,12] mask", np.float16),
        ("bool[N,12] mask", np.bool_),
        ("int32[N,12] position_ids", np.int32),
        ("int64[N,12] segment_ids", np.int64),
        ("float16[N,2,7,4] past_key", np.float16),
        ("float[N,6,4] boxes", np.float32),
        ("float[N] sigma", np.float32),
        ("int64[N] timestep", np.int64),
        ("bool[N,3] x", np.bool_),
        ("int32[N,3] x", np.int32),
    ],
)
def test_samples_have_the_type_and_the_shape_that_the_input_takes(declared: str, dtype: npt.DTypeLike) -> None:
    name, network = declared.rsplit(maxsplit=1)[-1], taking(declared)
    array = samples(network, 5).take(everything(5)).inputs[name]
    assert array.dtype == np.dtype(dtype)
    assert array.shape == (5, *infer(network).inputs[name][1:])
    assert np.isfinite(array.astype(np.float64)).all()


def test_pixels_of_bytes_take_every_value() -> None:
    assert len(np.unique(made("uint8[N,3,8,8] x")["x"])) > 250
    signed = made("int8[N,3,8,8] x")["x"]
    assert signed.min() < -120
    assert signed.max() > 120


def test_pixels_get_the_range_and_two_take_turns() -> None:
    plain = samples(CONVOLUTION, 4, 0, H=8, W=8).take(everything(4)).inputs["x"]
    both = synthetic(CONVOLUTION, infer(CONVOLUTION, None, {"H": 8, "W": 8}), 4, 0, RangeChoice((SIGNED, IMAGENET)))
    found = both.take(everything(4)).inputs["x"]
    np.testing.assert_allclose(found[[0, 2]], 2 * plain[[0, 2]] - 1, atol=1e-5)
    np.testing.assert_allclose(found[[1, 3]], IMAGENET.applied(plain[[1, 3]], 1), atol=1e-5)


def test_images_of_either_layout_are_the_same() -> None:
    first, last = made("float[N,3,8,9] x")["x"], made("float[N,8,9,3] x")["x"]
    np.testing.assert_array_equal(last, first.transpose(0, 2, 3, 1))


def test_masks_and_lengths_agree() -> None:
    batch = made("int64[N,20] ids_mask", "bool[N,20] padding", "int64[N] lengths", "float[N,20,8] x")
    filled = batch["ids_mask"].sum(axis=1)
    assert (np.diff(batch["ids_mask"], axis=1) <= 0).all()  # ones, then zeros
    assert 5 < (filled == 20).sum() < 25
    assert filled.min() >= 10
    np.testing.assert_array_equal(batch["padding"], batch["ids_mask"] == 0)
    np.testing.assert_array_equal(batch["lengths"], filled)


def test_a_mask_that_is_added_to_scores_is_zero_or_far_below() -> None:
    text = "(float[N,1,1,6] mask, float[N,2,6,6] s) => (float y) { r = Relu(s) a = Add(r, mask) y = Softmax(a) }"
    mask = samples(in_memory(model(text)), 20).take(everything(20)).inputs["mask"]
    assert set(np.unique(mask)) == {-1e4, 0}
    assert (mask[..., 0] == 0).all()


def test_positions_count_and_stay_within_their_table() -> None:
    text = "(int64[N,9] position_ids) => (float y) <float[6,4] w> { y = Gather(w, position_ids) }"
    found = samples(in_memory(model(text)), 2).take(everything(2)).inputs["position_ids"]
    np.testing.assert_array_equal(found, [[0, 1, 2, 3, 4, 5, 5, 5, 5]] * 2)


def test_tokens_stay_within_their_table() -> None:
    text = "(int64[N,40] ids) => (float y) <float[11,4] w> { y = Gather(w, ids) }"
    found = samples(in_memory(model(text)), 40).take(everything(40)).inputs["ids"]
    assert set(np.unique(found)) == set(range(11))


def test_segments_are_a_first_sentence_and_a_second() -> None:
    found = made("int64[N,20] token_type_ids")["token_type_ids"]
    assert (np.diff(found, axis=1) >= 0).all()
    assert set(np.unique(found)) == {0, 1}
    assert (found[:, 0] == 0).any()


def test_sizes_are_those_of_the_image_beside_them() -> None:
    batch = made("float[N,3,16,24] image", "int64[N,2] orig_sizes", "float[N,2] scale_factor", "float[N,3] im_shape")
    np.testing.assert_array_equal(batch["orig_sizes"], [[16, 24]] * 30)
    np.testing.assert_array_equal(batch["scale_factor"], np.ones((30, 2)))
    np.testing.assert_array_equal(batch["im_shape"], [[16, 24, 1]] * 30)


def test_features_that_the_graph_normalises_have_the_mean_and_deviation_that_it_takes_off() -> None:
    text = """(float[N,3] x) => (float y) <float[3] m = {100, -5, 0}, float[3] d = {10, 2, 0.5}, float[3,4] w> {
        c = Sub(x, m) n = Div(c, d) y = MatMul(n, w) }"""
    found = samples(in_memory(model(text)), 2000).take(everything(2000)).inputs["x"]
    np.testing.assert_allclose(found.mean(axis=0), [100, -5, 0], atol=1)
    np.testing.assert_allclose(found.std(axis=0), [10, 2, 0.5], rtol=0.1)


def test_caches_are_small_and_times_are_steps() -> None:
    batch = made("float[N,2,7,4] past_key", "float[N] timestep", "int64[N] step")
    assert 0.05 < batch["past_key"].std() < 0.2
    assert 0 <= batch["timestep"].min() < 300
    assert 700 < batch["timestep"].max() < 1000
    assert batch["step"].max() > 100


def test_a_fixed_batch_does_not_matter() -> None:
    fixed = in_memory(model("(float[4,3,6,6] x) => (float y) <float[8,3,3,3] w> { y = Conv(x, w) }"))
    assert samples(fixed, 10).take(everything(10)).inputs["x"].shape == (10, 3, 6, 6)


def test_samples_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.data.synthetic.dataset.REMEMBERED", 3 * 4 * 3 * 8 * 8)
    dataset = samples(CONVOLUTION, 9, H=8, W=8)
    first = dataset.take(everything(9)).inputs["x"]
    assert len(dataset.remembered) == 3
    np.testing.assert_array_equal(dataset.take(everything(9)).inputs["x"], first)


def test_no_samples_are_none() -> None:
    with pytest.raises(UsageError, match="0 samples are none"):
        samples(CONVOLUTION, 0)


def test_positions_go_on_behind_a_cache() -> None:
    batch = made("int64[N,4] position_ids", "int64[N,7] attention_mask", "float[N,2,3,4] past_key", count=2)
    np.testing.assert_array_equal(batch["position_ids"], [[3, 4, 5, 6]] * 2)


def test_nothing_is_padded_behind_a_cache() -> None:
    batch = made("int64[N,20] ids_mask", "float[N,2,4,8] past_key")
    assert batch["ids_mask"].all()
