"""Quantization by ONNX Runtime: what is made, what is said of it, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from click.testing import CliRunner

import compressor
from compressor.cli.main import compress
from compressor.commands import quantize as quantize_command
from compressor.commands.clean import clean_file
from compressor.commands.quantize import quantize_file
from compressor.commands.unify import unify_file
from compressor.config import CleanSettings, UnifySettings
from compressor.config.quantize import QuantizeSettings
from compressor.config.recipe import Recipe
from compressor.errors import GateMissed, ModelError, NothingToProve, NothingToPrune, ProofFailed, UsageError
from compressor.graph.disk import files
from compressor.steps.gates import demand_gates
from tests.models import model

NET = """(float[n,3,16,16] x) => (float[n,10] y) <float[64,3,3,3] w, float[64] b, float[96,64,3,3] v, float[10,96] f> {
    a = Conv<pads=[1,1,1,1]>(x, w, b)
    c = Relu(a)
    d = Conv<strides=[4,4]>(c, v)
    e = GlobalAveragePool(d)
    g = Flatten(e)
    y = Gemm<transB=1>(g, f)
}"""
CONVOLUTIONS = """(float[n,3,8,8] x) => (float[n,4,8,8] y) <float[8,3,3,3] w, float[4,8,1,1] v> {
    a = Conv<pads=[1,1,1,1]>(x, w)
    y = Conv(a, v)
}"""
PRODUCTS = """(float[n,4,64] x) => (float[n,4,32] y) <float[64,256] w, float[256,32] v> {
    a = MatMul(x, w)
    b = Relu(a)
    y = MatMul(b, v)
}"""


def written(tmp_path: Path, text: str = NET, **options: Any) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(model(text, **options), path)
    return path


def samples(tmp_path: Path, count: int = 48) -> str:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(count, 3, 16, 16)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=images, y=rng.integers(0, 10, count))
    return str(tmp_path / "data.npz")


def types_of(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


def test_static_on_samples_with_labels(tmp_path: Path) -> None:
    source, output = written(tmp_path), tmp_path / "out.onnx"
    settings = QuantizeSettings(data=samples(tmp_path), val_share=0.5, samples=16)
    report = quantize_file(source, output, settings)
    assert {"QuantizeLinear", "DequantizeLinear"} <= types_of(output)
    assert report.calibrated == report.ran["samples"] == 16
    assert report.output is not None
    assert report.output.bytes == output.stat().st_size < 0.35 * report.input.bytes
    assert report.output.macs == report.input.macs > 0
    assert report.outputs is not None
    assert 0 < report.outputs.distance.value < 0.1
    assert report.outputs.real
    assert not report.outputs.seen
    assert report.accuracy[0].samples in (23, 24, 25)
    assert all(row.quantized for row in report.weights)
    scales = [t for t in onnx.load(output).graph.initializer if t.name.startswith("v") and "scale" in t.name]
    assert [list(t.dims) for t in scales] == [[96]], "one for each channel"
    names = [[(v.name, v.type) for v in (*m.graph.input, *m.graph.output)] for m in map(onnx.load, (source, output))]
    assert names[0] == names[1]


def test_without_data_samples_are_made_up_and_said_to_be(tmp_path: Path) -> None:
    report = quantize_file(written(tmp_path), None, QuantizeSettings(samples=8))
    assert report.synthetic is not None
    assert report.outputs is not None
    assert not report.outputs.real
    assert any("made-up" in text for text in report.warnings)
    assert report.output is not None
    assert report.output.path is None


def test_by_tensor_where_asked_or_where_the_operator_set_is_old(tmp_path: Path) -> None:
    for name, settings, opset in (("asked", {"per_channel": False}, 18), ("old", {}, 12)):
        (tmp_path / name).mkdir()
        output = tmp_path / name / "out.onnx"
        report = quantize_file(written(tmp_path / name, opset=opset), output, QuantizeSettings(samples=4, **settings))
        scales = [t for t in onnx.load(output).graph.initializer if t.name.startswith("v") and "scale" in t.name]
        assert [int(np.prod(t.dims)) for t in scales] == [1]
        assert any("no scales by channel" in text for text in report.warnings) == (name == "old")


def test_dynamic(tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    report = quantize_file(written(tmp_path, PRODUCTS), output, QuantizeSettings(mode="dynamic", samples=8))
    assert "MatMulInteger" in types_of(output) or "DynamicQuantizeMatMul" in types_of(output)
    assert report.calibrated == report.ran["samples"] == 0
    assert not any("calibrated" in text for text in report.warnings)
    assert report.outputs is not None
    assert 0 < report.outputs.distance.value < 0.1


def test_four_bits(tmp_path: Path) -> None:
    source, output = written(tmp_path, PRODUCTS), tmp_path / "out.onnx"
    report = quantize_file(source, output, QuantizeSettings(mode="int4", samples=8))
    assert "MatMulNBits" in types_of(output)
    assert report.output is not None
    assert report.output.bytes < 0.25 * report.input.bytes
    assert report.outputs is not None
    assert 0.01 < report.outputs.distance.value < 0.3


@pytest.mark.parametrize("mode", ["static", "dynamic", "int4"])
def test_parameters_are_counted_alike_before_after_and_in_the_file(mode: Any, tmp_path: Path) -> None:
    source, output = written(tmp_path, PRODUCTS), tmp_path / "out.onnx"
    report = quantize_file(source, output, QuantizeSettings(mode=mode, samples=8))
    assert report.output is not None
    assert report.output.params == report.input.params == compressor.inspect(output).input.params


@pytest.mark.parametrize(("globs", "kept"), [({"exclude": ("v",)}, {"v"}), ({"include": ("Conv_0",)}, {"v", "f"})])
def test_globs_leave_weights_alone(tmp_path: Path, globs: dict[str, Any], kept: set[str]) -> None:
    report = quantize_file(written(tmp_path), None, QuantizeSettings(samples=4, **globs))
    assert {row.name for row in report.weights if not row.quantized} == kept


def test_what_cannot_be_quantised_is_refused(tmp_path: Path) -> None:
    source, output = written(tmp_path), tmp_path / "out.onnx"
    quantize_file(source, output, QuantizeSettings(samples=4))
    with pytest.raises(NothingToPrune, match=r"quantised already: 3 weights .* int8; quantise the model that it"):
        quantize_file(output, None, QuantizeSettings(samples=4))
    onnx.save(model("(float[n,4] x) => (float[n,4] y) { y = Relu(x) }"), source)
    with pytest.raises(NothingToPrune, match="no weight of real numbers"):
        quantize_file(source, None, QuantizeSettings(samples=4))
    with pytest.raises(UsageError, match=r"'w\.x' matches no weight.*nearest"):
        quantize_file(written(tmp_path), None, QuantizeSettings(samples=4, exclude=("w.x",)))
    with pytest.raises(NothingToPrune, match="leave no weight"):
        quantize_file(written(tmp_path), None, QuantizeSettings(samples=4, exclude=("*",)))
    with pytest.raises(ModelError, match=r"operator set 9 .*--mode dynamic"):
        quantize_file(written(tmp_path, PRODUCTS, opset=9), None, QuantizeSettings(samples=4, mode="static"))
    with pytest.raises(UsageError, match="--max-drop needs samples with labels"):
        quantize_file(written(tmp_path), None, QuantizeSettings(samples=4, max_drop=0.1))
    with pytest.raises(NothingToPrune, match=r"none of 2 weights .*int4: .* no convolutions, and these .* of Conv;"):
        quantize_file(written(tmp_path, CONVOLUTIONS), None, QuantizeSettings(samples=4, mode="int4"))
    brain = PRODUCTS.replace("float[", "bfloat16[")
    with pytest.raises(NothingToPrune, match=r"weights are bfloat16, .* takes float and float16; convert"):
        quantize_file(written(tmp_path, brain, checked=False), None, QuantizeSettings(samples=4))
    with pytest.raises(UsageError, match="power of two"):
        QuantizeSettings.parse({"block_size": 33})
    half = PRODUCTS.replace("float[", "float16[")
    for settings in (QuantizeSettings(samples=4, mode="static"), QuantizeSettings(samples=4, mode="dynamic")):
        with pytest.raises(ModelError, match=rf"are float16, .*--mode {settings.mode} at .* 18; choose --mode int4"):
            quantize_file(written(tmp_path, half, checked=False), None, settings)


@pytest.mark.parametrize(("mode", "opset"), [("int4", 18), ("static", 21)])
def test_weights_of_float16_are_taken(tmp_path: Path, mode: Literal["int4", "static"], opset: int) -> None:
    """ONNX Runtime's optimiser hides them behind casts, so the quantiser reads the model as it was."""
    source = written(tmp_path, PRODUCTS.replace("float[", "float16["), opset=opset, checked=False)
    report = quantize_file(source, None, QuantizeSettings(samples=4, mode=mode))
    assert report.weights
    assert all(row.quantized for row in report.weights)


TIED = """(float[n,16] x) => (float[n,16] y) <float[16,32] w> {
    a = MatMul(x, w)
    b = Relu(a)
    y = Gemm<transB=1>(b, w)
}"""
BATCHED = """(float[3,5,16] x) => (float[3,5,4] y) <float[3,16,32] w, float[32,4] v> {
    a = MatMul(x, w)
    b = Relu(a)
    y = MatMul(b, v)
}"""


@pytest.mark.parametrize("mode", ["static", "dynamic", "int4"])
def test_a_weight_that_is_read_in_two_ways_has_two_forms(mode: str, tmp_path: Path) -> None:
    """Of one, the quantiser turns the form that suits one reader, and the other then reads nonsense."""
    path = written(tmp_path, TIED)
    report = quantize_file(path, tmp_path / "q.onnx", QuantizeSettings.parse({"mode": mode, "samples": 4}))
    assert len([row for row in report.weights if row.quantized]) == (1 if mode == "int4" else 2)
    assert report.outputs is not None
    assert report.outputs.distance.value < 0.2


SHARED = """(float[n,16] x) => (float[n,16] y) <float[16,16] w, float[16,16] v> {
    a = Gemm<transB=1>(x, w)
    b = Relu(a)
    c = Gemm<transB=1>(b, w)
    y = Gemm<transB=1>(c, v)
}"""
TABLE = """(int64[n] x) => (float[n,16] y) <float[16,16] w> {
    a = Gather(w, x)
    b = Relu(a)
    y = Gemm<transB=1>(b, w)
}"""


@pytest.mark.parametrize("text", [SHARED, TABLE])
def test_a_weight_of_several_readers_is_turned_once(text: str, tmp_path: Path) -> None:
    """The quantiser transposes it for each of them that is a Gemm."""
    path = written(tmp_path, text)
    report = quantize_file(path, tmp_path / "q.onnx", QuantizeSettings(mode="dynamic", samples=16))
    assert report.outputs is not None
    assert report.outputs.distance.value < 0.1
    if text == SHARED:
        stored = [i for i in onnx.load(tmp_path / "q.onnx").graph.initializer if list(i.dims) == [16, 16]]
        assert len(stored) == 2


JOINED = """(float[n,16] x) => (float[n,4] y) <float[16,32] w, float[4,32] v, float[32,32] u, float[32] o> {
    a = MatMul(x, w)
    b = Relu(a)
    t = MatMul(b, u)
    s = Add(t, o)
    y = Gemm<transB=1>(s, v)
}"""


@pytest.mark.parametrize("weight", ["w", "u", "v"])
@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_what_is_left_out_is_known_by_its_weight(mode: Any, weight: str, tmp_path: Path) -> None:
    """Nodes get other names before they are quantised: the optimiser joins some, the quantiser makes others of them."""
    settings = QuantizeSettings(mode=mode, samples=8, exclude=(weight,))
    report = quantize_file(written(tmp_path, JOINED), tmp_path / "q.onnx", settings)
    assert weight in {row.name for row in report.weights if not row.quantized}
    assert any(row.quantized for row in report.weights)
    kept = [i.name for i in onnx.load(tmp_path / "q.onnx").graph.initializer if i.data_type == onnx.TensorProto.FLOAT]
    assert weight in kept


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_a_node_that_does_not_run_quantised_is_left_alone_and_said(mode: str, tmp_path: Path) -> None:
    """The quantiser's scales by channel do not fit a stack of matrices."""
    path = written(tmp_path, BATCHED)
    report = quantize_file(path, tmp_path / "q.onnx", QuantizeSettings.parse({"mode": mode, "samples": 4}))
    assert {row.name: row.quantized for row in report.weights} == {"w": False, "v": True}
    assert any("'MatMul_0' stays as it was" in text and "--no-per-channel" in text for text in report.warnings)


MASKED = """(float[n,8,16] x, float[n,1,8] m) => (float[n,8,16] y) <float[16,16] w, float[16,16] v, float[1] e = {0},
    float one = {1}> {
    q = MatMul(x, w)
    t = Transpose<perm=[0,2,1]>(q)
    s = MatMul(q, t)
    p = Greater(m, e)
    z = Sub(one, one)
    o = Neg(one)
    f = Div(o, z)
    k = Where(p, z, f)
    a = Add(s, k)
    b = Softmax<axis=-1>(a)
    c = MatMul(b, q)
    y = MatMul(c, v)
}"""


def test_a_range_without_end_has_no_scale(tmp_path: Path) -> None:
    """A mask of attention is minus infinity where tokens are padding."""
    rng = np.random.default_rng(0)
    mask = np.ones((64, 1, 8), np.float32)
    mask[:, :, 5:] = 0
    np.savez(tmp_path / "data.npz", x=rng.normal(size=(64, 8, 16)).astype(np.float32), m=mask)
    settings = QuantizeSettings(mode="static", data=str(tmp_path / "data.npz"), samples=16)
    report = quantize_file(written(tmp_path, MASKED), tmp_path / "q.onnx", settings)
    reals = [
        onnx.numpy_helper.to_array(i) for i in onnx.load(tmp_path / "q.onnx").graph.initializer if "_scale" in i.name
    ]
    assert reals
    assert all((np.isfinite(array) & (array > 0)).all() for array in reals)
    assert any("stay as they were" in text and "not finite" in text for text in report.warnings)
    assert {row.name: row.quantized for row in report.weights} == {"w": True, "v": True}
    assert report.outputs is not None
    assert report.outputs.distance.value < 0.1


def test_a_weight_that_is_not_finite_is_left_alone_and_said(tmp_path: Path) -> None:
    path = written(tmp_path, PRODUCTS)
    proto = onnx.load(path)
    weight = onnx.numpy_helper.to_array(proto.graph.initializer[1]).copy()
    weight[3, 5] = np.inf
    proto.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(weight, "v"))
    onnx.save(proto, path)
    report = quantize_file(path, tmp_path / "q.onnx", QuantizeSettings.parse({"mode": "dynamic", "samples": 4}))
    assert {row.name: row.quantized for row in report.weights} == {"w": True, "v": False}
    assert any(
        "weight 'v' holds numbers that are not finite" in text and "MatMul_2" in text for text in report.warnings
    )
    weight[:] = np.nan
    proto.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(weight, "v"))
    onnx.save(proto, path)
    with pytest.raises(NothingToProve, match=r"no output of the model is a finite number.*weight 'v'"):
        quantize_file(path, tmp_path / "r.onnx", QuantizeSettings.parse({"mode": "static", "samples": 4}))
    assert not (tmp_path / "r.onnx").exists()


def test_a_fixed_batch_that_samples_do_not_fill(tmp_path: Path) -> None:
    path = written(tmp_path, CONVOLUTIONS.replace("float[n,", "float[16,"))
    np.savez(tmp_path / "few.npz", x=np.zeros((6, 3, 8, 8), np.float32))
    few = QuantizeSettings.parse({"data": str(tmp_path / "few.npz")})
    with pytest.raises(UsageError, match="takes 16 samples at a time, and there are"):
        quantize_file(path, tmp_path / "q.onnx", few)
    report = quantize_file(path, tmp_path / "q.onnx", QuantizeSettings.parse({"samples": 4}))
    assert report.calibrated


def test_a_model_that_the_quantiser_refuses_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any, **__: Any) -> None:
        raise ValueError("Quantization of\n  Foo is not supported.\n")

    monkeypatch.setattr("onnxruntime.quantization.quantize_static", refuses)
    with pytest.raises(ModelError, match="by ONNX Runtime: Quantization of Foo is not supported; leave nodes"):
        quantize_file(written(tmp_path), None, QuantizeSettings(samples=4, mode="static"))


def test_a_unified_model_is_told_what_it_costs(tmp_path: Path) -> None:
    source, packed, output = written(tmp_path), tmp_path / "packed.onnx", tmp_path / "out.onnx"
    unify_file(source, packed, UnifySettings())
    report = quantize_file(packed, output, QuantizeSettings(samples=4))
    assert any("stored packed" in text and "unify or quantise, not both" in text for text in report.warnings)
    assert report.output is not None
    assert report.output.bytes > report.input.bytes
    clean_file(output, None, CleanSettings())


@pytest.mark.parametrize(
    ("flags", "code"),
    [((), 0), (("--max-distance", "0.0001"), 6), (("--max-size", "10%"), 6), (("--mode", "nope"), 2)],
)
def test_gates_from_the_command_line(tmp_path: Path, flags: tuple[str, ...], code: int) -> None:
    source, output = written(tmp_path), tmp_path / "net.int8.onnx"
    result = CliRunner().invoke(compress, ["quantize", str(source), "--samples", "4", *flags])
    assert result.exit_code == code, result.output
    assert output.is_file() == (code != 2)
    if code != 2:
        assert "3 of 3 weights of linear and recurrent operators" in result.output
        files.load_model(output)


@pytest.mark.parametrize("later", ["prune", "finetune", "unify-2"])
def test_a_recipe_quantises_last(later: str) -> None:
    recipe = Recipe.parse({"model": "m.onnx", "data": "x.npz", "stages": {"quantize": {}, "verify": {}, later: {}}})
    with pytest.raises(UsageError, match=f"stage '{later}' comes after 'quantize'.* put 'quantize' last"):
        recipe.settings()
    fine = Recipe.parse({"model": "m.onnx", "stages": {"prune": {}, "quantize": {}, "bench": {}, "clean": {}}})
    assert list(fine.settings()) == ["prune", "quantize", "bench", "clean"]


LOST = """(float[n,32] x) => (float[n,4] y) <float[32,64] w, float[64,4] v, float[32] s> {
    z = Mul(x, s)
    a = MatMul(z, w)
    b = Relu(a)
    y = MatMul(b, v)
}"""
LSTM = """(float[t,n,16] x) => (float[n,4] y) <float[1,128,16] w, float[1,128,32] r, float[32,4] v, int64[1] z = {0}> {
    o, h, c = LSTM<hidden_size=32>(x, w, r)
    g = Squeeze(h, z)
    y = MatMul(g, v)
}"""


def uneven(tmp_path: Path) -> Path:
    """One sample in many is a thousand times larger, so that a range for all of them leaves the others nothing."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 32)).astype(np.float32)
    x[::6] *= 1000
    np.savez(tmp_path / "uneven.npz", x=x)
    return tmp_path / "uneven.npz"


def test_auto_takes_static_where_it_is_near(tmp_path: Path) -> None:
    report = quantize_file(written(tmp_path), tmp_path / "q.onnx", QuantizeSettings(samples=16))
    assert (report.mode, report.settings["mode"]) == ("static", "auto")
    assert report.tried[0].mode == "static"
    assert report.tried[0].quantized == 1
    assert report.why is not None
    assert report.why.startswith("with it ")
    assert "QuantizeLinear" in types_of(tmp_path / "q.onnx")


def test_auto_takes_dynamic_where_static_loses_the_outputs(tmp_path: Path) -> None:
    source = written(tmp_path, LOST)
    data = str(uneven(tmp_path))
    settings = {"data": data, "val_share": 0.5, "batch_size": 1}
    forced = quantize_file(source, None, QuantizeSettings.parse({**settings, "mode": "static"}))
    assert any("moved far" in text and "--mode auto takes dynamic" in text for text in forced.warnings)
    assert (forced.why, forced.tried) == (None, [])
    output = tmp_path / "q.onnx"
    report = quantize_file(source, output, QuantizeSettings.parse(settings))
    assert report.mode == "dynamic"
    assert [row.mode for row in report.tried] == ["static", "dynamic"]
    assert report.why is not None
    assert "with static" in report.why
    assert not any("moved far" in text or "calibrated" in text for text in report.warnings)
    assert "DynamicQuantizeLinear" in types_of(output)


def test_auto_takes_what_can_be_made(tmp_path: Path) -> None:
    old = quantize_file(written(tmp_path, PRODUCTS, opset=9), None, QuantizeSettings(samples=4))
    assert (old.mode, len(old.tried)) == ("dynamic", 1)
    half = PRODUCTS.replace("float[", "float16[")
    new = quantize_file(written(tmp_path, half, opset=21, checked=False), None, QuantizeSettings(samples=4))
    assert (new.mode, len(new.tried)) == ("static", 1)


def test_recurrent_weights_count_and_auto_takes_them(tmp_path: Path) -> None:
    source, output = written(tmp_path, LSTM), tmp_path / "q.onnx"
    report = quantize_file(source, output, QuantizeSettings(samples=8))
    assert report.mode == "dynamic"
    assert "DynamicQuantizeLSTM" in types_of(output)
    assert {row.operator: row.quantized for row in report.weights} == {"LSTM": True, "MatMul": True}
    assert report.why is not None
    assert "of the numbers of weights" in report.why
    assert report.output is not None
    assert (report.output.params, report.output.macs) == (report.input.params, report.input.macs)
    with pytest.raises(NothingToPrune, match=r"quantised already: 3 weights of it"):
        quantize_file(output, None, QuantizeSettings(samples=8))
    kept = quantize_file(source, None, QuantizeSettings(samples=8, mode="static"))
    assert sum(not row.quantized for row in kept.weights) == 2
    assert any("recurrent layers (LSTM)" in text and "--mode dynamic takes LSTM" in text for text in kept.warnings)


def test_recurrent_weights_that_no_mode_takes_are_said(tmp_path: Path) -> None:
    gates = LSTM.replace("128", "96").replace("o, h, c = LSTM", "o, h = GRU")
    report = quantize_file(written(tmp_path, gates), None, QuantizeSettings(samples=8))
    assert any("recurrent layers (GRU)" in text and "no mode of ONNX Runtime" in text for text in report.warnings)


LOSERS = "--exclude for layers that lose most: --include with one name at a time tells what each loses"


@pytest.mark.parametrize(
    ("gate", "mode", "remedy"),
    [
        ({"max_distance": 1e-6}, "static", f"; try --mode dynamic, or {LOSERS}"),
        ({"max_distance": 1e-6}, "auto", f"; try {LOSERS}"),
        ({"max_size": 0.01}, "static", "; try --mode int4, or prune first"),
        ({"max_size": 0.01}, "int4", "; prune the model first"),
    ],
)
def test_a_missed_gate_says_what_to_try(gate: dict[str, float], mode: str, remedy: str, tmp_path: Path) -> None:
    settings = QuantizeSettings.parse({"samples": 4, "mode": mode, **gate})
    report = quantize_file(written(tmp_path, PRODUCTS), tmp_path / "q.onnx", settings)
    with pytest.raises(GateMissed) as error:
        demand_gates(report, settings)
    assert str(error.value).endswith(remedy)


def test_int4_is_no_remedy_for_weights_that_it_leaves_as_they_were(tmp_path: Path) -> None:
    settings = QuantizeSettings(samples=4, mode="dynamic", max_size=0.01)
    report = quantize_file(written(tmp_path, CONVOLUTIONS), tmp_path / "q.onnx", settings)
    with pytest.raises(GateMissed, match=r"; prune the model first$"):
        demand_gates(report, settings)


def test_what_was_compared_is_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = quantize_command.moved_by_quantization

    def compared(source: ir.Model, result: ir.Model, *rest: Any) -> Any:
        told = honest(source, result, *rest)
        name, scale = next(
            (n, v) for n, v in result.graph.initializers.items() if "scale" in n and v.const_value.size > 1
        )
        scale.const_value = ir.tensor(np.roll(scale.const_value.numpy(), 1), name=name)
        return told

    monkeypatch.setattr(quantize_command, "moved_by_quantization", compared)
    with pytest.raises(ProofFailed, match="of the written file is another than was proved"):
        quantize_file(written(tmp_path), tmp_path / "out.onnx", QuantizeSettings.parse({"mode": "static"}))


def test_weights_that_callers_could_override_are_named(tmp_path: Path) -> None:
    net = model(CONVOLUTIONS)
    net.graph.input.append(onnx.helper.make_tensor_value_info("v", onnx.TensorProto.FLOAT, [4, 8, 1, 1]))
    onnx.save(net, tmp_path / "net.onnx")
    report = quantize_file(tmp_path / "net.onnx", tmp_path / "q.onnx", QuantizeSettings(samples=4))
    assert [value.name for value in onnx.load(tmp_path / "q.onnx").graph.input] == ["x"]
    assert any("can no longer be given by callers" in text and text.endswith("'v'") for text in report.warnings)


def test_what_does_not_run_is_no_fault_of_this_tool_and_names_what_to_leave_out(tmp_path: Path) -> None:
    net = written(
        tmp_path,
        """(float[n,16] x) => (float[n,8] y) <float16[16,32] w, float[32,8] v> {
            a = Cast<to=10>(x) b = MatMul(a, w) c = Cast<to=1>(b) y = MatMul(c, v) }""",
    )
    for mode in ("static", "dynamic", "auto"):
        settings = QuantizeSettings.parse({"samples": 4, "mode": mode})
        with pytest.raises(ModelError, match=r"does not run: .*; leave w out with --exclude, or choose another --mode"):
            quantize_file(net, tmp_path / "q.onnx", settings)
        assert not (tmp_path / "q.onnx").exists()
    without = QuantizeSettings.parse({"samples": 4, "exclude": ["w"]})
    assert {row.name: row.quantized for row in quantize_file(net, None, without).weights} == {"v": True, "w": False}


def test_open_sizes_are_counted_at_those_of_the_samples(tmp_path: Path) -> None:
    net = written(tmp_path, "(float[n,l,8] x) => (float[n,l,4] y) <float[8,4] w> { y = MatMul(x, w) }")
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(40, 50, 8)).astype(np.float32))
    report = quantize_file(net, None, QuantizeSettings.parse({"data": str(tmp_path / "x.npz")}))
    assert report.input.macs == 50 * 8 * 4
