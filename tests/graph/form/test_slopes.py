"""A PRelu whose slope is broader than its input: ONNX Runtime runs it, though ONNX forbids it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from compressor.commands.prune_file import prune_file
from compressor.config import PruneSettings
from compressor.graph.disk.files import load_model
from compressor.graph.form.normalise import normalise
from compressor.graph.form.slopes import widen_operands
from compressor.operators.sizes import infer
from compressor.runtime.stored import run_once
from tests.models import in_memory, model

TEXT = "(float[n,4] x, float[m,1] z) => (float[k,l] y) <SLOPE> { a = Neg(x)  y = PRelu(a, s) }"


@pytest.mark.parametrize(
    ("slope", "broad"),
    [("float s", False), ("float[4] s", False), ("float[1,1] s", False), ("float[1,4] s", False),
     ("float[3,4] s", True), ("float[1,1,4] s", True)],
)  # fmt: skip
def test_an_operand_gets_the_sizes_of_a_broader_slope(slope: str, broad: bool) -> None:
    read = normalise(in_memory(model(TEXT.replace("SLOPE", slope), checked=False)))
    assert widen_operands(read, infer(read)) is broad
    assert [node.op_type for node in read.graph] == ["Neg", *["Shape", "Expand"] * broad, "PRelu"]
    # Nothing is broader than what was made as broad.
    assert not widen_operands(read, infer(read))


def test_a_slope_that_comes_from_outside_may_be_broader() -> None:
    read = normalise(in_memory(model(TEXT.replace("<SLOPE>", "").replace("a, s", "a, z"), checked=False)))
    assert widen_operands(read, infer(read))


def test_a_broader_slope_is_pruned_around(tmp_path: Path) -> None:
    """The layer that lost channels wrote as many numbers as PRelu's input has, and the two shared their memory."""
    proto = model("""(float[n,8] x) => (float[n,4] y) <float[8,6] w, float[6,4] v, float[4,4] s, float[4,4] b> {
        a = MatMul(x, w)  h = MatMul(a, v)  p = PRelu(h, s)  y = Add(p, b) }""", checked=False)  # fmt: skip
    path, output = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(proto, path)
    report = prune_file(path, output, PruneSettings(ratio=0.3, round_to=2)).report
    assert report.proof is not None
    assert report.proof.passed
    for batch in (1, 4):
        feed = {"x": np.ones((batch, 8), np.float32)}
        assert run_once(load_model(output), [feed], "cpu").outputs[0][0].shape == (4, 4)
