"""Cleaning a file: what the report says beside the numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from compressor.commands.clean import clean_file
from compressor.config import CleanSettings
from compressor.errors import (
    NothingToProve,
)
from tests.commands.file_case import DIGITS, digits, files_in, good, images, run, written
from tests.models import between, model


def test_a_file_that_grew_says_why(tmp_path: Path) -> None:
    dead = " ".join(f"d{k} = Sigmoid(x)" for k in range(200))
    for name, more in {"small": "", "large": dead}.items():
        onnx.save(model(f"(float[n,4] x) => (float[n,4] y) {{ {more} y = Relu(x) }}"), tmp_path / f"{name}.onnx")
        report = clean_file(tmp_path / f"{name}.onnx", tmp_path / "out.onnx", CleanSettings())
        assert any("more than before" in said for said in report.warnings) == (name == "small")


def test_a_file_that_grew_names_what_it_gained(tmp_path: Path) -> None:
    body = "".join(f"a{k + 1} = Sigmoid(a{k}) " for k in range(40))
    calls = "".join(f"y{k + 1} = local.f(y{k}) " for k in range(5))
    opsets = 'opset_import: ["" : 18, "local" : 1]'
    function = f'<domain: "local", {opsets}> f (a0) => (a40) {{ {body} }}'
    called = f"<ir_version: 10, {opsets}> g (float[n,4] y0) => (float[n,4] y5) {{ {calls} }} {function}"
    computed = f"""<ir_version: 10, {opsets}> g (float[n,16] x) => (float[n,16] y) <int64[1] s = {{16}}> {{
        c = ConstantOfShape(s)  e = Exp(c)  y = Add(x, e) }}"""
    told = {"called": "functions, whose nodes stand wherever they are called", "computed": "B of constants that nodes"}
    for name, text in {"called": called, "computed": computed}.items():
        onnx.save(onnx.parser.parse_model(text), tmp_path / f"{name}.onnx")
        [said] = clean_file(tmp_path / f"{name}.onnx", tmp_path / "out.onnx", CleanSettings()).warnings
        assert [which for which, words in told.items() if words in said] == [name]


def test_clean(tmp_path: Path) -> None:
    source = written(tmp_path, between("c = Identity(a)  b = Relu(c)  dead = Neg(a)"))
    report = clean_file(source, tmp_path / "out.onnx", CleanSettings())
    assert files_in(tmp_path) == {"in.onnx", "out.onnx"}
    assert report.output is not None
    assert (report.input.nodes, report.output.nodes) == (6, 4)
    assert report.input.params == report.output.params
    assert report.proof is not None
    assert report.proof.passed
    assert not report.proof.masked_statistics
    x = np.random.default_rng(0).standard_normal((3, 4, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(run(tmp_path / "out.onnx", x), run(source, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DIGITS)
def test_clean_a_trained_network(name: str, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    clean_file(digits(name), output, CleanSettings())
    np.testing.assert_allclose(run(output, images(5)), run(digits(name), images(5)), rtol=1e-4, atol=1e-4)


def test_clean_without_output_writes_nothing(tmp_path: Path) -> None:
    source = good(tmp_path)
    report = clean_file(source, None, CleanSettings())
    assert files_in(tmp_path) == {"in.onnx"}
    assert report.output is not None
    assert report.output.path is None


def test_sequences_cannot_be_made_up(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]> g (seq(float[n,4]) x) => (float[k,4] y) {
        c = ConcatFromSequence<axis=0>(x)  d = Identity(c)  y = Relu(d) }"""
    path, output = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    with pytest.raises(NothingToProve, match=r"input 'x' is no tensor.*--no-verify"):
        clean_file(path, output, CleanSettings())
    assert not output.exists()
    clean_file(path, output, CleanSettings(verify=False))
    assert len(onnx.load(output).graph.node) == 2


def test_left_out_inputs_at_the_end_do_not_end_the_process(tmp_path: Path) -> None:
    """ONNX Runtime dies of an Add and a LayerNormalization whose bias is an empty name."""
    proto = model("(float[n,t,8] x) => (float[n,t,8] y) <float[8] w, float[8] s> { a = Add(x, w)  "
                  "y = LayerNormalization(a, s) }")  # fmt: skip
    proto.graph.node[1].input.append("")
    path, output = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(proto, path)
    assert clean_file(path, output, CleanSettings()).proof is not None
    assert [len(node.input) for node in onnx.load(output).graph.node] == [2, 2]
