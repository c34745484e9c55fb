"""What is off in single precision and not in double is rounding; what is off in both is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from compressor.core.compare import Tolerance
from compressor.pruning.proofs.outputs.double import IN_DOUBLE, judged_in_double
from compressor.pruning.proofs.outputs.evidence import Evidence, NotProved
from compressor.pruning.proofs.outputs.standard import Standard
from compressor.runtime.stored import Runs, Stored
from tests.models import in_memory, model

PLAIN = (
    "(float[n,8] x) => (float[n,4] y) <float[8,6] w, float[6,4] v> { a = MatMul(x, w)  b = Selu(a)  y = MatMul(b, v) }"
)
PICKED = """(float[n,80] x) => (float[n,4] y) <float[80,80] w> { a = MatMul(x, w)  b = Shape<end=1>(x)
    k = Constant<value_ints=[70,1,79,0]>()  o = Constant<value_ints=[1]>()  r = Concat<axis=0>(b, o)
    i = Expand(k, r)  y = GatherElements<axis=1>(a, i) }"""
FOREIGN = "(float[3,4,4] x) => (float[3,4,4] y) <float[4,4] w> { a = MatMul(x, w)  y = com.microsoft.Inverse(a) }"
STRICT = Tolerance(1e-4, by_channel=True)


def off(text: str, folder: Path, factor: float, shape: tuple[int, ...] = (3, 8)) -> tuple[ir.Model, Standard, Evidence]:
    """A model, its outputs, and what is found of outputs that are larger by a factor."""
    made = in_memory(model(text, domains=("com.microsoft",)))
    feed = {"x": np.random.default_rng(0).standard_normal(shape, np.float32)}
    runs = Stored.write(made, folder, "cpu").run([feed])
    standard = Standard(runs, STRICT)
    larger = Runs(runs.names, runs.feeds, [[array * np.float32(factor) for array in row] for row in runs.outputs])
    evidence = Evidence.of(standard, larger).with_missing([NotProved("w", "as it was")])
    assert not evidence.passed
    return made, standard, evidence


@pytest.mark.parametrize(("text", "width"), [(PLAIN, 8), (PICKED, 80)])
def test_what_doubles_do_not_show_is_rounding(text: str, width: int, tmp_path: Path) -> None:
    made, standard, evidence = off(text, tmp_path, 1.001, (3, width))
    found, allowed = judged_in_double(evidence, standard, made, made.clone())
    assert found.passed
    assert found.note == IN_DOUBLE.format(outputs="output 'y'")
    assert [item.group for item in found.not_proved] == ["w"]
    assert evidence.runs is not None
    further = [[array * np.float32(1.001) for array in row] for row in evidence.runs.outputs]
    assert not allowed.met_by(replace(evidence.runs, outputs=further)), "no more than that is allowed"


def test_what_doubles_show_is_a_fault(tmp_path: Path) -> None:
    made, standard, evidence = off(PLAIN, tmp_path, 1.001)
    wrong = made.clone()
    tensor = wrong.graph.initializers["v"].const_value
    assert tensor is not None
    wrong.graph.initializers["v"].const_value = ir.tensor(tensor.numpy() * np.float32(1.001), name="v")
    assert judged_in_double(evidence, standard, made, wrong) == (evidence, standard)


@pytest.mark.parametrize("factor", [1.0, 1.2])
def test_what_hardly_was_compared_is_proved_or_a_fault(factor: float, tmp_path: Path) -> None:
    """A logistic function of hugely negative numbers lies on a few steps, among which rounding hides a wrong weight."""
    made = in_memory(model(PLAIN.replace("y = MatMul(b, v)", "l = MatMul(b, v)  d = Sub(l, far)  y = Sigmoid(d)")
                           .replace("float[6,4] v", "float[6,4] v, float[1] far")))  # fmt: skip
    made.graph.initializers["far"].const_value = ir.tensor(np.asarray([16.0], np.float32), name="far")
    other = made.clone()
    tensor = other.graph.initializers["v"].const_value
    assert tensor is not None
    other.graph.initializers["v"].const_value = ir.tensor(tensor.numpy() * np.float32(factor), name="v")
    feed = {"x": np.random.default_rng(0).standard_normal((3, 8), np.float32)}
    runs = [Stored.write(each, tmp_path, "cpu").run([feed]) for each in (made, other)]
    wide = [[np.full(array.shape, 1e-5) for array in row] for row in runs[0].outputs]
    standard = Standard(runs[0], STRICT, noise=wide)
    evidence = Evidence.of(standard, runs[1])
    assert evidence.passed
    assert [item.group for item in evidence.not_proved] == ["y"]
    found, _ = judged_in_double(evidence, standard, made, other)
    assert (found.passed, found.not_proved) == (factor == 1.0, [])


def test_what_cannot_be_computed_stays_as_it_was(tmp_path: Path) -> None:
    made, standard, evidence = off(FOREIGN, tmp_path, 1.001, (3, 4, 4))
    assert judged_in_double(evidence, standard, made, made.clone()) == (evidence, standard)


def test_what_passed_is_not_asked_again(tmp_path: Path) -> None:
    made, standard, _ = off(PLAIN, tmp_path, 2.0)
    passed = Evidence.of(standard, replace(standard.runs))
    assert judged_in_double(passed, standard, made, made) == (passed, standard)
