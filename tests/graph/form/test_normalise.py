"""The normal form computes what the file computed, and looks the same whatever the exporter wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from compressor.errors import ModelError
from compressor.graph.disk import files
from compressor.graph.form.normalise import normalise, unshare
from tests.graph.disk.samples import CALLS, MODEL, parsed, run, written

RNG = np.random.default_rng(0)


def loaded(folder: Path, model: str | onnx.ModelProto) -> ir.Model:
    return files.load_model(written(folder, parsed(model) if isinstance(model, str) else model))


def normalised(folder: Path, text: str, **feeds: np.ndarray) -> ir.Model:
    """The normal form of a model, which computes the same and survives being written."""
    proto = parsed(text)
    model = normalise(loaded(folder, text))
    for before, after in zip(run(proto, feeds), run(model, feeds), strict=True):
        np.testing.assert_array_equal(before, after)
    files.save_model(model, folder / "normal.onnx")
    files.load_model(folder / "normal.onnx")
    return model


def op_types(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


X = RNG.standard_normal(3).astype(np.float32)


def test_functions_are_inlined(tmp_path: Path) -> None:
    model = normalised(tmp_path, CALLS, x=X)
    assert op_types(model) == ["Mul", "Relu"]
    assert not model.functions
    assert [value.name for value in (*model.graph.inputs, *model.graph.outputs)] == ["x", "y"]


def function(body: str, call: str, inputs: str = "p", outputs: str = "q") -> str:
    return f"""
    <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
    g (float[N] x) => (float[N] y) {{ {call} }}
    <domain: "local", opset_import: ["" : 17]> f ({inputs}) => ({outputs}) {{ {body} }}
    """


def test_a_function_that_returns_its_input_renames_nothing(tmp_path: Path) -> None:
    text = function("q = Relu (p)", "a, b = local.f (x) y = Sub (a, b)", outputs="q, p")
    model = normalise(loaded(tmp_path, text))
    assert [value.name for value in (*model.graph.inputs, *model.graph.outputs)] == ["x", "y"]
    assert op_types(model) == ["Relu", "Identity", "Sub"]
    np.testing.assert_array_equal(run(model, {"x": X})[0], np.maximum(X, 0) - X)


def test_a_call_that_omits_an_output_used_inside(tmp_path: Path) -> None:
    proto = parsed(function("q = Relu (p) r = Neg (q)", "z, y = local.f (x)", outputs="q, r"))
    proto.graph.node[0].output[0] = ""
    model = normalise(loaded(tmp_path, proto))
    assert all(value is None or value.name for node in model.graph for value in node.inputs)
    np.testing.assert_array_equal(run(model, {"x": X})[0], -np.maximum(X, 0))


def test_outputs_omitted_in_a_function_stay_omitted(tmp_path: Path) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
    g (float[4, 3, 2] x, float[1, 20, 2] w, float[1, 20, 5] r) => (float[1, 3, 5] y) { y = local.f (x, w, r) }
    <domain: "local", opset_import: ["" : 17]>
    f (p, w, r) => (q) { all, q, last = LSTM <hidden_size = 5> (p, w, r) }
    """
    proto = parsed(text)
    proto.functions[0].node[0].output[0] = proto.functions[0].node[0].output[2] = ""
    model = normalise(loaded(tmp_path, proto))
    assert [value.name for value in model.graph[0].outputs] == ["", "y", ""]
    assert list(ir.to_proto(model).graph.node[0].output) == ["", "y"]


def test_calls_in_subgraphs_and_names_that_clash(tmp_path: Path) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
    g (float[N] x, bool c) => (float[N] y)
    {
        s = local.f (x)
        y = If (c) <
            then_branch = t () => (float[N] a) { r = Neg (s) a = local.f (r) },
            else_branch = e () => (float[N] b) { r = Abs (s) b = local.f (r) }
        >
    }
    <domain: "local", opset_import: ["" : 17]> f (p) => (q) { r = Exp (p) q = Add (r, p) }
    """
    for c in (True, False):
        model = normalised(tmp_path, text, x=X, c=np.array(c))
    values = [value.name for node in model.graph.all_nodes() for value in node.outputs]
    nodes = [node.name for node in model.graph.all_nodes()]
    assert len(set(values)) == len(values) == 9
    assert len(set(nodes)) == len(nodes) == 9


def test_attribute_parameters_and_their_defaults(tmp_path: Path) -> None:
    text = """
    <ir_version: 9, opset_import: ["" : 17, "local" : 1]>
    g (float[N] x) => (float[N] y) { a = local.f <alpha = 0.5> (x) y = local.f (a) }
    <domain: "local", opset_import: ["" : 17]>
    f <alpha: float = 0.25> (p) => (q) { q = LeakyRelu <alpha: float = @alpha> (p) }
    """
    model = normalised(tmp_path, text, x=X)
    assert [node.attributes["alpha"].as_float() for node in model.graph] == [0.5, 0.25]


def test_a_function_that_takes_a_graph_is_refused(tmp_path: Path) -> None:
    proto = parsed(function("q = Relu (p)", "y = local.f (x)"))
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["z"])], "b", [], [onnx.ValueInfoProto(name="z")])
    proto.graph.node[0].attribute.append(helper.make_attribute("body", graph))
    model = loaded(tmp_path, proto)
    with pytest.raises(ModelError, match="cannot be inlined: Inliner does not support graph attribute"):
        normalise(model)


def test_functions_of_another_opset_are_inlined_where_operators_are_the_same(tmp_path: Path) -> None:
    text = function("q = Relu (p)", "y = local.f (x)").replace('["" : 17]>', '["" : 15]>')
    model = normalised(tmp_path, text, x=X)
    assert op_types(model) == ["Relu"]
    assert model.opset_imports[""] == 17
    model = loaded(tmp_path, function("q = Relu (p)", "y = local.f (x)"))
    model.functions["local", "f", ""].opset_imports[""] = 11
    with pytest.raises(ModelError, match="'f' uses Relu of opset 11"):
        normalise(model)


def test_constants_of_every_form_become_initializers(tmp_path: Path) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[N] x) => (float[N] y, int64[2] ints)
    {
        one = Constant <value = float {1.5}> ()
        two = Constant <value_float = 2.5> ()
        three = Constant <value_floats = [1.0, 2.0, 3.0]> ()
        axis = Constant <value_int = 0> ()
        ints = Constant <value_ints = [4, 5]> ()
        word = Constant <value_string = "é"> ()
        a = Mul (x, one) b = Add (a, two) d = Mul (b, three) e = CumSum (d, axis)
        y = Identity (e)
    }
    """
    model = normalised(tmp_path, text, x=X)
    assert set(model.graph.initializers) == {"one", "two", "three", "axis"}
    assert [node.outputs[0].name for node in model.graph if node.op_type == "Constant"] == ["ints", "word"]
    assert model.graph.initializers["axis"].dtype == ir.DataType.INT64
    assert model.graph.initializers["three"].shape == [3]


def test_constants_of_subgraphs_move_to_the_main_graph(tmp_path: Path) -> None:
    model = normalise(loaded(tmp_path, MODEL))
    assert set(model.graph.initializers) == {"w", "k"}
    assert not any(graph.initializers for graph in model.graph.subgraphs())
    files.save_model(model, tmp_path / "out.onnx")
    assert files.load_model(tmp_path / "out.onnx")


def test_a_constant_that_a_branch_returns_is_handed_on_inside(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x, bool c) => (float[2] y) {
        y = If (c) <then_branch = t () => (float[2] k) <float[2] k = {1, 2}> {},
                    else_branch = f () => (float[2] n) { n = Neg (x) }>
    }"""
    feeds = {"x": np.ones(2, np.float32), "c": np.array(True)}
    model = normalise(loaded(tmp_path, parsed(text)))
    branch = model.graph[0].attributes["then_branch"].as_graph()
    assert [node.op_type for node in branch] == ["Identity"]
    assert set(model.graph.initializers) == {"k"}
    assert np.array_equal(run(model, feeds)[0], [1, 2])


def test_unnamed_and_repeated_node_names(tmp_path: Path) -> None:
    proto = parsed("""
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[N] x) => (float[N] y) { a = Neg (x) b = Neg (a) c = Abs (b) d = Neg (c) y = Neg (d) }
    """)
    for node, name in zip(proto.graph.node, ("", "same", "same", "Neg_1", ""), strict=True):
        node.name = name
    names = [node.name for node in normalise(loaded(tmp_path, proto)).graph]
    assert names == ["Neg_0", "same", "same_0", "Neg_1", "Neg_2"]
    assert [node.name for node in normalise(loaded(tmp_path, proto)).graph] == names


def test_unsorted_graphs_are_sorted_and_sorted_ones_left(tmp_path: Path) -> None:
    proto = parsed(MODEL)
    order = [node.op_type for node in proto.graph.node]
    assert op_types(normalise(loaded(tmp_path, proto))) == order
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    model = normalise(loaded(tmp_path, proto))
    assert op_types(model) == order
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


def with_initializer_as_input(ir_version: int) -> onnx.ModelProto:
    proto = parsed(MODEL)
    proto.ir_version = ir_version
    proto.graph.input.insert(0, helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 4]))
    return proto


def test_initializers_that_old_versions_list_as_inputs_are_no_inputs(tmp_path: Path) -> None:
    model = normalise(loaded(tmp_path, with_initializer_as_input(3)))
    assert [value.name for value in model.graph.inputs] == ["x", "c"]
    assert model.ir_version == 4
    assert model.graph.initializers["w"].const_value is not None
    files.save_model(model, tmp_path / "out.onnx")
    assert [value.name for value in files.load_model(tmp_path / "out.onnx").graph.inputs] == ["x", "c"]


def test_defaults_of_inputs_stay_inputs(tmp_path: Path) -> None:
    model = normalise(loaded(tmp_path, with_initializer_as_input(8)))
    assert [value.name for value in model.graph.inputs] == ["w", "x", "c"]
    assert model.graph.initializers["w"].is_graph_input()
    assert unshare(model) == 0


SHARED = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 4] x, bool c) => (float[N, 4] y, float[4] out)
<
    float[4] bias = {1, 2, 3, 4}, float[4] out = {1, 1, 1, 1}, float[4] inner = {2, 2, 2, 2},
    float[4] once = {3, 3, 3, 3}, float[4] taken = {0, 0, 0, 0}
>
{
    a = Add (x, bias) b = Mul (bias, bias) d = Add (a, b) e = MatMul (d, big) h = MatMul (e, big)
    i = Add (h, out) j = Add (i, out) k = Mul (j, inner) l = Add (k, once) m = Mul (taken, l)
    y = If (c) <
        then_branch = t () => (float[N, 4] p) { p = Mul (m, inner) },
        else_branch = f () => (float[N, 4] q) { q = Neg (m) }
    >
}
"""


def shared(folder: Path) -> ir.Model:
    proto = parsed(SHARED)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.eye(4, dtype=np.float32), "big"))
    next(tensor for tensor in proto.graph.initializer if tensor.name == "taken").name = "bias.1"
    proto.graph.node[9].input[0] = "bias.1"
    return normalise(loaded(folder, proto))


def test_small_shared_initializers_get_a_copy_for_each_use(tmp_path: Path) -> None:
    model = shared(tmp_path)
    feeds = {"x": RNG.standard_normal((2, 4)).astype(np.float32), "c": np.array(True)}
    before = run(model, feeds)
    assert unshare(model, max_elements=15) == 3
    inputs = [[value.name for value in node.inputs if value is not None] for node in model.graph]
    assert inputs[:2] == [["x", "bias"], ["bias.2", "bias.3"]]
    assert [names[1] for names in inputs[3:8]] == ["big", "big", "out", "out", "inner"]
    np.testing.assert_array_equal(model.graph.initializers["bias.3"].const_value.numpy(), [1, 2, 3, 4])
    for old, new in zip(before, run(model, feeds), strict=True):
        np.testing.assert_array_equal(old, new)
    assert unshare(model, max_elements=15) == 0
    assert unshare(model, max_elements=16) == 1
    files.save_model(model, tmp_path / "out.onnx")
    assert files.load_model(tmp_path / "out.onnx")


def test_copies_do_not_depend_on_the_run(tmp_path: Path) -> None:
    models = [shared(tmp_path), shared(tmp_path)]
    for model in models:
        unshare(model)
        files.save_model(model, tmp_path / f"{id(model)}.onnx")
    first, second = (list(model.graph.initializers) for model in models)
    assert first == second


@pytest.mark.parametrize("dtype", [TensorProto.STRING, TensorProto.INT4, TensorProto.BFLOAT16, TensorProto.BOOL])
def test_copies_of_any_data_type(tmp_path: Path, dtype: int) -> None:
    text = '<ir_version: 10, opset_import: ["" : 21]> g (float[N] x) => (float[N] y) { y = Neg (x) }'
    proto = parsed(text)
    content = ["a", "é", "c"] if dtype == TensorProto.STRING else [1, 0, 1]
    proto.graph.initializer.append(helper.make_tensor("t", dtype, [3], content))
    proto.graph.node.extend(helper.make_node("Identity", ["t"], [f"i{index}"]) for index in range(2))
    model = normalise(loaded(tmp_path, proto))
    assert unshare(model) == 1
    files.save_model(model, tmp_path / "out.onnx")
    tensors = {
        name: value.const_value for name, value in files.load_model(tmp_path / "out.onnx").graph.initializers.items()
    }
    assert tensors["t"].dtype == tensors["t.1"].dtype == ir.DataType(dtype)
    np.testing.assert_array_equal(tensors["t"].numpy(), tensors["t.1"].numpy())


@pytest.mark.parametrize(("empty", "left"), [("[0, 8]", 1), ("[5, 0]", 1), ("[0, 0]", 1), ("[0, 3]", 2)])
def test_constants_that_add_nothing_are_not_joined(tmp_path: Path, empty: str, left: int) -> None:
    """ONNX Runtime joins an empty value to one of any other sizes; along the last axis 3 are counted."""
    axis = 0 if empty == "[0, 8]" else 1
    text = f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N, 8] x) => (float[A, B] y) <float{empty} e = {{}}> {{
        y = Concat <axis = {axis}> (x, e) }}"""
    model = normalise(files.load_model(written(tmp_path, parsed(text))))
    assert len(model.graph[0].inputs) == left


def test_of_constants_without_elements_one_stays(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g () => (float[A, B] y) <float[0, 8] e = {}> {
        y = Concat <axis = 0> (e, e) }"""
    assert len(normalise(files.load_model(written(tmp_path, parsed(text)))).graph[0].inputs) == 2
