"""Made-up images moved towards classes: surer, of more classes, within the range of pixels; others as they were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compressor.data.synthetic import Synthetic, sample_shapes, synthetic
from compressor.data.synthetic.pixel_range import SIGNED, RangeChoice
from compressor.runtime import sessions
from compressor.train.gradients import sharpening
from compressor.train.gradients.sharpening import sharpened
from tests.models import in_memory, model

NET = """
    (float[%s,3,12,12] x) => (float[%s,5] logits) <float[8,3,3,3] w, float[5,8] v> {
        a = Conv<pads=[1,1,1,1]>(x, w)  b = Relu(a)  c = GlobalAveragePool(b)  d = Flatten(c)
        logits = Gemm<transB=1>(d, v) }"""


def case(text: str, count: int = 40) -> tuple[object, Synthetic]:
    found = in_memory(model(text))
    return found, synthetic(found, sample_shapes(found, None, None), count, 0, RangeChoice((SIGNED,)))


def surest(found: object, samples: Synthetic) -> tuple[np.ndarray, np.ndarray]:
    """The surest class of every sample, and the log of how sure."""
    with sessions.opened(found, "cpu") as session:
        scores = sessions.run_session(session, samples.take(np.arange(len(samples))).inputs)[0].astype(np.float64)
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return logs.argmax(axis=1), logs.max(axis=1)


def test_surer_of_more_classes_within_the_range():
    found, before = case(NET % ("n", "n"))
    after = sharpened(found, before, len(before))
    assert surest(found, after)[1].mean() > surest(found, before)[1].mean()
    assert len(set(surest(found, after)[0])) >= len(set(surest(found, before)[0]))
    pixels, drawn = (one.take(np.arange(len(before))).inputs["x"] for one in (after, before))
    assert np.abs(pixels).max() <= 1
    assert 0.01 < np.abs(pixels - drawn).mean() < 0.3


def test_only_as_many_as_are_asked_for_and_the_same_every_time():
    found, before = case(NET % ("n", "n"))
    after = sharpened(found, before, 10)
    assert sorted(after.sharpened) == list(range(10))
    assert np.array_equal(after.take(np.arange(10, 40)).inputs["x"], before.take(np.arange(10, 40)).inputs["x"])
    again = sharpened(found, before, 10)
    assert np.array_equal(after.take(np.arange(10)).inputs["x"], again.take(np.arange(10)).inputs["x"])
    assert not after.renewed().sharpened


def test_a_fixed_batch_takes_whole_batches():
    found, before = case(NET % (4, 4))
    assert len(sharpened(found, before, 10).sharpened) == 8
    assert sharpened(found, before, 3) is before


def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """How many samples go through the module at a time from now on, and in which type."""
    seen: list[tuple[int, str]] = []
    moved = sharpening._moved

    def watched(module, batch, inputs, form, rng):
        types = {str(t.dtype) for t in module.parameters()}
        seen.append((len(batch["x"]), *types))
        return moved(module, batch, inputs, form, rng)

    monkeypatch.setattr(sharpening, "_moved", watched)
    return seen


def test_a_batch_that_nothing_in_the_graph_depends_on_is_no_limit(monkeypatch):
    seen = ran(monkeypatch)
    found, before = case(NET % (1, 1))
    after = sharpened(found, before, 40)
    assert [count for count, _ in seen] == [40]
    assert surest(case(NET % ("n", "n"))[0], after)[1].mean() > surest(case(NET % ("n", "n"))[0], before)[1].mean()
    seen.clear()
    tied = NET.replace("d = Flatten(c)", "k = Constant<value_ints=[1,8]>()  d = Reshape(c, k)") % (1, 1)
    assert len(sharpened(*case(tied), 5).sharpened) == 5
    assert [count for count, _ in seen] == [1] * 5


def test_16_bits_are_moved_in_32_and_rounded(monkeypatch):
    seen = ran(monkeypatch)
    found, before = case((NET % ("n", "n")).replace("float[", "float16["))
    after = sharpened(found, before, 40)
    assert [kind for _, kind in seen] == ["torch.float32"]
    assert {array.dtype for sample in after.sharpened.values() for array in sample.values()} == {np.dtype(np.float16)}
    assert surest(found, after)[1].mean() > surest(found, before)[1].mean()


@pytest.mark.parametrize("output", ["float[n,8,12,12] y", "int64[n,1,12,12] y"])
def test_what_gives_no_scores_stays_as_it_is(output):
    node = "y = Relu(a)" if output.startswith("float") else "y = ArgMax<axis=1>(a)"
    found, before = case(
        f"(float[n,3,12,12] x) => ({output}) <float[8,3,3,3] w> {{ a = Conv<pads=[1,1,1,1]>(x, w)  {node} }}"
    )
    assert sharpened(found, before, 8) is before


def test_sequences_are_no_scores():
    text = """(float[n,3,12,12] x) => (float[n,8,12,12] y, seq(float[n,8,12,12]) s) <float[8,3,3,3] w> {
        a = Conv<pads=[1,1,1,1]>(x, w)  y = Relu(a)  s = SequenceConstruct(y) }"""
    found, before = case(text)
    assert sharpened(found, before, 8) is before


def test_no_pixels_no_change():
    text = "(float[n,6] x) => (float[n,3] logits) <float[6,3] w> { logits = MatMul(x, w) }"
    found, before = case(text)
    assert sharpened(found, replace(before), 8).sharpened == {}
