"""Constants are held against those of the graph that they came from, without a run that reaches them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.errors import ProofFailed
from compressor.graph.form.normalise import normalise
from compressor.pruning.proofs.graphs.constants import demand_same_constants

TABLE = """<ir_version: 10, opset_import: ["" : 20]>
g (int64[n] ids) => (float[n,2] y) <float[2,3] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, float one = {1.0}> {
    t = Transpose(w)  table = Exp(t)  picked = Gather(table, ids)  y = Min(picked, one)
}"""


def read(text: str) -> ir.Model:
    return ir.serde.deserialize_model(onnx.parser.parse_model(text))


def folded(change: float = 0.0, name: str = "table") -> ir.Model:
    """The graph with its table computed, the last entry off by ``change``."""
    table = np.exp(np.asarray([[1, 4], [2, 5], [3, 6]], np.float32))
    table[-1, -1] += change
    made = read(TABLE)
    gather = next(node for node in made.graph if node.op_type == "Gather")
    value = ir.Value(name=name, const_value=ir.tensor(table, name=name))
    for node in [n for n in made.graph if n.op_type in ("Exp", "Transpose")]:
        for output in node.outputs:
            output.name = f"{output.name}.folded"
    made.graph.register_initializer(value)
    gather.replace_input_with(0, value)
    return made


@pytest.mark.parametrize("name", ["table", "table.1"])
def test_what_folding_computed(name: str) -> None:
    demand_same_constants(read(TABLE), folded(name=name), "cpu")
    with pytest.raises(ProofFailed, match="'table' was folded to other numbers"):
        demand_same_constants(read(TABLE), folded(1.0, name), "cpu")


@pytest.mark.parametrize("name", ["one", "one.1"])
def test_a_bound_that_nothing_exceeds(name: str) -> None:
    made = read(TABLE)
    bound = made.graph.initializers.pop("one")
    value = ir.Value(name=name, const_value=ir.tensor(np.asarray(7, np.float32), name=name))
    made.graph.register_initializer(value)
    bound.replace_all_uses_with(value)
    with pytest.raises(ProofFailed, match="weight 'one' is not what the file holds"):
        demand_same_constants(read(TABLE), made, "cpu")


def test_what_depends_on_an_input_is_for_the_runs() -> None:
    text = TABLE.replace("table = Exp(t)", "r = Shape(ids)  f = CastLike(r, t)  table = Mul(t, f)")
    demand_same_constants(read(text), folded(1.0), "cpu")


def test_one_that_does_not_run_says_nothing_of_the_others() -> None:
    """It is named, and a wrong number beside it is still found."""
    broken = "t = Transpose(w)  one = Constant<value_float=1.0>()  bad = MatMul(w, w)  z = ReduceSum(bad)"
    text = TABLE.replace(", float one = {1.0}", "").replace("t = Transpose(w)", broken)
    text = text.replace("y = Min(picked, one)", "q = Min(picked, one)  y = Add(q, z)")
    made = folded()
    made.graph.register_initializer(ir.Value(name="z", const_value=ir.tensor(np.float32(3), name="z")))
    (missing,) = demand_same_constants(read(text), made, "cpu")
    assert missing.group == "z"
    made = folded(1.0)
    made.graph.register_initializer(ir.Value(name="z", const_value=ir.tensor(np.float32(3), name="z")))
    with pytest.raises(ProofFailed, match="'table' was folded to other numbers"):
        demand_same_constants(read(text), made, "cpu")


def test_bodies_may_call_different_weights_alike() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]>
g (float[n,2] x, bool c) => (float[n,2] y) {
    y = If(c) <then_branch = one () => (float[n,2] p) <float[2,2] w = {1.0, 2.0, 3.0, 4.0}> { p = MatMul(x, w) },
              else_branch = two () => (float[n,2] q) <float[2,2] w = {5.0, 6.0, 7.0, 8.0}> { q = MatMul(x, w) }>
}"""
    source = read(text)
    assert demand_same_constants(source, normalise(source.clone()), "cpu") == []


def masked(wanted: list[float], found: list[float], dtype: type[np.generic]) -> tuple[ir.Model, ir.Model]:
    """A graph that computes three numbers, and one that has them already."""
    kind = {np.float32: "float", np.float16: "float16", np.int64: "int64"}[dtype]
    source = read(f"""<ir_version: 10, opset_import: ["" : 20]>
        g ({kind}[n,3] x) => ({kind}[n,3] y) {{ mask = Mul(w, ones)  y = Add(x, mask) }}""")
    for name, numbers in (("w", wanted), ("ones", [1.0] * 3)):
        value = ir.Value(name=name, const_value=ir.tensor(np.asarray(numbers).astype(dtype), name=name))
        source.graph.register_initializer(value)
        for node in source.graph:
            for place in [k for k, read_value in enumerate(node.inputs) if str(read_value.name) == name]:
                node.replace_input_with(place, value)
    return source, with_constant(source, "mask", np.asarray(found).astype(dtype))


def with_constant(source: ir.Model, name: str, array: np.ndarray) -> ir.Model:
    """The graph with a value that is a constant, in place of the node that makes it."""
    made = source.clone()
    node = next(node for node in made.graph if node.outputs[0].name == name)
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    node.outputs[0].name = f"{name}.folded"
    made.graph.register_initializer(value)
    node.outputs[0].replace_all_uses_with(value)
    return made


@pytest.mark.parametrize(
    ("right", "wrong", "dtype"),
    [
        ([-3.4e38, 1.0, 5.0], [-3.4e38, 99.0, 0.0], np.float32),
        ([-1e9, 1.0, 0.0], [-1e9, 1.0, 50.0], np.float32),
        ([-1e4, 0.0, 0.0], [-1e4, 0.05, 0.0], np.float32),
        ([-3.4e38, 0.0, 0.0], [-1.7e38, 0.0, 0.0], np.float32),
        ([-65504, 1.0, 5.0], [-65504, 99.0, 0.0], np.float16),
        ([1000000, 2, 3], [1000000, 2, 4], np.int64),
    ],
)
def test_small_numbers_beside_what_stands_for_infinity(
    right: list[float], wrong: list[float], dtype: type[np.generic]
) -> None:
    demand_same_constants(*masked(right, right, dtype), "cpu")
    with pytest.raises(ProofFailed, match="'mask' was folded to other numbers"):
        demand_same_constants(*masked(right, wrong, dtype), "cpu")


def test_one_of_many_whole_numbers() -> None:
    source = read("""<ir_version: 10, opset_import: ["" : 20]>
        g (int64[2000] x) => (int64[2000] y) <int64 zero = {0}, int64 end = {2000}, int64 one = {1}> {
            rows = Range(zero, end, one)  y = Add(x, rows) }""")
    array = np.arange(2000)
    demand_same_constants(source, with_constant(source, "rows", array), "cpu")
    array = np.where(array == 3, 7, array)
    with pytest.raises(ProofFailed, match="'rows' was folded to other numbers"):
        demand_same_constants(source, with_constant(source, "rows", array), "cpu")


def test_sums_in_which_numbers_cancel_round_as_large_as_what_they_are_of() -> None:
    """Folding and the runtime add up in other orders, which shows where little is left."""
    demand_same_constants(*masked([1e-7, 3.0, 700.0], [2e-7, 3.0, 700.0], np.float32), "cpu")


@pytest.mark.parametrize("array", [np.ones((1, 3), np.float32), np.ones(3, np.float64)])
def test_another_shape_or_type_is_a_fault(array: np.ndarray) -> None:
    source, _ = masked([1, 1, 1], [1, 1, 1], np.float32)
    with pytest.raises(ProofFailed, match="'mask' was folded to"):
        demand_same_constants(source, with_constant(source, "mask", array), "cpu")


@pytest.mark.parametrize("number", [2.0, 3.0])
def test_one_that_broadcasts_to_what_its_reader_had(number: float) -> None:
    """An Expand in front of an Add may go with its copies."""
    source = read("""<ir_version: 10, opset_import: ["" : 20]>
        g (float[n,3] x) => (float[n,3] y) <float two = {2.0}, int64[1] size = {3}> {
            wide = Expand(two, size)  y = Add(x, wide) }""")
    made = read(f"""<ir_version: 10, opset_import: ["" : 20]>
        g (float[n,3] x) => (float[n,3] y) <float other = {{{number}}}> {{ y = Add(x, other) }}""")
    if number == 2.0:
        demand_same_constants(source, made, "cpu")
        return
    with pytest.raises(ProofFailed, match="'wide' was folded to other numbers"):
        demand_same_constants(source, made, "cpu")


def test_every_reader_is_asked() -> None:
    source = read("""<ir_version: 10, opset_import: ["" : 20]>
        g (float[n,3] x) => (float[n,3] y) <float two = {2.0}> { t = Neg(two)  a = Add(x, t)  y = Mul(a, t) }""")
    made = read("""<ir_version: 10, opset_import: ["" : 20]>
        g (float[n,3] x) => (float[n,3] y) <float one = {9.0}, float other = {-2.0}> {
            a = Add(x, one)  y = Mul(a, other) }""")
    with pytest.raises(ProofFailed, match="'t' was folded to other numbers"):
        demand_same_constants(source, made, "cpu")


def test_texts() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]>
    g (int64[n] i) => (string[n] y) { a = Constant<value_strings=["b", "c"]>()  t = Identity(a)  y = Gather(t, i) }"""
    made = read(text)
    names = ir.Value(name="t", const_value=ir.StringTensor(np.asarray([b"b", b"c"], object), name="t"))
    gather = next(node for node in made.graph if node.op_type == "Gather")
    table = gather.inputs[0]
    assert table is not None
    table.name = "t.folded"
    made.graph.register_initializer(names)
    gather.replace_input_with(0, names)
    assert not demand_same_constants(read(text), made, "cpu")
    names.const_value = ir.StringTensor(np.asarray([b"b", b"d"], object), name="t")
    with pytest.raises(ProofFailed, match="'t' was folded to other numbers"):
        demand_same_constants(read(text), made, "cpu")
