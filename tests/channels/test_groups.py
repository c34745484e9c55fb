"""Groups: names, widths, roles, what globs match, and what could not go."""

from __future__ import annotations

import numpy as np

from compressor.channels.groups import blocked, group, no_group
from compressor.config import PruneSettings
from tests.models import between, in_memory, model, tokens
from tests.oracle import couple, without


def test_members_and_roles() -> None:
    _, coupling = couple(in_memory(between("b = Relu(a)")), PruneSettings())
    one, two = group(coupling)
    assert (one.name, one.channels, one.width, len(one.units)) == ("w", 16, 1, 16)
    assert [(s.label, s.role) for s in one.slots] == [("w:0", "out"), ("v:1", "in"), ("bias:0", "affine")]
    assert (two.name, two.channels) == ("v", 8)


def test_units_stand_in_the_order_of_their_positions() -> None:
    _, coupling = couple(in_memory(between("b = Relu(a)")), PruneSettings())
    one = group(coupling)[0]
    np.testing.assert_array_equal(one.units, one.slots[0].term.units)


def test_parts_of_a_weight_with_different_readers_are_groups_of_their_own() -> None:
    proto = between(
        "b = Slice(a, from, to, one)", more="int64[1] from = {4}, int64[1] to = {16}, int64[1] one = {1}", out=12
    )
    _, coupling = couple(in_memory(proto), PruneSettings())
    found = {g.name: g.channels for g in group(coupling)}
    assert found == {"w": 4, "w#2": 12, "v": 8}


def test_width_counts_positions_of_one_unit() -> None:
    """A hidden unit of an LSTM owns a row of each gate, and counts as one channel."""
    proto = model(
        """(float[5,3,8] x) => (float y) <float[1,64,8] u, float[1,64,16] t, float[16,6] v, int64[1] one = {1}> {
            all = LSTM<hidden_size=16>(x, u, t)  q = Squeeze(all, one)  y = MatMul(q, v) }"""
    )
    (found,) = group(couple(in_memory(proto), PruneSettings())[1])
    assert (found.width, len(found.units), found.channels) == (4, 16, 16)


def test_globs_match_weights_and_nodes_of_the_filters_only() -> None:
    proto = between("c = Conv<group=16>(a, u)  b = Relu(c)", more="float[16,1,3,3] u")
    one = group(couple(in_memory(proto), PruneSettings())[1])[0]
    assert set(one.names) == {"w", "u", "bias", "Conv_0", "Conv_1"}


def test_blocked_filters_are_counted_by_reason() -> None:
    proto = between("b = Softmax<axis=1>(a)")
    rows = {
        row.label: (row.channels, row.reason.node, row.reason.reason)
        for row in blocked(couple(in_memory(proto), PruneSettings())[1])
    }
    assert rows["w:0"] == (16, "Softmax_1", "Softmax runs over it")
    assert rows["head:0"] == (2, "", "is an output of the model")
    assert list(rows) == ["w:0", "head:0"]


def test_groups_do_not_depend_on_the_run() -> None:
    proto = between("c = Conv(x, u)  b = Concat<axis=1>(a, c)", more="float[4,4,1,1] u", out=20)
    runs = [group(couple(in_memory(proto), PruneSettings())[1]) for _ in range(2)]
    one, two = ([(g.name, g.units.tolist(), [s.label for s in g.slots]) for g in found] for found in runs)
    assert one == two


def test_multiples_are_about_the_widest_filters_of_a_unit() -> None:
    """A head has one bias in a table, which comes first in the file, and eight filters."""
    body = """p = MatMul(a, q)  s = Reshape(p, split)  b0 = Unsqueeze(shares, last)  t = Mul(s, b0)
        b = Reshape(t, flat)"""
    more = "float[4] shares, float[16,32] q, int64[4] split = {3,5,4,8}, int64[3] flat = {3,5,32}, int64[1] last = {-1}"
    found = group(couple(in_memory(tokens(body, more=more, out=32)), PruneSettings())[1])
    heads = next(g for g in found if len(g.units) == 4)
    assert heads.widest == 8
    assert all(g.widest >= g.width for g in found)


def test_a_model_without_groups_is_told_what_stops_most_of_it() -> None:
    proto = model(
        """(float[3,8] x) => (float y) <float[8,16] w, float[16,6] v> {
            a = MatMul(x, w)  b = Celu(a)  c = Sum(b)  y = MatMul(c, v) }"""
    )
    with without("Celu"):
        _, coupling = couple(in_memory(proto), PruneSettings())
    assert group(coupling) == []
    node = next(n.name for n in coupling.graph if n.op_type == "Celu")
    assert f"can be removed (most stop at {node!r}: Celu has no rule); unify or quantize" in no_group(coupling)


def test_a_model_of_outputs_alone_names_the_output() -> None:
    _, coupling = couple(
        in_memory(model("(float[3,8] x) => (float y) <float[8,16] w> { y = MatMul(x, w) }")), PruneSettings()
    )
    assert "(most stop at 'y': " in no_group(coupling)
    _, coupling = couple(in_memory(model("(float[3,8] x) => (float y) { y = Relu(x) }")), PruneSettings())
    assert no_group(coupling).startswith("no channel of this model can be removed; unify")


def test_of_integers_that_no_rule_reads_the_model_before_quantisation_is_asked_for() -> None:
    text = """(float[3,1,8] x) => (float y) <int8[1,8,16] w, int8[1,4,16] r, float s, int8 z> {
        y, h, c = com.microsoft.DynamicQuantizeLSTM<hidden_size=4>(x, w, r, , , , , , s, z, s, z) }"""
    _, coupling = couple(in_memory(model(text, domains=("com.microsoft",), checked=False)), PruneSettings())
    said = no_group(coupling)
    assert "DynamicQuantizeLSTM has no rule" in said
    assert said.endswith("start from the model that it was quantised from, and quantise last")
