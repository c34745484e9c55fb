from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compressor.commands import bench
from compressor.commands.clean import clean_file
from compressor.commands.inspect import inspect_file
from compressor.commands.unify import unify, unify_file
from compressor.config import BenchSettings, CleanSettings, PruneSettings, UnifySettings
from compressor.errors import ModelError, NothingToPrune, ProofFailed, UsageError
from compressor.graph.disk import files
from compressor.graph.form.restore_packed import restore
from compressor.steps import unify as steps
from compressor.steps.unify import UNIFIED_ALREADY
from compressor.train import GraphModule
from compressor.unification import packed, unpack
from tests import models
from tests.train.case import difference, run_module

DIGITS = Path(__file__).parents[2] / "models" / "digits-resnet.onnx"
NET = """
    (float[n,8,6,6] x) => (float[n,k,c,d] y)
    <float[16,8,3,3] first, float[16,16,3,3] w, float[16] b, float[16,1,3,3] deep, float[12,16,1,1] v,
     float[4,12,1,1] last> {
        a = Conv<pads=[1,1,1,1]>(x, first)
        c = Conv<pads=[1,1,1,1]>(a, w, b)      r = Relu(c)
        d = Conv<pads=[1,1,1,1], group=16>(r, deep)
        e = Conv(d, v)
        y = Conv(e, last) }"""


def net(**options: Any) -> ir.Model:
    return models.in_memory(models.model(NET, **options))


def chosen(model: ir.Model, **settings: Any) -> UnifySettings:
    return UnifySettings.parse({"min_weights": 16, **settings})


def outcome(model: ir.Model, **settings: Any) -> unify.UnifyResult:
    return unify(model, chosen(model, **settings))


def reasons(result: unify.UnifyResult) -> dict[str, str]:
    return {row.name: row.reason for row in result.report.left}


def session(model: ir.Model | Path, tmp_path: Path, *, optimised: Path | None = None) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    if optimised is not None:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(optimised)
    path = model if isinstance(model, Path) else tmp_path / "session.onnx"
    if isinstance(model, ir.Model):
        ir.save(model, path)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


# ---- which weights ------------------------------------------------------------------------------------------


def test_the_ends_depthwise_kernels_and_biases_are_left_alone_with_reasons() -> None:
    result = outcome(net())
    assert [row.name for row in result.report.layers] == ["w", "v"]
    assert reasons(result) == {
        "first": "it is in the first layer",
        "last": "it is in the last layer",
        "deep": "each filter sees one input channel (depthwise), or none",
        "b": "it is no weight of a linear operator",
    }


def test_settings_choose_the_weights() -> None:
    assert [r.name for r in outcome(net(), all_layers=True).report.layers] == ["first", "w", "v", "last"]
    assert [r.name for r in outcome(net(), exclude=("w",)).report.layers] == ["v"]
    assert [r.name for r in outcome(net(), include=("Conv_0",)).report.layers] == ["first"], "by the node's name"
    assert reasons(outcome(net(), min_weights=1000))["v"] == "it has fewer than 1000 weights"
    deep = outcome(net(), layer_block=["deep=kernel", "w=1x8"])
    assert {r.name: r.block for r in deep.report.layers} == {"deep": "1x1x9", "w": "1x8x1", "v": "4x4x1"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"exclude": ("wx*",)}, "'wx\\*' matches no weight"),
        ({"layer_block": ["w=99x1"]}, "block 99x1 is larger than weight 'w' \\(16x16x9\\); choose another block"),
        ({"layer_block": ["v=1x1x*"]}, "block 1x1x\\* holds a single weight of weight 'v'"),
    ],
)
def test_choices_that_fit_nothing_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        outcome(net(), **values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"block": "64x64"}, "no weight can be unified; the main reason, of . of 6: block 64x64 is"),
        ({"min_weights": 10**6}, ": it has fewer than 1000000 weights"),
    ],
)
def test_nothing_to_unify_says_why(values: dict[str, Any], message: str) -> None:
    with pytest.raises((NothingToPrune, UsageError), match=message):
        outcome(net(), **values)


def test_a_graph_without_weights() -> None:
    bare = models.in_memory(models.model("(float[2,3] x) => (float[2,3] y) { y = Relu(x) }"))
    with pytest.raises(NothingToPrune, match="no floating-point weight"):
        outcome(bare)


ORIENTED = {
    "MatMul right": ("float[8,16] w", "MatMul(x, w)", (1, 16, 8, 1)),
    "MatMul left": ("float[16,5] w", "MatMul(w, x)", (1, 16, 5, 1)),
    "Gemm": ("float[8,16] w", "Gemm(x, w)", (1, 16, 8, 1)),
    "Gemm transposed": ("float[16,8] w", "Gemm<transB=1>(x, w)", (1, 16, 8, 1)),
    "Einsum": ("float[8,4,4] w", 'Einsum<equation="ti,iab->tab">(x, w)', (1, 16, 8, 1)),
    "batched MatMul": ("float[5,8,16] w", "MatMul(q, w)", (5, 16, 8, 1)),
    "Conv1d": ("float[16,8,3] w", "Conv(t, w)", (1, 16, 8, 3)),
    "Conv3d": ("float[16,8,1,3,3] w", "Conv<pads=[0,1,1,0,1,1]>(v, w)", (1, 16, 8, 9)),
    "grouped": ("float[16,4,3] w", "Conv<group=2>(t, w)", (2, 8, 4, 3)),
    "ConvTranspose": ("float[8,16,3] w", "ConvTranspose(t, w)", (1, 16, 8, 3)),
    "grouped ConvTranspose": ("float[8,6,3] w", "ConvTranspose<group=2>(t, w)", (2, 6, 4, 3)),
}


@pytest.mark.parametrize("case", ORIENTED)
def test_outputs_and_inputs_are_found_from_the_operators_rule(case: str) -> None:
    declared, call, canonical = ORIENTED[case]
    text = f"""(float[5,8] x0) => (float y) <{declared}, int64[3] s3 = {{1,8,5}}, int64[3] q3 = {{5,1,8}},
            int64[5] s5 = {{1,8,1,1,5}}, int64[5] e5 = {{1,8,3,3,5}}> {{
        x = Relu(x0)  q = Reshape(x, q3)  t = Reshape(x, s3)  v0 = Reshape(x, s5)  v = Expand(v0, e5)  y = {call} }}"""
    source = models.in_memory(models.model(text))
    ready = steps.get_ready(source, chosen(source, all_layers=True, block="1x4"), 0, None)
    [layer] = ready.weights.layers
    assert layer.layout.view.canonical == canonical
    assert outcome(source, all_layers=True, block="1x4").report.exact


SHARED = """
    (float[n,16] x) => (float[n,16] y) <float[16,16] w, float[16,16] u> {
        a = MatMul(x, u)  b = MatMul(a, w)  c = Relu(b)  d = MatMul(c, w)  y = MatMul(d, u) }"""


def test_a_shared_weight_is_unified_once() -> None:
    result = outcome(models.in_memory(models.model(SHARED)))
    assert [row.name for row in result.report.layers] == ["w"]
    assert result.report.layers[0].macs == 2 * 256 * 3
    assert reasons(result)["u"] == "it is in the first layer"


def test_weights_that_are_read_in_two_ways_are_left_alone() -> None:
    text = """(float[n,16] x) => (float[n,16] y) <float[16,16] w, float[16,16] t, float[16,16] u> {
        a = MatMul(x, u)  b = MatMul(a, w)  c = Gemm<transB=1>(b, w)  d = Add(t, t)  e = MatMul(c, t)
        f = MatMul(e, d)  y = MatMul(f, u) }"""
    left = reasons(outcome(models.in_memory(models.model(text)), include=("w", "t", "u"), all_layers=True))
    assert left["w"] == "its nodes read it in different ways"


def test_an_input_with_a_default_is_unified_and_no_input_any_more() -> None:
    proto = models.model(NET)
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, (16, 16, 3, 3)))
    result = outcome(models.in_memory(proto))
    assert [value.name for value in result.model.graph.inputs] == ["x"]
    said = steps._LOST.format(names="'w'")
    assert said in result.report.warnings
    kept = outcome(models.in_memory(proto), dense=True)
    assert [value.name for value in kept.model.graph.inputs] == ["x", "w"]
    assert said not in kept.report.warnings


def test_values_that_are_not_finite_are_left_alone() -> None:
    proto = models.model(NET)
    broken = next(t for t in proto.graph.initializer if t.name == "w")
    array = onnx.numpy_helper.to_array(broken).copy()
    array[3, 3] = np.nan
    broken.CopyFrom(onnx.numpy_helper.from_array(array, "w"))
    assert reasons(outcome(models.in_memory(proto), verify=False))["w"] == "it holds values that are not finite"


# ---- what comes out -----------------------------------------------------------------------------------------

SHARES: tuple[dict[str, float], ...] = (
    {},
    {"unify_share": 0.5},
    {"unify_share": 0.4, "prune_share": 0.4},
    {"prune_share": 0.5},
    {"prune_share": 1.0},
)


@given(
    shares=st.sampled_from(SHARES),
    block=st.sampled_from(("4x4", "1x8", "3x5", "tap", "filter", "matrix:1x7")),
    opset=st.sampled_from((11, 15, 18, 21)),
    dense=st.booleans(),
)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_what_was_reported(
    tmp_path: Path, shares: dict[str, float], block: str, opset: int, dense: bool
) -> None:
    result = outcome(net(opset=opset), block=block, dense=dense, **shares)
    path = tmp_path / "out.onnx"
    files.save_model(result.model, path)
    onnx.checker.check_model(str(path), full_check=True)
    loaded = files.load_model(path)
    assert loaded.graph.opset_imports[""] == opset
    report = result.report
    assert report.exact
    assert report.proof is not None
    assert report.proof.max_abs_err == 0
    assert [name for name, value in loaded.graph.initializers.items() if not value.uses()] == []
    x = np.random.default_rng(0).standard_normal((2, 8, 6, 6)).astype(np.float32)
    one, two = (session(m, tmp_path).run(None, {"x": x})[0] for m in (path, result.dense))
    assert np.array_equal(one, two)
    for row in report.layers:
        weight: Any = models.weight(result.dense, row.name)
        assert len(np.unique(abs(weight))) == row.values
        original: Any = models.weight(net(), row.name)
        assert row.error == pytest.approx(float(np.linalg.norm(weight - original) / np.linalg.norm(original)), rel=1e-5)
        assert row.unified + row.pruned + row.free == row.blocks
    assert [v.name for v in loaded.graph.inputs] == ["x"]


def test_the_runtime_holds_plain_convolutions(tmp_path: Path) -> None:
    for shares in ({}, {"unify_share": 0.4, "prune_share": 0.4}):
        result = outcome(net(), **shares)
        session(result.model, tmp_path, optimised=tmp_path / "seen.onnx")
        operators = [node.op_type for node in onnx.load(tmp_path / "seen.onnx").graph.node]
        assert operators.count("Conv") + operators.count("FusedConv") == len(operators), operators


@pytest.mark.parametrize("kind", ["float16", "double"])
def test_other_precisions(kind: str) -> None:
    text = f"""({kind}[n,16] x) => ({kind}[n,16] y) <{kind}[16,16] u, {kind}[16,16] w, {kind}[16,16] v> {{
        a = MatMul(x, u)  b = MatMul(a, w)  y = MatMul(b, v) }}"""
    result = outcome(models.in_memory(models.model(text)))
    assert result.report.exact
    assert models.weight(result.dense, "w").dtype == {"float16": np.float16, "double": np.float64}[kind]


def test_the_default_unifies_all_blocks_that_are_not_pruned() -> None:
    [row, _] = outcome(net(), prune_share="25%").report.layers
    assert (row.pruned, row.free) == (row.blocks // 4, 0)


def test_a_dense_result_can_be_unified_again_without_change() -> None:
    once = outcome(net(), dense=True)
    again = outcome(once.model, dense=True)
    for row in once.report.layers:
        assert np.array_equal(models.weight(once.model, row.name), models.weight(again.model, row.name))
    assert again.report.output_error == 0


@pytest.mark.parametrize("values", SHARES)
def test_packed_weights_are_restored_to_the_bit(values: dict[str, float]) -> None:
    result = outcome(net(), **values)
    again = result.model.clone()
    assert sorted(restore(again)) == ["v", "w"]
    for name in ("w", "v"):
        assert models.weight(again, name).tobytes() == models.weight(result.dense, name).tobytes()
    assert [n.op_type for n in again.graph] == [n.op_type for n in result.dense.graph]
    assert restore(again) == []


def test_a_packed_result_can_be_unified_again_without_change() -> None:
    once = outcome(net())
    again = outcome(once.model)
    once.model.metadata_props.clear()  # the second is said to come of two steps
    again.model.metadata_props.clear()
    assert ir.to_proto(once.model).SerializeToString() == ir.to_proto(again.model).SerializeToString()
    assert UNIFIED_ALREADY in again.report.warnings
    assert UNIFIED_ALREADY not in once.report.warnings


def test_the_model_in_memory_is_left_alone() -> None:
    source = net()
    before = ir.to_proto(source).SerializeToString()
    outcome(source)
    assert ir.to_proto(source).SerializeToString() == before


# ---- files --------------------------------------------------------------------------------------------------


def test_from_file_to_file(tmp_path: Path) -> None:
    target = tmp_path / "small.onnx"
    report = unify_file(DIGITS, target, UnifySettings())
    assert report.output is not None
    assert report.output.bytes == target.stat().st_size < DIGITS.stat().st_size / 11
    assert report.output.params == report.input.params == inspect_file(target, PruneSettings()).input.params
    assert report.gzip_bytes == pytest.approx(len(gzip.compress(target.read_bytes(), 6)), abs=32)
    assert report.ideal_bytes < report.output.bytes
    assert (report.output_error or 0) > 0
    assert {*report.seconds} == {"load", "analyse", "project", "pack", "prove", "write"}


def test_without_an_output_nothing_is_written(tmp_path: Path) -> None:
    report = unify_file(DIGITS, None, UnifySettings(verify=False))
    assert report.output is not None
    assert report.output.path is None
    assert (report.exact, report.proof, report.output_error) == (None, None, None)


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    source = tmp_path / "net.onnx"
    source.write_bytes(DIGITS.read_bytes())
    with pytest.raises(UsageError, match="never overwritten"):
        unify_file(source, source, UnifySettings(verify=False))
    assert source.read_bytes() == DIGITS.read_bytes()


def test_a_packed_model_is_read_by_everything_else(tmp_path: Path) -> None:
    target, tidy = tmp_path / "small.onnx", tmp_path / "tidy.onnx"
    unify_file(DIGITS, target, UnifySettings(unify_share=0.5, prune_share=0.2))
    assert inspect_file(target, PruneSettings()).input.nodes > 32
    clean_file(target, tidy, CleanSettings())
    x = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    expected = session(target, tmp_path).run(None, {"image": x})
    assert np.array_equal(session(tidy, tmp_path).run(None, {"image": x})[0], expected[0])
    assert tidy.stat().st_size < 1.1 * target.stat().st_size, "packed weights stay packed"
    assert difference(run_module(GraphModule(files.load_model(target)).eval(), {"image": x}), expected) < 1e-5


def test_a_fault_of_the_unpacking_is_caught_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = packed.digit_table(2)
    monkeypatch.setattr(unpack, "digit_table", lambda _: table[:, ::-1].copy())
    with pytest.raises(ProofFailed, match="is not unpacked to the bits that were packed"):
        unify_file(DIGITS, tmp_path / "out.onnx", UnifySettings())
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_the_projection_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed.Packed, "kinds", lambda self: np.full(self.layout.count, 2, np.uint8))
    with pytest.raises(ProofFailed, match="does not satisfy its constraint"):
        outcome(net())


def test_an_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError):
        unify_file(tmp_path / "bad.onnx", None, UnifySettings())


def test_torch_is_never_loaded() -> None:
    code = f"""
import sys
from pathlib import Path
from compressor.config import UnifySettings
from compressor.commands.unify import unify_file
unify_file(Path({str(DIGITS)!r}), None, UnifySettings())
assert "onnxruntime" in sys.modules
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_both_files_are_timed_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Short(BenchSettings):
        runs: int = 10
        seconds: float = 0.01
        rounds: int = 2

    monkeypatch.setattr(bench, "BenchSettings", Short)
    net, asked = Path(__file__).parents[2] / "models" / "digits-resnet.onnx", UnifySettings(block="1x8", latency=True)
    report = unify_file(net, tmp_path / "out.onnx", asked)
    assert report.latency is not None
    assert report.latency.low <= report.latency.before_ms / report.latency.after_ms <= report.latency.high
    assert "time" in report.seconds
    dry = unify_file(net, None, asked)
    assert dry.latency is None, "there is no file to time"


def test_labels_to_judge_on_need_no_data_to_learn_from() -> None:
    settings = UnifySettings.parse({"val_data": str(DIGITS.with_name("digits-test.npz")), "verify": "quick"})
    report = unify(DIGITS, settings).report
    assert report.accuracy is not None
    assert report.accuracy.samples > 100
    blind = unify(DIGITS, UnifySettings.parse({"verify": "quick"})).report
    assert blind.accuracy is None
    assert blind.output_error is not None
    assert any("hardly does what it did" in text for text in blind.warnings) == (blind.output_error > 0.5)


def test_who_gave_data_is_not_told_to_give_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.commands.unify.RUINED", -1.0)
    np.savez(tmp_path / "one.npz", x=np.zeros((1, 1, 8, 8), np.float32))
    asked = {"data": str(tmp_path / "one.npz"), "epochs": 1, "verify": "quick"}
    (text,) = [text for text in unify(DIGITS, UnifySettings.parse(asked)).report.warnings if "hardly does" in text]
    assert text.endswith("train for longer or on more samples, or ask for less")
