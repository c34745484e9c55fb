"""Values that hold one number follow whoever uses them, through whatever moves them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import NothingToPrune
from tests.models import in_memory, model, weight

SHAPE = """s = Shape(x)  n = Gather(s, one)  b = Unsqueeze(n, first)  to = Concat<axis=0>(two, b, width)"""
"""The shape of two states, [2, batch, 8], as exporters spell it out."""

STATES = {
    "slices": f"{SHAPE}  z = ConstantOfShape(to)  h = Slice(z, first, one1, first)  k = Slice(z, one1, two, first)",
    "a split": f"{SHAPE}  z = ConstantOfShape(to)  h, k = Split<axis=0,num_outputs=2>(z)",
    "picked and unsqueezed": f"""{SHAPE}  z = ConstantOfShape(to)  p = Gather<axis=0>(z, zero)
        h = Unsqueeze(p, first)  k = Identity(h)""",
    "an expanded number": f"{SHAPE}  z = Expand(half, to)  h = Slice(z, first, one1, first)  k = Identity(h)",
    "halves joined": f"""{SHAPE}  z = ConstantOfShape(to)  l, r = Split<axis=2,num_outputs=2>(z)
        c = Concat<axis=2>(r, l)  h, k = Split<axis=0,num_outputs=2>(c)""",
    "zeros of the file, expanded": f"{SHAPE}  z = Expand(zeros, to)  h, k = Split<axis=0,num_outputs=2>(z)",
    "two that are joined": f"""{SHAPE}  z = ConstantOfShape(to)  e = Expand(none, to)  l = Slice(z, first, one1, first)
        r = Slice(e, first, one1, first)  c = Concat<axis=0>(l, r)  h, k = Split<axis=0,num_outputs=2>(c)""",
    "one that both read": f"""{SHAPE}  z = ConstantOfShape(to)  h = Slice(z, first, one1, first)  k = Identity(h)
        i = Identity(h)""",
}


def stack(states: str, *, opset: int = 18) -> onnx.ModelProto:
    """Two LSTMs, one behind the other, of eight hidden units each; ``h`` and ``k`` are their first states."""
    return model(
        f"""
        (float[5,N,4] x) => (float y)
        <float[1,32,4] W, float[1,32,8] R, float[1,32,8] V, float[1,32,8] S, float[8,3] head,
         float half = {{0.5}}, float none = {{0}},
         float[2,1,8] zeros = {{0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}},
         int64 one = {{1}}, int64 zero = {{0}}, int64[1] first = {{0}}, int64[1] one1 = {{1}}, int64[1] two = {{2}},
         int64[1] width = {{8}}> {{
            {states}
            o = LSTM<hidden_size=8>(x, W, R, "", "", h, k)  q = Squeeze(o, one1)
            u = LSTM<hidden_size=8>(q, V, S, "", "", k, h)  t = Squeeze(u, one1)
            y = MatMul(t, head) }}""",
        opset=opset,
    )


@pytest.mark.parametrize("states", STATES)
def test_states_follow_their_layers(states: str) -> None:
    result = prune(in_memory(stack(STATES[states])), PruneSettings(ratio=0.5, round_to=1))
    assert {g.name: g.removed for g in result.report.groups} == {"W": 4, "V": 4}
    proto = ir.to_proto(result.model)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    for batch in (1, 3, 7):
        (y,) = session.run(None, {"x": np.ones((5, batch, 4), np.float32)})
        assert np.asarray(y).shape == (5, batch, 3)


def test_users_of_one_value_keep_different_numbers() -> None:
    """Whichever units are weakest over the whole model go, so that one layer loses more than the other."""
    proto = stack(STATES["slices"])
    for tensor in proto.graph.initializer:
        if tensor.name in ("V", "S"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(4 * weight(proto, tensor.name), tensor.name))
    settings = PruneSettings(ratio=0.4, round_to=1, scope="global")
    small = prune(in_memory(proto), settings).model
    hidden = [weight(small, name).shape[2] for name in ("R", "S")]
    assert hidden[0] < hidden[1]


OLD = """
    (float[5,N,4] x) => (float y)
    <float[1,32,4] W, float[1,32,8] R, float[1,32,8] V, float[1,32,8] S, float[8,3] head, int64 one = {1},
     int64[1] two = {2}, int64[1] width = {8}> {
        s = Shape(x)  n = Gather(s, one)  b = Unsqueeze<axes=[0]>(n)  to = Concat<axis=0>(two, b, width)
        z = ConstantOfShape(to)  h = Slice<axes=[0],starts=[0],ends=[1]>(z)
        o = LSTM<hidden_size=8>(x, W, R, "", "", h, h)  q = Squeeze<axes=[1]>(o)
        u = LSTM<hidden_size=8>(q, V, S, "", "", h, h)  t = Squeeze<axes=[1]>(u)
        y = MatMul(t, head) }"""


def test_before_slices_take_their_bounds_as_inputs() -> None:
    result = prune(in_memory(model(OLD, opset=9)), PruneSettings(ratio=0.5, round_to=1))
    assert {g.name: g.removed for g in result.report.groups} == {"W": 4, "V": 4}


def test_copies_are_taken_out_again() -> None:
    """Also where nothing is simplified."""
    source = in_memory(stack(STATES["slices"]))
    result = prune(source, PruneSettings(ratio=0.5, round_to=1, simplify=False))
    assert not [n for n in result.model.graph if n.op_type == "Identity"]


def test_a_number_that_is_joined_with_another_is_no_fill() -> None:
    states = f"""{SHAPE}  z = ConstantOfShape(to)  e = Expand(half, to)  l = Slice(z, first, one1, first)
        r = Slice(e, first, one1, first)  c = Concat<axis=0>(l, r)  h, k = Split<axis=0,num_outputs=2>(c)"""
    with pytest.raises(NothingToPrune) as nothing:
        prune(in_memory(stack(states)), PruneSettings(ratio=0.5, round_to=1))
    assert any("h meets it in LSTM" in row.reason for row in nothing.value.frozen)


BRANCHES = """
    (float[5,N,4] x) => (float[t,n,c] y)
    <float[1,32,4] W, float[1,32,8] R, float[1,24,4] V, float[1,24,6] S, float[6,8] m, float[8,3] head, int64 one = {1},
     int64[1] axis = {1}, int64[1] none = {0}, int64[1] once = {1}, int64[1] wide = {8}, int64[1] six = {6},
     int64[1] last = {2}, float far = {1e9}> {
        s = Shape(x)  n = Gather(s, axis)  to = Concat<axis=0>(once, n, wide)  z = ConstantOfShape(to)
        small = ReduceMax<keepdims=0>(x)  c = Greater(small, far)
        b = If(c) <
            then_branch = a () => (float[5,n,8] p) {
                o = LSTM<hidden_size=8>(x, W, R, "", "", z, z)  p = Squeeze(o, axis) },
            else_branch = d () => (float[5,n,8] q) {
                h = Slice(z, none, six, last)
                u = LSTM<hidden_size=6>(x, V, S, "", "", h, h)  t = Squeeze(u, axis)  q = MatMul(t, m) }>
        y = MatMul(b, head) }"""


def test_states_that_branches_read() -> None:
    """Made at run time outside, used whole in one branch and in part in the other."""
    report = prune(in_memory(model(BRANCHES)), PruneSettings(ratio=0.5, round_to=1)).report
    assert {g.name: g.removed for g in report.groups} == {"W": 4, "V": 3}
    assert report.proof is not None
    assert not report.proof.not_proved


RETURNED = """
    (float[3,8] x) => (float[n,c] y) <float[8,16] w, float[16,4] v, int64 zero = {0}, int64[1] wide = {16},
     int64[1] first = {0}, float far = {1e9}> {
        a = MatMul(x, w)  small = ReduceMax<keepdims=0>(x)  c = Greater(small, far)
        b = If(c) <
            then_branch = one () => (float[3,16] q) {
                s = Shape(x)  n = Gather(s, first)  to = Concat<axis=0>(n, wide)  z = ConstantOfShape(to)
                q = Identity(z) },
            else_branch = two () => (float[3,16] r) { r = Relu(a) }>
        y = MatMul(b, v) }"""


def test_a_branch_that_returns_a_number_everywhere() -> None:
    for simplify in (True, False):
        source = in_memory(model(RETURNED.replace("float[3,8] x", "float[N,8] x")))
        report = prune(source, PruneSettings(ratio=0.5, round_to=1, simplify=simplify)).report
        assert {g.name: g.removed for g in report.groups} == {"w": 8}


def test_a_first_state_that_meets_a_layer_before_its_other_calls_do() -> None:
    """One layer is called twice, first with zeros whose number is open: neither says what the other is at that call."""
    text = """(float[N,8] x) => (float[N,3] y)
        <float[8,16] w, float[16,16] k, float[16,3] v, float[1,1] zero = {0}, int64[1] wide = {16}> {
        n = Shape<end=1>(x)  to = Concat<axis=0>(n, wide)  z = Expand(zero, to)
        a = MatMul(x, w)  h = MatMul(z, k)  p = Add(a, h)  q = Tanh(p)
        i = MatMul(q, k)  r = Add(a, i)  t = Tanh(r)  y = MatMul(t, v) }"""
    found = prune(in_memory(model(text)), PruneSettings(ratio=0.5, round_to=1, recover="none"))
    assert {r.group: len(r.indices) for r in found.plan.removals} == {"w": 8}
    assert weight(found.model, "k").shape == (8, 8)


@pytest.mark.parametrize(
    ("size", "made"),
    [
        ("N", "n = Shape<end=1>(x)  to = Concat<axis=0>(n, wide)  z = Expand(zero, to)"),
        ("2", "z = Expand(zero, whole)"),
        ("2", "z = Identity(zeros)"),
    ],
)
def test_a_first_state_that_is_joined_with_an_input(size: str, made: str) -> None:
    """As in a recurrent cell that is unrolled: the layer that reads both follows its later calls."""
    text = f"""(float[{size},8] x) => (float[{size},3] y) <float[24,16] k, float[16,3] v, float[1,1] zero = {{0}},
        float[2,16] zeros = {{{",".join("0" * 32)}}}, int64[1] wide = {{16}}, int64[2] whole = {{2, 16}}> {{
        {made}  a = Concat<axis=1>(x, z)  h = MatMul(a, k)  q = Tanh(h)
        b = Concat<axis=1>(x, q)  i = MatMul(b, k)  t = Tanh(i)  y = MatMul(t, v) }}"""
    found = prune(in_memory(model(text)), PruneSettings(ratio=0.5, round_to=1, recover="none"))
    assert {r.group: len(r.indices) for r in found.plan.removals} == {"k": 8}
    assert weight(found.model, "k").shape == (16, 8)


def test_zeros_that_widen_a_shortcut_go_with_what_they_are_added_to() -> None:
    text = """(float[N,4] x) => (float[N,3] y) <float[4,8] w, float[8,16] k, float[16,3] v, float[1,8] zeros =
        {0,0,0,0,0,0,0,0}, int64[1] wide = {8}> {
        a = MatMul(x, w)  q = Relu(a)  n = Shape<end=1>(x)  to = Concat<axis=0>(n, wide)  z = Expand(zeros, to)
        b = Concat<axis=1>(q, z)  c = MatMul(q, k)  d = Add(b, c)  y = MatMul(d, v) }"""
    found = prune(in_memory(model(text)), PruneSettings(ratio=0.5, round_to=1, recover="none", scope="local"))
    assert sum(len(r.indices) for r in found.plan.removals) == 8
    assert weight(found.model, "v").shape == (8, 3)
