"""Unsound models are refused: names, operator sets, functions, cycles, nesting, what ONNX's checker finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from compressor.graph.disk import files, stream
from tests.graph.disk.samples import CALLS, parsed, refusal, written

Damage = Callable[[onnx.ModelProto], object]


def _without_opsets(m: onnx.ModelProto) -> None:
    del m.opset_import[:]


def _without_outputs(m: onnx.ModelProto) -> None:
    del m.graph.output[:]


def _reads(name: str) -> Damage:
    return lambda m: m.graph.node[0].input.__setitem__(0, name)


def _writes(name: str) -> Damage:
    return lambda m: m.graph.node[0].output.append(name)


def _sparse_attribute(m: onnx.ModelProto) -> None:
    node = m.graph.node.add(op_type="Relu", input=["x"], output=["s"])
    node.attribute.add(name="p", type=onnx.AttributeProto.SPARSE_TENSOR).sparse_tensor.dims.append(2**40)


def _map_input(m: onnx.ModelProto) -> None:
    m.graph.input.add(name="d").type.map_type.key_type = TensorProto.INT64


UNSOUND: dict[str, tuple[Damage, str]] = {
    "no graph": (lambda m: m.ClearField("graph"), "no graph"),
    "no outputs": (_without_outputs, "no outputs"),
    "no IR version": (lambda m: m.ClearField("ir_version"), "no IR version"),
    "future IR version": (lambda m: setattr(m, "ir_version", 99), "IR version 99"),
    "negative IR version": (lambda m: setattr(m, "ir_version", -1), "IR version -1"),
    "ancient IR version": (lambda m: setattr(m, "ir_version", 2), "IR version 2"),
    "no opset": (_without_opsets, "opset is not imported"),
    "future opset": (lambda m: setattr(m.opset_import[0], "version", 9999), "opset 9999 is newer"),
    "opset zero": (lambda m: setattr(m.opset_import[0], "version", 0), "one valid version"),
    "two opsets": (lambda m: m.opset_import.add(domain="ai.onnx", version=11), "one valid version"),
    "foreign domain": (lambda m: setattr(m.graph.node[0], "domain", "acme"), "'acme', whose opset"),
    "training graphs": (lambda m: m.training_info.add(), "training"),
    "unknown operator": (
        lambda m: setattr(m.graph.node[0], "op_type", "MatMol"),
        "No Op registered for MatMol",
    ),
    "unknown attribute": (lambda m: m.graph.node[0].attribute.add(name="q", type=2, i=1), "attribute: q"),
    "attribute of two kinds": (lambda m: m.graph.node[1].attribute[0].ints.append(1), "checker refuses"),
    "parameter outside of a function": (
        lambda m: setattr(m.graph.node[1].attribute[0], "ref_attr_name", "p"),
        "refers to a parameter",
    ),
    "missing operand": (lambda m: m.graph.node[0].input.pop(), "checker refuses"),
    "missing initializer": (lambda m: m.graph.initializer.pop(), "reads 'w', which nothing produces"),
    "missing in a subgraph": (
        lambda m: m.graph.node[1].attribute[1].g.node[0].input.__setitem__(0, "zz"),
        "'zz'",
    ),
    "output of nothing": (lambda m: setattr(m.graph.output[0], "name", "zz"), "'zz' is produced by nothing"),
    "output of a value taken outside": (
        lambda m: m.graph.node[1].attribute[0].g.node[0].output.__setitem__(0, "h"),
        "'h' has no name or one that is taken",
    ),
    "input without type": (lambda m: m.graph.input[0].ClearField("type"), "'x' has no type"),
    "type without elements": (
        lambda m: m.graph.output[0].type.tensor_type.ClearField("elem_type"),
        "no element type",
    ),
    "input twice": (lambda m: m.graph.input.append(m.graph.input[0]), "graph input 'x'"),
    "value produced twice": (lambda m: m.graph.node.append(m.graph.node[0]), "output of MatMul node"),
    "input produced again": (_writes("x"), "'x'"),
    "initializer produced again": (_writes("w"), "'w'"),
    "node that reads itself": (_reads("h"), "cycle"),
    "cycle of nodes": (_reads("y"), "cycle"),
    "sparse initializer": (
        lambda m: m.graph.sparse_initializer.add().dims.append(2**40),
        "unknown data type",
    ),
    "sparse attribute": (_sparse_attribute, "make it dense"),
    "unknown type of a value": (
        lambda m: m.graph.value_info.add(name="h").type.CopyFrom(helper.make_tensor_type_proto(999, [1])),
        "cannot be represented: 999",
    ),
    "map as input": (_map_input, "is a map"),
    "opaque output": (lambda m: m.graph.output[0].type.opaque_type.SetInParent(), "opaque_type"),
}


@pytest.mark.parametrize("case", UNSOUND)
def test_an_unsound_model_is_refused(tmp_path: Path, case: str) -> None:
    damage, reason = UNSOUND[case]
    proto = parsed()
    damage(proto)
    assert reason in refusal(written(tmp_path, proto))


def _calls_itself(m: onnx.ModelProto) -> None:
    m.functions[1].node[0].op_type, m.functions[1].node[0].domain = "h", "local"


def _calls_back(m: onnx.ModelProto) -> None:
    m.functions[1].node[0].op_type, m.functions[1].node[0].domain = "f", "local"


def _calls_back_from_a_subgraph(m: onnx.ModelProto) -> None:
    call = helper.make_node("f", ["p"], ["z"], domain="local")
    graph = helper.make_graph([call], "b", [], [onnx.ValueInfoProto(name="z")])
    m.functions[1].node[0].attribute.append(helper.make_attribute("body", graph))


@pytest.mark.parametrize("damage", [_calls_itself, _calls_back, _calls_back_from_a_subgraph])
def test_recursive_functions_are_refused(tmp_path: Path, damage: Damage) -> None:
    proto = parsed(CALLS)
    damage(proto)
    assert "in a circle" in refusal(written(tmp_path, proto))


def test_functions_see_nothing_of_the_graph_and_are_defined_once(tmp_path: Path) -> None:
    proto = parsed(CALLS)
    proto.functions[1].node[0].input[0] = "x"
    assert "reads 'x'" in refusal(written(tmp_path, proto))
    proto = parsed(CALLS)
    proto.functions.append(proto.functions[1])
    assert "function 'h' is defined twice" in refusal(written(tmp_path, proto))


def chain_of_functions(length: int, calls: int) -> onnx.ModelProto:
    """Functions of which each calls the next ``calls`` times, one after the other."""
    proto = parsed(CALLS)
    del proto.functions[:]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    for index in range(length):
        callee = {"op_type": f"f{index + 1}", "domain": "local"} if index + 1 < length else {"op_type": "Relu"}
        nodes = [onnx.NodeProto(input=[f"v{i}"], output=[f"v{i + 1}"], **callee) for i in range(calls)]
        proto.functions.append(helper.make_function("local", f"f{index}", ["v0"], [f"v{calls}"], nodes, opsets))
    proto.graph.node[0].op_type = "f0"
    return proto


def test_functions_that_would_expand_without_end_are_refused(tmp_path: Path) -> None:
    assert "too many nodes" in refusal(written(tmp_path, chain_of_functions(length=20, calls=10)))
    assert "over 100 deep" in refusal(written(tmp_path, chain_of_functions(length=2000, calls=1)))
    assert len(files.load_model(written(tmp_path, chain_of_functions(length=50, calls=1))).functions) == 50


def nested_ifs(depth: int) -> onnx.ModelProto:
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y0"])], "g", [], [onnx.ValueInfoProto(name="y0")])
    for level in range(1, depth + 1):
        node = helper.make_node("If", ["c"], [f"y{level}"], then_branch=graph, else_branch=graph)
        node.attribute[1].g.ClearField("node")
        graph = helper.make_graph([node], "g", [], [onnx.ValueInfoProto(name=f"y{level}")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_deeply_nested_graphs_are_refused(tmp_path: Path) -> None:
    assert "nested over 30 deep" in refusal(written(tmp_path, nested_ifs(31)))
    assert "reads 'c'" in refusal(written(tmp_path, nested_ifs(30)))  # the depth is fine


def test_nesting_beyond_the_parser_is_refused(tmp_path: Path) -> None:
    content = b""
    for level in range(30_000):  # attribute { g { node { attribute ... without end
        content = stream.field_key((6, 5, 1)[level % 3], len(content)) + content
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x08" + stream.field_key(7, len(content)) + content)
    assert "damaged" in refusal(path)


def test_hostile_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    proto = parsed()
    proto.graph.node[0].input[0] = "\x1b[31m\r\n" + "x" * 100_000
    message = refusal(written(tmp_path, proto))
    assert "\x1b" not in message


def test_unsorted_nodes_and_captured_values_are_sound(tmp_path: Path) -> None:
    proto = parsed()
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    assert [node.op_type for node in files.load_model(written(tmp_path, proto)).graph] == ["MatMul", "If"]


def test_custom_domains_need_no_known_operators(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["acme" : 1]> g (float[N] x) => (float[N] y) { y = acme.Anything (x) }'
    assert files.load_model(written(tmp_path, parsed(text))).graph[0].domain == "acme"


def test_ai_onnx_is_the_default_domain(tmp_path: Path) -> None:
    proto = parsed()
    proto.opset_import[0].domain = proto.graph.node[0].domain = "ai.onnx"
    model = files.load_model(written(tmp_path, proto))
    assert model.opset_imports == {"": 17}
    assert model.graph[0].domain == ""


def test_the_checker_sees_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[onnx.NodeProto] = []
    monkeypatch.setattr(onnx.checker, "check_node", lambda node, _: seen.append(node))
    proto = parsed()
    files.load_model(written(tmp_path, proto))
    branch = proto.graph.node[1].attribute[0].g
    assert [node.op_type for node in seen] == ["MatMul", "If", "Neg", "Constant", "Mul"]
    assert seen[0] == proto.graph.node[0]
    empty = onnx.NodeProto()
    empty.CopyFrom(proto.graph.node[1])
    for attribute in empty.attribute:
        attribute.g.CopyFrom(onnx.GraphProto(name=attribute.g.name))
    assert seen[1] == empty
    constant = seen[3].attribute[0].t
    assert list(constant.dims) == [0]
    assert not constant.float_data
    constant.CopyFrom(branch.node[0].attribute[0].t)
    assert seen[3] == branch.node[0]
