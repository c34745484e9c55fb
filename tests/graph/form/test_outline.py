"""Local functions that stay, and those that are inlined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.commands.prune import prune
from compressor.commands.prune_file import prune_file
from compressor.config import PruneSettings
from compressor.errors import ProofFailed, UsageError
from compressor.graph.form.normalise import normalise
from compressor.graph.form.outline import keep_functions
from compressor.runtime.stored import run_once

TEXT = """<ir_version: 10, opset_import: ["" : 18, "my" : 1]>
g (float[B,8] x) => (float[B,4] y) <float[8,16] w, float[16,16] u, float[16,4] v> {
  a = MatMul(x, w)  b = my.swish(a)  c = my.layer(b, u)  d = my.swish(c)  e = MatMul(d, v)  y = my.scaled<k=2>(e) }
<domain: "my", opset_import: ["" : 18]> swish (x) => (y) { s = Sigmoid(x)  y = Mul(x, s) }
<domain: "my", opset_import: ["" : 18]> layer (x, w) => (y) { m = MatMul(x, w)  y = my.inner(m) }
<domain: "my", opset_import: ["" : 18]> inner (x) => (y) { y = Relu(x) }
<domain: "my", opset_import: ["" : 18]> scaled <k> (x) => (y) {
  k = Constant<value_int: int = @k>()  t = Tanh(x)
  c = Constant<value = float[4] {1.0, 2.0, 3.0, 4.0}>()  f = CastLike(k, t)  z = Mul(t, c)  y = Mul(z, f) }
"""
TEXT = TEXT.replace(
    '<domain: "my", opset_import: ["" : 18]> layer', '<domain: "my", opset_import: ["" : 18, "my" : 1]> layer'
)


@pytest.fixture
def proto() -> onnx.ModelProto:
    found = onnx.parser.parse_model(TEXT)
    rng = np.random.default_rng(0)
    for info in found.graph.value_info:
        sizes = [d.dim_value for d in info.type.tensor_type.shape.dim]
        found.graph.initializer.append(
            onnx.numpy_helper.from_array(rng.standard_normal(sizes).astype(np.float32), info.name)
        )
    del found.graph.value_info[:]
    return found


def calls(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph if node.domain == "my"]


def test_functions_stay_around_a_cut(proto: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(proto, tmp_path / "in.onnx")
    settings = PruneSettings(ratio=0.5, round_to=1, keep_functions=True)
    result = prune_file(tmp_path / "in.onnx", tmp_path / "out.onnx", settings)
    assert calls(result.model) == ["swish", "layer", "swish", "scaled"]
    assert sorted(f.name for f in onnx.load(tmp_path / "out.onnx").functions) == ["inner", "layer", "scaled", "swish"]
    assert result.report.warnings == []
    assert result.report.output is not None
    assert result.report.output.params < 0.6 * result.report.input.params
    plain = prune(tmp_path / "in.onnx", settings.model_copy(update={"keep_functions": False}))
    feed = {"x": np.float32([[1, 2, -3, 4, 5, -6, 7, 8]])}
    one, two = (run_once(model, [feed], "cpu").outputs[0][0] for model in (result.model, plain.model))
    np.testing.assert_allclose(one, two, rtol=1e-5)


@pytest.mark.parametrize("recover", ["none", "bias"])
def test_functions_that_come_back_as_others_fail_the_proof(
    proto: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recover: str
) -> None:
    onnx.save(proto, tmp_path / "in.onnx")
    asked = {"ratio": 0.5, "round_to": 1, "keep_functions": True, "recover": recover, "samples": 64}

    def wrong(model: ir.Model, prepared: ir.Model, source: ir.Model) -> list[str]:
        said = keep_functions(model, prepared, source)
        for function in model.functions.values():
            for node in function:
                node.op_type = "Sigmoid" if node.op_type == "Tanh" else node.op_type
        return said

    # By its full name, as the module is called like the function in it.
    monkeypatch.setattr("compressor.steps.prune.functions.keep_functions", wrong)
    with pytest.raises(ProofFailed):
        prune(tmp_path / "in.onnx", PruneSettings.parse(asked))


def stages(proto: onnx.ModelProto) -> tuple[ir.Model, ir.Model, ir.Model]:
    """The model with functions, the prepared graph, and a copy of it to be changed."""
    source = ir.from_proto(proto)
    prepared = normalise(source.clone())
    return source, prepared, prepared.clone()


def edited(source: ir.Model, name: str) -> tuple[list[str], list[str]]:
    """What is said, and which calls are left, after the constant of this name was changed in the new graph."""
    prepared = normalise(source.clone())
    model = prepared.clone()
    for value in model.graph.initializers.values():
        if value.name == name and value.const_value is not None:
            value.const_value = ir.tensor(value.const_value.numpy() * 2, name=name)
    return keep_functions(model, prepared, source), calls(model)


def test_a_function_whose_constant_changed_is_inlined(proto: onnx.ModelProto) -> None:
    source = ir.from_proto(proto)
    assert edited(source, "w") == ([], ["swish", "layer", "swish", "scaled"]), "a weight that is handed in"
    constant = next(
        str(v.name) for v in normalise(source.clone()).graph.initializers.values()
        if v.const_value is not None and v.const_value.shape == (4,)
    )  # fmt: skip
    told, left = edited(source, constant)
    assert left == ["swish", "layer", "swish"]
    assert told == [f"function 'scaled' is inlined: the cut changes {constant!r} in it"]


def test_a_function_is_kept_in_all_calls_or_none(proto: onnx.ModelProto) -> None:
    source, prepared, model = stages(proto)
    node = next(n for n in model.graph if n.op_type == "Sigmoid")
    node.op_type = "Tanh"
    told = keep_functions(model, prepared, source)
    assert calls(model) == ["layer", "scaled"]
    assert told == [f"function 'swish' is inlined: the cut changes node {node.name!r} in it"]


def test_a_node_that_reads_something_else_is_no_body_any_more(proto: onnx.ModelProto) -> None:
    source, prepared, model = stages(proto)
    product = next(n for n in model.graph if n.op_type == "Mul")
    product.replace_input_with(1, product.inputs[0])
    told = keep_functions(model, prepared, source)
    assert "swish" not in calls(model)
    assert "is inlined" in told[0]


def test_several_files_have_no_functions() -> None:
    with pytest.raises(UsageError, match="--keep-functions is for a model of one file"):
        PruneSettings.parse({"keep_functions": True, "also": "other.onnx"})


HALVES = """<ir_version: 10, opset_import: ["" : 18, "my" : 1]>
g (float[B,8] x) => (float[B,4] y) { h = my.upper(x)  y = Relu(h) }
<domain: "my", opset_import: ["" : 18]> upper (x) => (y) { a, b = Split<axis=1, num_outputs=2>(x)  y = Neg(b) }
"""


def test_another_result_of_the_same_node_is_something_else() -> None:
    source, prepared, model = stages(onnx.parser.parse_model(HALVES))
    assert keep_functions(prepared.clone(), prepared, source) == []
    split, negated = (next(n for n in model.graph if n.op_type == kind) for kind in ("Split", "Neg"))
    negated.replace_input_with(0, split.outputs[0])
    [told] = keep_functions(model, prepared, source)
    assert told.endswith("is another result of its node")
    assert calls(model) == []
