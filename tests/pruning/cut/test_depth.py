"""Residual blocks that go as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.groups import group
from compressor.channels.plan import PruningPlan
from compressor.channels.residual import ResidualBlock
from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import NothingToPrune, PlanError, ProofFailed, UsageError
from compressor.graph.ir.captures import nodes_by_name
from compressor.graph.ir.nodes import become_identity
from compressor.pruning.budgets.cost import CostModel
from compressor.pruning.budgets.parts import OperatorChain, operator_chains
from compressor.pruning.budgets.select import policy_of
from compressor.pruning.cut import surgery
from compressor.pruning.cut.analysis import analyse
from compressor.pruning.cut.depth import idle_blocks, rank_blocks
from compressor.pruning.lossless import learn_constants
from compressor.pruning.proofs import canary
from compressor.runtime.stored import run_once
from tests.models import in_memory, model

NET = """(float[N,3,8,8] x) => (float[N,k] y)
    <float[8,3,3,3] stem, float[8,8,3,3] a1, float[8,8,3,3] a2, float[8,8,3,3] b1, float[8,8,3,3] b2,
     float[16,8,1,1] proj, float[16,8,3,3] c1, float[16,16,3,3] c2, float[16,10] head> {
        s = Conv<pads=[1,1,1,1]>(x, stem)
        p = Conv<pads=[1,1,1,1]>(s, a1)  q = Relu(p)  r = Conv<pads=[1,1,1,1]>(q, a2)  first = Add(s, r)
        t = Relu(first)
        u = Conv<pads=[1,1,1,1]>(t, b1)  v = Relu(u)  w = Conv<pads=[1,1,1,1]>(v, b2)  second = Add(w, t)
        skip = Conv(second, proj)  d = Conv<pads=[1,1,1,1]>(second, c1)  e = Conv<pads=[1,1,1,1]>(d, c2)
        third = Add(skip, e)  g = GlobalAveragePool(third)  f = Flatten(g)  y = MatMul(f, head) }"""
"""Two residual blocks, and one whose skip is a projection, so that it is none."""

DECODER = """(float[B,T,16] x, float[B,4,P,4] past_k, float[B,4,P,4] past_v)
    => (float[B,T,k] y, float[B,4,S,4] now_k, float[B,4,S,4] now_v)
    <float[16] n1, float[16] n2, float[16,16] wq, float[16,16] wk, float[16,16] wv, float[16,16] wo,
     float[16,32] up, float[32,16] down, float[16,6] head, int64[4] split = {0,0,4,4}, int64[3] join = {0,0,16}> {
        h = LayerNormalization(x, n1)
        q1 = MatMul(h, wq)  q2 = Reshape(q1, split)  q = Transpose<perm=[0,2,1,3]>(q2)
        k1 = MatMul(h, wk)  k2 = Reshape(k1, split)  k = Transpose<perm=[0,2,1,3]>(k2)
        v1 = MatMul(h, wv)  v2 = Reshape(v1, split)  v = Transpose<perm=[0,2,1,3]>(v2)
        now_k = Concat<axis=2>(past_k, k)  now_v = Concat<axis=2>(past_v, v)
        kt = Transpose<perm=[0,1,3,2]>(now_k)  s = MatMul(q, kt)  p = Softmax(s)  o = MatMul(p, now_v)
        t = Transpose<perm=[0,2,1,3]>(o)  j = Reshape(t, join)  z = MatMul(j, wo)  mid = Add(x, z)
        m = LayerNormalization(mid, n2)  a = MatMul(m, up)  g = Relu(a)  b = MatMul(g, down)  end = Add(mid, b)
        y = MatMul(end, head) }"""


def settings(**more: object) -> PruneSettings:
    return PruneSettings.parse({"ratio": 0.5, "round_to": 1, "depth": True, "recover": "none", **more})


def net(text: str = NET) -> ir.Model:
    return in_memory(model(text))


def zeroed(*names: str, text: str = NET) -> ir.Model:
    found = net(text)
    for name in names:
        value = found.graph.initializers[name]
        assert value.const_value is not None
        value.const_value = ir.tensor(np.zeros_like(value.const_value.numpy()), name=name)
    return found


def operators_left(found: ir.Model) -> list[str]:
    return [node.op_type for node in found.graph]


def names_of(found: ir.Model, **more: object) -> list[str]:
    return [block.name for block in analyse(found, settings(**more)).coupling.blocks]


def test_blocks_are_sums_of_a_value_and_what_is_computed_from_it() -> None:
    assert names_of(net()) == ["first", "second"]
    assert names_of(net(DECODER)) == ["mid", "end"]


def test_a_formula_that_multiplies_nothing_is_no_block() -> None:
    text = NET.replace("t = Relu(first)", "t1 = Mul(first, first)  t = Add(first, t1)")
    assert names_of(net(text)) == ["first", "second"]


def test_a_sum_that_broadcasts_its_skip_is_no_block() -> None:
    text = "(float[1,4] x, float[N,4] z) => (float[N,k] y) <float[4,4] w> { m = Mul(x, z)  b = MatMul(m, w)  y = Add(x, b) }"  # noqa: E501
    assert names_of(net(text)) == []


def test_globs_choose_among_blocks() -> None:
    assert names_of(net(), exclude=("a1",)) == ["second"]
    assert names_of(net(), include=("b*",)) == ["second"]
    assert names_of(net(), include=("depth",)) == ["first", "second"]
    assert names_of(net(), exclude=("depth",)) == []


def test_a_block_goes_and_is_proved() -> None:
    result = prune(net(), settings(include=("depth",)))
    assert {r.name: (r.channels, r.removed) for r in result.report.groups}["depth"] == (2, 1)
    assert result.plan is not None
    assert len(result.plan.blocks) == 1
    assert not result.plan.removals
    assert operators_left(result.model).count("Conv") == 6
    proof = result.report.proof
    assert proof is not None
    assert proof.passed
    assert proof.noticed
    assert not proof.not_proved


def test_blocks_and_channels_go_together() -> None:
    result = prune(net(), settings())
    removed = {r.name: r.removed for r in result.report.groups}
    assert removed["depth"] == 1
    assert removed["stem"] == 4
    # All channels inside the block that went are gone, and the plan does not name them.
    assert result.plan is not None
    (block,) = result.plan.blocks
    inside = {"first": "a1", "second": "b1"}[block]
    assert removed[inside] == 8
    assert inside not in {r.initializer for r in result.plan.removals}


@pytest.mark.parametrize("more", [{"scope": "global"}, {"ratio": None, "target_macs": 0.4}, {"steps": 2}])
def test_other_ways_to_choose(more: dict[str, object]) -> None:
    result = prune(net(), settings(**more))
    assert result.report.proof is not None
    assert result.report.proof.passed


def test_losses_choose_among_blocks_and_channels() -> None:
    result = prune(net(), settings(ratio=None, target_macs=0.4, scope="loss", recover="lstsq", samples=32))
    assert result.report.recovery
    assert result.report.proof is not None
    assert result.report.proof.passed


def test_layers_behind_a_block_are_rebuilt() -> None:
    result = prune(net(), settings(include=("depth",), recover="lstsq", samples=64, scope="local"))
    assert result.report.recovery
    assert result.report.outputs is not None
    distance = result.report.outputs.distance
    assert distance is not None
    assert distance.cut is not None
    assert distance.value < distance.cut


def test_a_decoder_keeps_its_cache() -> None:
    plan = PruningPlan((), policy_of(settings()), ("mid",))
    small = prune(net(DECODER), settings(), plan=plan)
    assert operators_left(small.model).count("Concat") == 2
    assert operators_left(small.model).count("Softmax") == 0
    assert small.report.proof is not None
    assert small.report.proof.passed


def test_a_plan_is_replayed() -> None:
    first = prune(net(), settings())
    assert first.plan is not None
    again = PruningPlan.from_json(first.plan.to_json())
    assert again == first.plan
    assert again.digest() != PruningPlan(again.removals, again.policy).digest()
    second = prune(net(), PruneSettings.parse({"recover": "none"}), plan=again)
    assert operators_left(second.model) == operators_left(first.model)


def test_a_plan_of_another_model() -> None:
    plan = PruningPlan((), {"depth": True}, ("third",))
    with pytest.raises(PlanError, match="takes out a residual block that ends in 'third'"):
        prune(net(), settings(), plan=plan)


@pytest.mark.parametrize("blocks", ['"first"', "[1]", '["a", "a"]'])
def test_a_plan_that_is_none(blocks: str) -> None:
    with pytest.raises(PlanError, match="blocks must be names"):
        PruningPlan.from_json(f'{{"schema": 1, "policy": {{}}, "removals": [], "blocks": {blocks}}}')


def test_least_influence_goes_first() -> None:
    found = analyse(net(), settings()).coupling
    rank_blocks(found, [[np.ones(4), np.ones(4), np.ones(4), np.full(4, 2.0)]])
    assert [(b.name, b.influence) for b in found.blocks] == [("second", 0.25), ("first", 1.0)]
    assert found.blocks[0].unit < found.blocks[1].unit
    rank_blocks(found, None)
    assert all(b.influence > 0 for b in found.blocks)


def test_what_a_block_costs() -> None:
    analysis = analyse(net(), settings())
    cost = CostModel(analysis.coupling)
    block = analysis.coupling.blocks[0]
    units = np.asarray([block.unit])
    assert cost.macs - cost.macs_after(units) == 2 * 8 * 8 * 9 * 64 * analysis.shapes.batch
    assert cost.params - cost.params_after(units) == 2 * 8 * 8 * 9
    parts = operator_chains(analysis.coupling, group(analysis.coupling))
    there, gone = (sum(p.macs(p.sizes(g)) for p in parts) for g in (lasting(parts, 0.0), lasting(parts, 0.5)))
    assert there == cost.macs
    assert gone == cost.macs_after(units)


def lasting(parts: list[OperatorChain], share: float) -> list[float]:
    """Of the last group, which is that of the blocks, this share; of others nothing."""
    count = 1 + max(g for part in parts for g in part.groups)
    return [0.0] * (count - 1) + [share]


def test_lossless_takes_blocks_that_add_nothing() -> None:
    result = prune(zeroed("a2"), PruneSettings.parse({"lossless": True}))
    assert result.plan is not None
    assert result.plan.blocks == ("first",)
    assert operators_left(result.model).count("Conv") == 6
    feeds = {"x": np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)}
    one, two = (run_once(m, [feeds], "cpu").outputs[0][0] for m in (zeroed("a2"), result.model))
    np.testing.assert_allclose(np.asarray(one, np.float32), np.asarray(two, np.float32), rtol=1e-6)


@pytest.mark.parametrize(
    ("branch", "zero"),
    [
        ("BatchNormalization(r0, off, off, off, on)", True),
        ("BatchNormalization(r0, off, on, off, on)", False),
        ("Mul(r0, off1)", True),
        ("Div(off1, r0)", True),
        ("Add(r0, off1)", False),
        ("Add(off1, off1)", False),
        ("Relu(r0)", False),
    ],
)
def test_what_is_zero_whatever_the_input(branch: str, zero: bool) -> None:
    text = NET.replace("r = Conv<pads=[1,1,1,1]>(q, a2)", f"r0 = Conv<pads=[1,1,1,1]>(q, a2)  r = {branch}")
    text = text.replace("float[16,10] head", "float[8] off, float[8] on, float[8,1,1] off1, float[16,10] head")
    source = zeroed("off", "off1", text=text)
    analysis = analyse(source, settings(ratio=None, lossless=True))
    idle = idle_blocks(analysis.coupling, learn_constants(analysis.coupling))
    assert [b.name for b in idle] == (["first"] if zero else [])


def test_lossless_keeps_blocks_that_add_something() -> None:
    with pytest.raises(NothingToPrune):
        prune(net(), PruneSettings.parse({"lossless": True}))


def test_a_model_without_blocks_says_so() -> None:
    text = "(float[N,8] x) => (float[N,k] y) <float[8,16] w, float[16,6] v> { m = MatMul(x, w)  y = MatMul(m, v) }"
    assert any("no residual block" in w for w in prune(net(text), settings()).report.warnings)


@pytest.mark.parametrize(
    "more",
    [
        {"sensitivity": Path("s.json")},
        {"ratio": None, "target_latency": "0.5x"},
        {"decay_epochs": 1, "recover": "finetune"},
    ],
)
def test_what_looks_at_channels_alone(more: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="--depth takes whole blocks"):
        prune(net(), settings(**more))


def test_a_block_that_nobody_hears_is_not_proved() -> None:
    text = NET.replace("y = MatMul(f, head)", "z = Mul(f, none)  y = MatMul(z, head)").replace(
        "float[16,10] head", "float[16,10] head, float[1] none"
    )
    result = prune(zeroed("none", text=text), settings(include=("depth",)))
    assert result.report.proof is not None
    assert ("depth", canary.UNHEARD) in {(r.group, r.reason) for r in result.report.proof.not_proved}


def test_a_wrong_skip_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the branch for the skip."""

    def wrong(cut: ChannelMask, graph: ir.Graph) -> None:
        nodes = nodes_by_name(graph)
        for block in cut.blocks:
            node = nodes[str(block.sum.name)]
            value = node.inputs[block.branch]
            assert value is not None
            become_identity(node, value)

    monkeypatch.setattr(surgery, "take_out", wrong)
    with pytest.raises(ProofFailed):
        prune(net(), settings(include=("depth",)))


def test_a_wrong_skip_that_does_not_run_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = canary.heard

    def broken(reference: ir.Model, blocks: Iterable[ResidualBlock]) -> ir.Model:
        made = honest(reference, blocks)
        next(iter(made.graph)).op_type = "NoSuchOperator"
        return made

    monkeypatch.setattr(canary, "heard", broken)
    result = prune(net(), settings(include=("depth",)))
    assert result.report.proof is not None
    assert ("depth", canary.UNHEARD) in {(r.group, r.reason) for r in result.report.proof.not_proved}
