"""What ONNX Runtime loads is loaded here, and what is written again loads in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressor.errors import ModelError
from compressor.graph.disk import files
from compressor.graph.form.normalise import normalise
from compressor.operators.sizes import infer
from tests.graph.disk.samples import parsed, refusal, written

TEXT = """
<ir_version: 8, opset_import: ["" : OPSET]>
g (float[N, 3] x, bool c) => (float[N, 4] y) <float[3, 4] w = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}> {
    h = MatMul (x, w)
    y = MIDDLE
}
"""
LOOP = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 3] x) => (float[M, N, 3] y) <int64 two = {2}> {
    y = Loop (two, "") <body = b (int64 i, bool k) => (bool l, float[N, 3] e) { l = Identity (k)  e = Relu (x) }>
}
"""
SHADOWED = """
<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1, "own" : 1]>
g (float[N, 3] x) => (float[N, 3] y) { h = com.microsoft.Gelu (x)  z = own.Twice (h)  y = Elu (z) }
<domain: "com.microsoft", opset_import: ["" : 17]> Gelu (a) => (b) { b = Neg (a) }
<domain: "own", opset_import: ["" : 17]> Twice (a) => (b) { b = Add (a, a) }
<domain: "", opset_import: ["" : 17]> Elu (a) => (b) { b = Relu (a) }
"""
"""Of the functions ONNX Runtime takes one alone: it has operators of the others' names."""
Change = Callable[[onnx.ModelProto], object]


def model(middle: str = "Relu (h)", opset: int = 17) -> onnx.ModelProto:
    return parsed(TEXT.replace("MIDDLE", middle).replace("OPSET", str(opset)))


def _repeated(m: onnx.ModelProto) -> None:
    m.graph.initializer.insert(0, numpy_helper.from_array(np.zeros((3, 4), np.float32), "w"))


def _branches(depth: int) -> str:
    text = "Neg (h)"
    for level in range(depth):
        name = f"a{level}"
        text = f"If (c) <then_branch = t{level} () => ({name}) {{ {name} = {text} }}, " \
            f"else_branch = e{level} () => (b{level}) {{ b{level} = Relu (h) }}>"  # fmt: skip
    return text


def _zip_map(m: onnx.ModelProto) -> None:
    m.opset_import.add(domain="ai.onnx.ml", version=3)
    m.graph.node.add(op_type="ZipMap", domain="ai.onnx.ml", input=["y"], output=["z"]).attribute.append(
        helper.make_attribute("classlabels_int64s", [0, 1, 2, 3])
    )
    kind = m.graph.output.add(name="z").type.sequence_type.elem_type.map_type
    kind.key_type, kind.value_type.tensor_type.elem_type = TensorProto.INT64, TensorProto.FLOAT


def _twice(m: onnx.ModelProto) -> None:
    m.graph.output.add().CopyFrom(m.graph.output[0])
    m.graph.output[1].type.tensor_type.elem_type = TensorProto.BOOL


def _scale(m: onnx.ModelProto) -> None:
    m.graph.node[1].input[1] = "scale"
    m.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), "scale"))


LOADED: dict[str, tuple[Callable[[], onnx.ModelProto], Change]] = {
    "graph without name": (model, lambda m: m.graph.ClearField("name")),
    "IR 3, weights that are no inputs": (lambda: model(opset=8), lambda m: setattr(m, "ir_version", 3)),
    "Microsoft's domain, not imported": (lambda: model("com.microsoft.QuickGelu (h)"), lambda _: None),
    "machine learning, not imported": (
        lambda: model("ai.onnx.ml.Scaler <offset = [0.0], scale = [2.0]> (h)"),
        lambda _: None,
    ),
    "norm before its opset": (lambda: model("LayerNormalization (h, h)", 13), _scale),
    "norm of ONNX Runtime": (lambda: model("SimplifiedLayerNormalization (h, h)"), _scale),
    "output twice, of two types": (model, _twice),
    "output without shape": (model, lambda m: m.graph.output[0].type.tensor_type.ClearField("shape")),
    "output without type": (model, lambda m: m.graph.output[0].ClearField("type")),
    "value without type": (model, lambda m: m.graph.value_info.add(name="h")),
    "weight twice": (model, _repeated),
    "weight without name": (model, lambda m: m.graph.initializer.add(data_type=1)),
    "metadata twice": (model, lambda m: [m.metadata_props.add(key="k", value="v") for _ in "ab"]),
    "map as output": (model, _zip_map),
    "loop with neither state nor condition": (lambda: parsed(LOOP), lambda _: None),
    "functions called like operators": (lambda: parsed(SHADOWED), lambda _: None),
    "weight of a segment": (model, lambda m: setattr(m.graph.initializer[0].segment, "begin", 1)),
    "twenty nested branches": (lambda: model(_branches(20)), lambda _: None),
}


@pytest.mark.parametrize("case", LOADED)
def test_what_the_runtime_loads_is_loaded_and_written_again(tmp_path: Path, case: str) -> None:
    build, change = LOADED[case]
    proto = build()
    change(proto)
    feeds = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "c": np.array(True)}

    def run(path: Path) -> list[object]:
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return session.run(None, {i.name: feeds[i.name] for i in session.get_inputs()})

    path = written(tmp_path, proto)
    expected = run(path)
    model = files.load_model(path)
    normalise(model)
    files.save_model(model, tmp_path / "again.onnx")
    np.testing.assert_equal(run(tmp_path / "again.onnx"), expected)


def test_domains_of_the_runtime_have_the_version_that_it_knows(tmp_path: Path) -> None:
    """It refuses other ones, also of a domain that nothing uses."""
    proto = model()
    proto.opset_import.add(domain="com.microsoft", version=17)
    assert files.load_model(written(tmp_path, proto)).opset_imports["com.microsoft"] == 1


def test_a_map_keeps_its_type(tmp_path: Path) -> None:
    proto = model()
    _zip_map(proto)
    source = files.load_model(written(tmp_path, proto))
    files.save_model(source.clone(), tmp_path / "again.onnx")
    assert onnx.load(tmp_path / "again.onnx").graph.output[1] == proto.graph.output[1]


def test_of_weights_of_one_name_the_last_one_counts(tmp_path: Path) -> None:
    proto = model()
    _repeated(proto)
    kept = files.load_model(written(tmp_path, proto)).graph.initializers["w"].const_value
    assert kept is not None
    assert kept.numpy().sum() == 66


def test_operators_of_the_runtime_have_shapes(tmp_path: Path) -> None:
    proto = model("LayerNormalization (h, h)", 13)
    _scale(proto)
    found = normalise(files.load_model(written(tmp_path, proto)))
    assert infer(found, {"x": (2, 3)})(found.graph.outputs[0]) == (2, 4)


@pytest.mark.parametrize(
    ("middle", "opset", "reason"),
    [
        ("Gelu (h)", 17, "No Op registered for Gelu"),
        ("Mish (h)", 13, "No Op registered for Mish"),
        ("acme.Relu (h)", 17, "'acme', whose opset is not imported"),
        ("Relu (h, h)", 17, "input size 2 not in range"),
    ],
)
def test_what_the_runtime_refuses_is_refused(tmp_path: Path, middle: str, opset: int, reason: str) -> None:
    path = written(tmp_path, model(middle, opset))
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with pytest.raises(ModelError, match="node that writes 'y'"):
        files.load_model(path)
    assert reason in refusal(path)


def test_outputs_that_are_always_there_get_a_name(tmp_path: Path) -> None:
    """ONNX Runtime loads a Split one of whose outputs has no name, and dies when it runs it."""
    proto = model("Split <axis = 1> (h)", opset=13)
    proto.graph.node[1].output.append("")
    loaded = files.load_model(written(tmp_path, proto))
    assert [value.name for node in loaded.graph for value in node.outputs] == ["h", "y", "unread_0"]
    source = files.source_of(loaded)
    assert source is not None
    assert not source.runs


def test_outputs_that_may_be_left_out_stay_without_a_name(tmp_path: Path) -> None:
    proto = model("Dropout (h)", opset=13)
    proto.graph.node[1].output.append("")
    source = files.source_of(files.load_model(written(tmp_path, proto)))
    assert source is not None
    assert source.runs


@pytest.mark.parametrize("other", ["float[1,3] x", "x", "bool[M] x"])
def test_an_input_that_is_an_output_is_declared_as_the_input(tmp_path: Path, other: str) -> None:
    """ONNX Runtime goes by the input; the shape of the output took its place, and the file took one batch alone."""
    listed = parsed(TEXT.replace("(float[N, 4] y)", f"({other if ' ' in other else 'float[1] x'}, float[N, 4] y)")
                    .replace("MIDDLE", "Relu (h)").replace("OPSET", "17"))  # fmt: skip
    if " " not in other:
        listed.graph.output[0].ClearField("type")
    read = files.load_model(written(tmp_path, listed))
    assert [str(dim) for dim in read.graph.inputs[0].shape or ()] == ["N", "3"]
    assert read.graph.inputs[0].dtype == ir.DataType.FLOAT


def test_a_model_without_inputs_has_shapes() -> None:
    source = ir.from_proto(
        parsed("""<ir_version: 8, opset_import: ["" : 17]>
        g () => (float[2, 4] y) { h = RandomNormal <shape = [2, 4]> ()  y = Relu (h) }""")
    )
    normalise(source)
    assert infer(source)(source.graph.outputs[0]) == (2, 4)
