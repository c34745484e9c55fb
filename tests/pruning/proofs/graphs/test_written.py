"""A written file is what is in memory, node by node and bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.errors import ProofFailed
from compressor.graph.disk import files
from compressor.pruning.proofs.graphs.written import demand_same
from tests.models import in_memory, model
from tests.property.graphs import random_model

TEXT = """(float[n,8] x, bool c) => (float[n,4] y) <float[8,16] w, float[16,4] v, float[16,4] u> {
    a = MatMul(x, w)  b = LeakyRelu<alpha=0.25>(a)
    y = If(c) <then_branch = one () => (float[n,4] p) { p = MatMul(b, v) },
               else_branch = two () => (float[n,4] q) { r = MatMul(b, u)  q = Neg(r) }> }"""


def weight(found: ir.Model) -> None:
    value = found.graph.initializers["w"]
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    array[-1, -1] = np.nextafter(array[-1, -1], 1)
    value.const_value = ir.tensor(array, name="w")


def node_of(op_type: str) -> Callable[[ir.Model], ir.Node]:
    return lambda found: next(n for n in found.graph.all_nodes() if n.op_type == op_type)


def attribute(found: ir.Model) -> None:
    node_of("LeakyRelu")(found).attributes["alpha"] = ir.AttrFloat32("alpha", 0.5)


def branch(found: ir.Model) -> None:
    node_of("Neg")(found).op_type = "Abs"


def edge(found: ir.Model) -> None:
    node = next(n for n in found.graph.all_nodes() if n.op_type == "MatMul" and n.inputs[1].name == "u")
    node.replace_input_with(1, found.graph.initializers["v"])


def lost(found: ir.Model) -> None:
    node = node_of("LeakyRelu")(found)
    for user, index in list(node.outputs[0].uses()):
        user.replace_input_with(index, node.inputs[0])
    found.graph.remove(node, safe=True)


def opset(found: ir.Model) -> None:
    found.graph.opset_imports[""] -= 1


def version(found: ir.Model) -> None:
    found.ir_version -= 1


@pytest.mark.parametrize("edit", [weight, attribute, branch, edge, lost, opset, version])
def test_what_differs_is_named(edit: Callable[[ir.Model], None]) -> None:
    written, kept = in_memory(model(TEXT)), in_memory(model(TEXT))
    demand_same(kept, written)
    edit(written)
    with pytest.raises(
        ProofFailed, match=r"of the written file is another|the written file (has|is of other versions)"
    ):
        demand_same(kept, written)


def test_numbers_of_attributes_are_those_of_the_file(tmp_path: Path) -> None:
    """In memory they have 64 bits; what a pass put there may have more than a file can hold."""
    found = in_memory(model(TEXT))
    node_of("LeakyRelu")(found).attributes["alpha"] = ir.AttrFloat32("alpha", 8**-0.5)
    node_of("MatMul")(found).resize_inputs(3)
    files.save_model(found, tmp_path / "out.onnx")
    demand_same(found, files.load_model(tmp_path / "out.onnx"))


@pytest.mark.parametrize("seed", range(20))
def test_what_is_written_is_read(seed: int, tmp_path: Path) -> None:
    onnx.save(random_model(np.random.default_rng(seed)), tmp_path / "in.onnx")
    found = files.load_model(tmp_path / "in.onnx")
    files.save_model(found, tmp_path / "out.onnx")
    demand_same(found, files.load_model(tmp_path / "out.onnx"))


def test_functions_are_the_same_ones() -> None:
    source = """<ir_version: 10, opset_import: ["" : 18, "my" : 1]>
        g (float[2] x) => (float[2] y) { y = my.twice(x) }
        <domain: "my", opset_import: ["" : 18]> twice (a) => (b) { b = Add(a, a) }"""
    with_one, without = (ir.from_proto(onnx.parser.parse_model(source)) for _ in "ab")
    without.functions.clear()
    for proved, other in ((with_one, without), (without, with_one)):
        with pytest.raises(ProofFailed, match="has other functions than were proved"):
            demand_same(proved, other)


CALLED = """<ir_version: 10, opset_import: ["" : 18, "my" : 1]>
    g (float[2,3] x) => (float[3,2] y) { y = my.turned<a = 0.2, b = 0.7, turn = [1, 0]>(x) }
    <domain: "my", opset_import: ["" : 18]> turned <a, b, turn> (p) => (q) {
        r = LeakyRelu<alpha: float = @a>(p)  q = Transpose<perm: ints = @turn>(r) }"""


def test_attributes_that_refer_to_those_of_the_call() -> None:
    """Every reference has no value of its own, so that it is the name that counts."""
    one, same, other, spelled = (
        ir.from_proto(onnx.parser.parse_model(text))
        for text in (CALLED, CALLED, CALLED.replace("@a", "@b"), CALLED.replace("alpha: float = @a", "alpha = 0.2"))
    )
    demand_same(one, same)
    for wrong in (other, spelled):
        with pytest.raises(ProofFailed, match="is another than was proved"):
            demand_same(one, wrong)


def test_weights_of_bodies_are_compared() -> None:
    text = """(float[2] x, bool c) => (float[2] y) {
        y = If(c) <then_branch = one () => (float[2] p) <float[2] own = {1.0, 2.0}> { p = Add(x, own) },
                   else_branch = two () => (float[2] q) { q = Neg(x) }> }"""
    kept, other = (in_memory(model(each)) for each in (text, text.replace("2.0}", "3.0}")))
    demand_same(kept, in_memory(model(text)))
    with pytest.raises(ProofFailed, match="weight 'own' of the written file is another"):
        demand_same(kept, other)


def test_weights_of_functions_are_compared() -> None:
    """In memory a function may have some, though a file writes them as nodes."""
    kept, same, other = (ir.from_proto(onnx.parser.parse_model(CALLED)) for _ in "abc")
    for found, number in ((kept, 1.0), (same, 1.0), (other, 2.0)):
        (function,) = found.functions.values()
        tensor = ir.tensor(np.asarray([number], np.float32), name="own")
        function.graph.initializers["own"] = ir.Value(name="own", const_value=tensor)
    demand_same(kept, same)
    with pytest.raises(ProofFailed, match="weight 'own' of the written file is another"):
        demand_same(kept, other)
