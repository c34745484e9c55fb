"""How much of a difference rounding explains is measured, and nothing more is allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from compressor.core.compare import Tolerance, distance, rounding_spread
from compressor.pruning.proofs.outputs.evidence import Evidence
from compressor.pruning.proofs.outputs.standard import (
    ANY_ORDER,
    HARDLY_COMPARED,
    Standard,
    nudged,
    nudges_of_weights,
    with_tolerance,
)
from compressor.pruning.proofs.runs.piecewise import ExternalWeights, Piecewise
from compressor.runtime.stored import Answers, Runnable, Stored
from tests.models import in_memory, model

STRICT = Tolerance(1e-4, by_channel=True)


def answers(source: ir.Model, folder: Path, x: np.ndarray) -> Answers:
    return Answers.of(Stored.write(source, folder, "cpu"), [{"x": x}])


def scaled(text: str, factor: float) -> ir.Model:
    """The model with its weight ``w`` scaled, as if it had been rounded (or was wrong)."""
    made = in_memory(model(text))
    tensor = made.graph.initializers["w"].const_value
    assert tensor is not None
    made.graph.initializers["w"].const_value = ir.tensor((tensor.numpy() * factor).astype(np.float32), name="w")
    return made


SATURATED = """(float[2,8] x) => (float y) <float[8,4] w, float[1] sbig> {
    l = MatMul(x, w)  p = Abs(l)  n = Neg(p)  far = Sub(n, sbig)  deep = Mul(far, far)  e = Neg(deep)  y = Exp(e) }"""
PLAIN = "(float[2,8] x) => (float y) <float[8,4] w> { y = MatMul(x, w) }"


def test_saturation_has_the_tolerance_that_it_needs(tmp_path: Path) -> None:
    x = np.full((2, 8), 7.0, np.float32)
    one, two = (answers(scaled(SATURATED, f), tmp_path, x) for f in (1.0, 1 + 3e-6))
    asked, runs = with_tolerance(one, two, STRICT)
    gap = distance(one.runs.outputs[0][0], two.runs.outputs[0][0], STRICT)
    assert not gap.passed, "the tolerance alone would not do"
    assert asked.met_by(runs)
    assert asked.noise
    far = answers(scaled(SATURATED, 1.05), tmp_path, x)
    asked, runs = with_tolerance(one, far, STRICT)
    assert not asked.met_by(runs)


TIED = """(float[64,8] x) => (float y) <float[8] v, int64[1] kept> {{
    axis = Constant <value_ints = [1]> ()  shape = Constant <value_ints = [-1]> ()  {scores}
    flat = Reshape(s, shape)  best, i = TopK(flat, kept)  n = Gather(x, i)  y = Mul(n, v) }}"""
ONE_WAY = "s = ReduceSum(x, axis)"
ANOTHER = "a, b = Split <axis = 1, num_outputs = 2> (x)  c = ReduceSum(b, axis)  d = ReduceSum(a, axis)  s = Add(c, d)"


@pytest.mark.parametrize("kept", [64, 61])
def test_rows_that_tie_are_compared_in_any_order(kept: int, tmp_path: Path) -> None:
    """As a detector's: which of some equal scores comes first, or is kept at all, is for rounding to say."""
    x = np.random.default_rng(0).standard_normal((64, 8), np.float32)
    # Scores of some come in fours that differ by rounding alone.
    scores = np.arange(64, dtype=np.float32)
    scores[:20] = np.repeat(np.arange(5, dtype=np.float32), 4)
    x[:, 7] = scores - x[:, :7].sum(axis=1)

    def sorted_by(scores: str, factor: float = 1.0) -> Answers:
        made = in_memory(model(TIED.format(scores=scores)))
        for name, array in {"v": np.full(8, factor, np.float32), "kept": np.asarray([kept])}.items():
            made.graph.initializers[name].const_value = ir.tensor(array, name=name)
        return answers(made, tmp_path, x)

    one = sorted_by(ONE_WAY)
    asked, runs = with_tolerance(one, sorted_by(ANOTHER), STRICT)
    assert not Standard(one.runs, STRICT).met_by(runs), "the tolerance alone would not do"
    assert asked.met_by(runs)
    assert ANY_ORDER in asked.note
    turned = [[np.roll(array, 1, axis=0) for array in row] for row in runs.outputs]
    assert not asked.met_by(replace(runs, outputs=turned)), "all rows are elsewhere"
    assert not asked.met_by(replace(runs, outputs=[[array[::-1] for array in row] for row in runs.outputs]))
    asked, runs = with_tolerance(one, sorted_by(ANOTHER, 1.01), STRICT)
    assert not asked.met_by(runs)


TOKENS = SATURATED.replace("float[2,8] x", "int64[2,3] x").replace("<float[8,4] w", "<float[10,8] w, float[8,4] v")
TOKENS = TOKENS.replace("l = MatMul(x, w)", "t = Gather(w, x)  l = MatMul(t, v)")
KINDS: dict[str, Callable[[ir.Model, Path], Runnable]] = {
    "whole": lambda made, folder: Stored.write(made, folder, "cpu"),
    "lent": ExternalWeights,
    "pieces": lambda made, folder: Piecewise(made, folder, "cpu"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_whole_numbers_have_no_last_bit_so_weights_are_moved(kind: str, tmp_path: Path) -> None:
    feed = {"x": np.asarray([[1, 7, 3], [2, 2, 9]])}
    one, two, far = (Answers.of(KINDS[kind](scaled(TOKENS, f), tmp_path), [feed]) for f in (9.0, 9.0 * (1 + 6e-6), 9.5))
    assert not distance(one.runs.outputs[0][0], two.runs.outputs[0][0], STRICT).passed, "the tolerance would not do"
    asked, runs = with_tolerance(one, two, STRICT)
    assert asked.met_by(runs)
    asked, runs = with_tolerance(one, far, STRICT)
    assert not asked.met_by(runs)
    again = one.stored.run([feed])
    np.testing.assert_array_equal(again.outputs[0][0], one.runs.outputs[0][0], "the model itself is left as it was")


COUNTED = """(float[2,8] x) => (float[2,4] y, float[u] z) <float[8,4] w> { y = MatMul(x, w)  z = Unique(y) }"""


def test_sizes_that_follow_from_rounding_are_not_compared(tmp_path: Path) -> None:
    x = np.full((2, 8), 7.0, np.float32)

    def of(last: float) -> Answers:
        made = in_memory(model(COUNTED))
        weights = np.ones((8, 4), np.float32)
        weights[:, -1] *= np.float32(last)
        made.graph.initializers["w"].const_value = ir.tensor(weights, name="w")
        return Answers.of(Stored.write(made, tmp_path, "cpu"), [{"x": x}])

    one, two, far = of(1.0), of(1 + 1.2e-7), of(1.1)
    assert one.runs.outputs[0][1].shape != two.runs.outputs[0][1].shape
    asked, runs = with_tolerance(one, two, STRICT, in_memory(model(COUNTED)))
    assert asked.met_by(runs)
    assert list(asked.left_out) == [1]
    asked, runs = with_tolerance(one, far, STRICT, in_memory(model(COUNTED)))
    assert not asked.met_by(runs)


@pytest.mark.parametrize("factor", [1 + 3e-4, 1.01, 2.0])
def test_what_rounding_does_not_explain_is_not_allowed(factor: float, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
    one, two = (answers(scaled(PLAIN, f), tmp_path, x) for f in (1.0, factor))
    asked, runs = with_tolerance(one, two, STRICT)
    assert not asked.met_by(runs)


def test_a_small_channel_is_not_hidden_by_a_huge_one() -> None:
    expected = np.asarray([[1e9, 1.0, -0.5], [2e9, -1.0, 0.3]], np.float32)
    wrong = expected.copy()
    wrong[:, 1] *= -1
    assert distance(expected, wrong, Tolerance(1e-4)).passed, "as a share of the whole"
    assert not distance(expected, wrong, STRICT).passed


def test_noise_is_by_channel_and_infinite_where_rounding_decides() -> None:
    base = np.asarray([[1.0, 5.0, np.nan], [2.0, 6.0, 1.0]], np.float32)
    other = np.asarray([[1.5, 5.0, 1.0], [2.0, 6.0, 1.0]], np.float32)
    np.testing.assert_array_equal(rounding_spread(base, [other]), [[0.5, 2.0**-23, np.inf]] * 2)
    found = np.asarray([[1.4, 5.0, 7.0], [2.0, 6.0, -3.0]], np.float32)
    gap = distance(base, found, STRICT, rounding_spread(base, [other]))
    assert gap.passed
    assert gap.compared == 4


def test_noise_of_integers_is_a_share() -> None:
    base = np.arange(10)
    turned = np.where(base == 3, 0, base)
    assert float(rounding_spread(base, [turned])) == pytest.approx(0.1)
    assert distance(base, turned, STRICT, np.asarray(0.1)).passed
    assert not distance(base, base + 1, STRICT, np.asarray(0.1)).passed


def test_what_stands_for_infinity_is_not_moved() -> None:
    least = float(np.finfo(np.float32).min)
    feed = {"mask": np.array([least, -least, -1e4, 0.5], np.float32)}
    for [moved] in nudged([feed]):
        assert moved["mask"][:2].tolist() == [least, -least]
        assert (moved["mask"][2:] != feed["mask"][2:]).all()


def test_an_output_that_rounding_moves_as_far_as_it_goes_is_not_called_proved(tmp_path: Path) -> None:
    """A logistic function of hugely negative numbers: a few steps of its grid, and a swap is among them."""
    text = (
        "(float[2,8] x) => (float y) <float[8,4] w, float[1] far> { l = MatMul(x, w)  d = Sub(l, far)  y = Sigmoid(d) }"
    )
    x = np.random.default_rng(0).standard_normal((2, 8), np.float32) / 4

    def behind(far: float, factor: float) -> Answers:
        made = scaled(text, factor)
        made.graph.initializers["far"].const_value = ir.tensor(np.asarray([far], np.float32), name="far")
        return answers(made, tmp_path, x)

    asked, runs = with_tolerance(behind(16.0, 1.0), behind(16.0, 1.2), STRICT)
    found = Evidence.of(asked, runs)
    assert not found.passed or [item.group for item in found.not_proved] == ["y"]
    assert HARDLY_COMPARED[:24] in str(asked.hardly_compared)
    asked, runs = with_tolerance(behind(4.0, 1.0), behind(4.0, 1.0 + 1e-6), STRICT)
    assert asked.met_by(runs)
    assert not asked.hardly_compared


STEPS = """(float[n,64] x) => (float[n,64] y) <float[1] near = {%s}> {
    a = Mul(x, near)  b = Round(a)  y = Add(b, x) }"""


def test_a_step_that_stands_still_under_a_last_bit_is_rounding_all_the_same(tmp_path: Path) -> None:
    """Numbers a few last bits below a half are rounded up by one of two models that mean the same."""
    half = np.float32(0.5)
    x = np.full((1, 64), half)
    for _ in range(6):
        x = np.nextafter(x, np.float32(0))
    one, other, wrong = (answers(in_memory(model(STEPS % near)), tmp_path, x) for near in (1, 1.000001, 3))
    assert not Standard(one.runs, STRICT).met_by(other.runs)
    standard, runs = with_tolerance(one, other, STRICT)
    assert standard.met_by(runs)
    standard, runs = with_tolerance(one, wrong, STRICT)
    assert not standard.met_by(runs)


def test_sizes_are_no_weights_that_move() -> None:
    text = """(float[1,2,4,4] x) => (float[1,2,8,8] y) <float[4] scales = {1,1,2,2}, float[2,1,1] w> {
        a = Mul(x, w)  y = Resize<mode="cubic">(a, , scales) }"""
    source = in_memory(model(text))
    moved = nudges_of_weights(16)[0](source).graph.initializers
    for name, same in (("scales", True), ("w", False)):
        before = source.graph.initializers[name].const_value
        assert np.array_equal(moved[name].const_value.numpy(), before.numpy()) == same
