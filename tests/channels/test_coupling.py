"""The engine: what hangs together, what is frozen and why, and that passes repeat until nothing merges."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from compressor.channels.coupling import Coupling, Policy
from compressor.channels.groups import ChannelGroup, blocked, group
from compressor.config import PruneSettings
from compressor.operators.table import RULES
from tests.models import between, in_memory, model, tokens
from tests.oracle import couple

SETTINGS = PruneSettings()


def coupled(proto: onnx.ModelProto, **settings: object) -> Coupling:
    return couple(in_memory(proto), PruneSettings.parse(settings))[1]


def groups(proto: onnx.ModelProto, **settings: object) -> dict[str, ChannelGroup]:
    return {g.name: g for g in group(coupled(proto, **settings))}


def axes(proto: onnx.ModelProto, **settings: object) -> dict[str, list[str]]:
    return {name: [slot.label for slot in g.slots] for name, g in groups(proto, **settings).items()}


def reasons(proto: onnx.ModelProto, value: str) -> list[str]:
    return [row.reason.reason for row in blocked(coupled(proto)) if row.label.startswith(f"{value}:")]


# ---- what hangs together ------------------------------------------------------------------------------------


def test_chain() -> None:
    assert axes(between("b = Relu(a)")) == {"w": ["w:0", "v:1", "bias:0"], "v": ["v:0", "head:1"]}


def test_residual_couples_both_producers() -> None:
    proto = between("c = Conv(a, u)  b = Add(a, c)", more="float[16,16,1,1] u")
    assert axes(proto)["w"] == ["w:0", "u:0", "v:1", "u:1", "bias:0"]


def test_depthwise_follows() -> None:
    proto = between("b = Conv<group=16>(a, u, p)", more="float[16,1,3,3] u, float[16] p")
    assert sorted(axes(proto)["w"]) == ["bias:0", "p:0", "u:0", "v:1", "w:0"]


def test_gate_for_each_channel_is_coupled_and_its_waist_is_not() -> None:
    proto = between(
        "g = GlobalAveragePool(a)  h = Conv(g, u)  r = Relu(h)  e = Conv(r, t)  i = Sigmoid(e)  b = Mul(a, i)",
        more="float[4,16,1,1] u, float[16,4,1,1] t",
    )
    assert set(axes(proto)["w"]) == {"w:0", "bias:0", "u:1", "t:0", "v:1"}
    assert set(axes(proto)["u"]) == {"u:0", "t:1"}


def test_a_gate_for_each_pixel_couples_nothing() -> None:
    proto = between("g = Conv(x, u)  b = Mul(a, g)", more="float[1,4,1,1] u")
    assert set(axes(proto)) == {"w", "v"}


def test_flattened_channels_own_a_run_of_columns() -> None:
    proto = model(
        """(float[3,4,6,6] x) => (float y) <float[8,4,3,3] w, float[6,128] v> {
            a = Conv(x, w)  f = Flatten(a)  y = Gemm<transB=1>(f, v) }"""
    )
    found = groups(proto)["w"]
    slot = next(s for s in found.slots if s.value.name == "v")
    assert slot.term.units.tolist() == np.repeat(found.units, 16).tolist()


def test_concatenation_keeps_its_parts_apart() -> None:
    proto = between("c = Conv(x, u)  b = Concat<axis=1>(a, c)", more="float[4,4,1,1] u", out=20)
    found = axes(proto)
    assert {"w:0", "v:1"} <= set(found["w"])
    assert {"u:0", "v:1"} <= set(found["u"])


def test_tied_embedding() -> None:
    proto = model(
        """(int64[3,5] i) => (float y) <float[4200,16] w, float[16,16] u> {
            e = Gather(w, i)  h = MatMul(e, u)  t = Transpose(w)  y = MatMul(h, t) }"""
    )
    assert set(axes(proto)["w"]) == {"w:1", "u:0", "u:1"}


def test_a_small_constant_that_two_layers_share_ties_nothing() -> None:
    proto = between("c = Conv(a, u, bias)  b = Relu(c)", more="float[16,16,1,1] u")
    assert {"w", "u", "v"} == set(axes(proto))


def test_a_large_weight_that_two_layers_share_ties_them() -> None:
    proto = between(
        'c = Conv<auto_pad="SAME_UPPER">(a, u)  d = Relu(c)  b = Conv<auto_pad="SAME_UPPER">(d, u)',
        more="float[16,16,17,17] u",
    )
    assert set(axes(proto)) == {"w", "v"}


def test_heads_or_their_dimensions() -> None:
    proto = tokens(
        """q1 = MatMul(a, wq)  q = Reshape(q1, split)  k1 = MatMul(a, wk)  k = Reshape(k1, split)
        s = Einsum<equation="bthd,bshd->bhts">(q, k)  p = Softmax(s)
        o = Einsum<equation="bhts,bshd->bthd">(p, k)  b = Reshape(o, join)""",
        more="float[16,16] wq, float[16,16] wk, int64[4] split = {3,5,4,4}, int64[3] join = {3,5,16}",
    )
    heads = groups(proto, attention="heads")["wq"]
    assert (len(heads.units), heads.width) == (4, 4)
    dims = groups(proto, attention="dims")["wq"]
    assert (len(dims.units), dims.width) == (16, 1)


def test_labels_dropped_in_one_pass_are_carried_on_in_the_next() -> None:
    """The mean over each row loses the joint label; a later product turns it into whole rows, which the mean keeps."""
    proto = tokens(
        """r = Reshape(a, split)  e = ReduceMean<keepdims=0>(r, last)  g = MatMul(e, u)  f = Unsqueeze(g, last)
        h = Mul(r, f)  b = Reshape(h, join)""",
        more="int64[4] split = {3,5,4,4}, int64[3] join = {3,5,16}, int64[1] last = {3}, float[4,4] u",
    )
    coupling = coupled(proto)
    version = coupling.units.version
    coupling.run()
    assert coupling.units.version == version, "the fixpoint is one"


def test_coupling_changes_no_graph() -> None:
    source = in_memory(between("b = Relu(a)"))
    analysed, _ = couple(source, SETTINGS)
    before = onnx.printer.to_text(ir.to_proto(analysed))
    shapes = couple(source, SETTINGS)[1].shapes
    Coupling(analysed.graph, shapes, RULES, Policy()).run()
    assert onnx.printer.to_text(ir.to_proto(analysed)) == before


# ---- what is frozen -----------------------------------------------------------------------------------------


def test_outputs_are_frozen() -> None:
    assert reasons(between("b = Relu(a)"), "head") == ["is an output of the model"]


def test_an_operator_without_a_rule() -> None:
    proto = between("n = NonZero(a)  c = Cast<to=1>(n)  m = ReduceMean<keepdims=0>(c)  b = Add(a, m)")
    assert any("NonZero has no rule" in text for text in reasons(proto, "w"))


def test_an_operator_of_another_domain() -> None:
    proto = between("b = custom.Thing(a)", domains=("custom",))
    assert any("custom::Thing has no rule" in text for text in reasons(proto, "w"))


def with_if(read: str) -> onnx.ModelProto:
    """``b`` is ``a``, or its negative, by a condition; one branch reads ``read``."""
    proto = between("n = ReduceMax<keepdims=0>(x)  c = Less(n, big)  b = Abs(a)", more="float big = {100}")
    place = next(k for k, node in enumerate(proto.graph.node) if node.output[0] == "b")
    out = helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, None)
    out2 = helper.make_tensor_value_info("r2", onnx.TensorProto.FLOAT, None)
    one = helper.make_graph([helper.make_node("Neg", [read], ["r"])], "one", [], [out])
    two = helper.make_graph([helper.make_node("Relu", ["a"], ["r2"])], "two", [], [out2])
    proto.graph.node[place].CopyFrom(helper.make_node("If", ["c"], ["b"], "choose", then_branch=one, else_branch=two))
    return proto


def test_channels_run_through_branches() -> None:
    assert set(axes(with_if("a"))) == {"w", "v"}
    assert len(groups(with_if("a"))["w"].units) == 16


def test_a_branch_that_returns_something_without_channels() -> None:
    proto = with_if("wide")
    proto.graph.node.insert(0, helper.make_node("Concat", ["x", "x", "x", "x"], ["wide"], "join", axis=1))
    assert any("nothing to remove" in text for text in reasons(proto, "w"))


def test_weights_that_are_outputs() -> None:
    proto = between("b = Relu(a)")
    proto.graph.output.append(helper.make_tensor_value_info("bias", onnx.TensorProto.FLOAT, [16]))
    assert set(axes(proto)) == {"v"}


def test_inputs_bring_no_channels() -> None:
    proto = between("c = Concat<axis=1>(x, x, x, x)  b = Add(a, c)")
    assert any("nothing to remove" in text for text in reasons(proto, "w"))


@pytest.mark.parametrize("keep", [False, True])
def test_normalised_axes(keep: bool) -> None:
    proto = tokens("b = LayerNormalization(a, s)", more="float[16] s")
    assert ("w" in axes(proto, keep_norm_axes=keep)) is not keep


def test_a_vector_that_stays_does_not_tie_heads_together() -> None:
    """One cosine turns all heads: their dimensions stay beside a cache, but whole query heads may go."""
    proto = model(
        """(float[2,5,8] x, float[2,5,1,1] at, float[2,2,p,4] past) => (float[b,t,c] y, float[b,h,s,d] present)
        <float[8,16] wq, float[8,8] wk, float[1,4] turn, float[16,6] v, int64[4] split = {2,5,4,4},
         int64[4] two = {2,5,2,4}, int64[3] join = {2,5,16}> {
            angle = MatMul(at, turn)  cosine = Cos(angle)
            q1 = MatMul(x, wq)  q2 = Reshape(q1, split)  q = Mul(q2, cosine)
            k1 = MatMul(x, wk)  k2 = Reshape(k1, two)    k = Mul(k2, cosine)
            k3 = Transpose<perm=[0,2,1,3]>(k)            present = Concat<axis=2>(past, k3)
            b = Reshape(q, join)  y = MatMul(b, v) }"""
    )
    assert len(groups(proto)["wq"].units) == 4
