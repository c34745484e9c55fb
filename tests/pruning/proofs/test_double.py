"""What is off in single precision and not in double is rounding; what is off in both is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from compressor.core.compare import Tolerance
from compressor.pruning.proofs.double import IN_DOUBLE, judged_in_double
from compressor.pruning.proofs.evidence import Evidence, NotProved
from compressor.pruning.proofs.standard import Standard
from compressor.runtime.stored import Runs, Stored
from tests.models import in_memory, model

PLAIN = (
    "(float[n,8] x) => (float[n,4] y) <float[8,6] w, float[6,4] v> { a = MatMul(x, w)  b = Selu(a)  y = MatMul(b, v) }"
)
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


def test_what_doubles_do_not_show_is_rounding(tmp_path: Path) -> None:
    made, standard, evidence = off(PLAIN, tmp_path, 1.001)
    found, allowed = judged_in_double(evidence, standard, made, made.clone())
    assert found.passed
    assert found.note == IN_DOUBLE
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


def test_what_cannot_be_computed_stays_as_it_was(tmp_path: Path) -> None:
    made, standard, evidence = off(FOREIGN, tmp_path, 1.001, (3, 4, 4))
    assert judged_in_double(evidence, standard, made, made.clone()) == (evidence, standard)


def test_what_passed_is_not_asked_again(tmp_path: Path) -> None:
    made, standard, _ = off(PLAIN, tmp_path, 2.0)
    passed = Evidence.of(standard, replace(standard.runs))
    assert judged_in_double(passed, standard, made, made) == (passed, standard)
