"""How much goes: ratios, rounding, limits, globs, scopes, and targets that are met or refused."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import NothingToPrune, TargetOutOfReach, UsageError
from compressor.pruning.budgets.budget import Chunk, Goal, take, too_much
from compressor.steps.counts import stats_in_memory
from compressor.steps.prune import start
from compressor.steps.prune.result import PruneResult
from tests.models import between, in_memory, model, weight


def chain(width: int = 64) -> onnx.ModelProto:
    """Two groups: ``w`` of this width, ``v`` of half of it."""
    return model(
        f"""(float[3,4,6,6] x) => (float y)
        <float[{width},4,3,3] w, float[{width}] bias, float[{width // 2},{width},1,1] v,
              float[4,{width // 2},1,1] head> {{
            a = Conv(x, w, bias)  b = Relu(a)  c = Conv(b, v)  d = Relu(c)  y = Conv(d, head) }}"""
    )


def run(proto: onnx.ModelProto | None = None, **settings: object) -> PruneResult:
    asked = {"verify": False, "round_to": 1, **settings}
    return prune(in_memory(chain() if proto is None else proto), PruneSettings.parse(asked))


def removed(proto: onnx.ModelProto | None = None, **settings: object) -> dict[str, int]:
    return {g.name: g.removed for g in run(proto, **settings).report.groups}


def test_a_group_of_one_multiple_goes_in_finer_steps_unless_the_multiple_was_asked_for() -> None:
    text = (
        "(float[3,16] x) => (float y) <float[16,8] w, float[8,3] v> { a = MatMul(x, w) b = Relu(a) y = MatMul(b, v) }"
    )
    narrow = model(text)
    [row] = prune(in_memory(narrow), PruneSettings(ratio=0.5)).report.groups
    assert row.removed == 4
    with pytest.raises(NothingToPrune):
        prune(in_memory(narrow), PruneSettings(ratio=0.5, round_to=8))


# ---- ratio --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.4, 0.5, 0.62, 0.75, 0.9])
def test_ratio_counts_channels_of_each_group(ratio: float) -> None:
    assert removed(ratio=ratio, max_ratio=0.99) == {"w": round(64 * ratio), "v": round(32 * ratio)}


@pytest.mark.parametrize("round_to", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7])
def test_what_stays_is_a_multiple(round_to: int, ratio: float) -> None:
    for group, count in removed(ratio=ratio, round_to=round_to).items():
        width = {"w": 64, "v": 32}[group]
        assert (width - count) % round_to == 0
        assert abs(count - ratio * width) <= round_to / 2 + 0.5


def test_rounding_larger_than_a_group_leaves_it_any_width() -> None:
    """``v`` has 32 channels: no multiple of 64 is left of it, so that rounding cannot apply."""
    assert removed(ratio=0.5, round_to=64)["v"] == 16


@pytest.mark.parametrize(
    ("round_to", "told"), [(48, "1 of 2 groups: they are narrower, 'v'"), (512, "any group"), (8, "")]
)
def test_rounding_that_is_not_kept_is_told(round_to: int, told: str) -> None:
    notes = [text for text in run(ratio=0.5, round_to=round_to).report.warnings if "--round-to" in text]
    assert len(notes) == bool(told)
    assert all(told in text for text in notes)


def test_rounding_that_leaves_nothing_to_take() -> None:
    with pytest.raises(NothingToPrune, match="--round-to"):
        run(chain(8), ratio=0.5, round_to=8, exclude=("v",))


def test_width_of_a_unit_counts_in_rounding() -> None:
    """Heads of 4 channels: a multiple of 8 channels is a multiple of 2 heads."""
    proto = model(
        """(float[3,5,8] x) => (float y)
        <float[8,32] w, float[32,6] v, int64[4] split = {3,5,8,4}, int64[3] join = {3,5,32}> {
            a = MatMul(x, w)  q = Reshape(a, split)  s = Einsum<equation="bthd,bshd->bhts">(q, q)  p = Softmax(s)
            o = Einsum<equation="bhts,bshd->bthd">(p, q)  b = Reshape(o, join)  y = MatMul(b, v) }"""
    )
    assert removed(proto, ratio=0.6, round_to=8) == {"w": 16}
    assert removed(proto, ratio=0.6, round_to=1) == {"w": 20}


def test_max_ratio() -> None:
    assert removed(ratio=0.75, max_ratio=0.5) == {"w": 32, "v": 16}


def test_min_channels() -> None:
    assert removed(ratio=0.75, min_channels=20) == {"w": 44, "v": 12}


def test_at_least_one_channel_stays() -> None:
    assert removed(chain(4), ratio=0.95, max_ratio=0.99) == {"w": 3, "v": 1}


def test_ratio_of_one_layer() -> None:
    assert removed(ratio=0.5, layer_ratio=[("w", 0.25)]) == {"w": 16, "v": 16}


def test_first_matching_glob_counts() -> None:
    assert removed(ratio=0.5, layer_ratio=[("v", 0.25), ("*", 0.0)]) == {"w": 0, "v": 8}


def test_globs_match_nodes() -> None:
    assert removed(ratio=0.5, layer_ratio=[("Conv_0", 0.125)]) == {"w": 8, "v": 16}


def test_include_and_exclude() -> None:
    assert removed(ratio=0.5, include=("v",)) == {"w": 0, "v": 16}
    assert removed(ratio=0.5, exclude=("Conv_2",)) == {"w": 32, "v": 0}
    assert removed(ratio=0.5, include=("*",), exclude=("w",)) == {"w": 0, "v": 16}
    with pytest.raises(UsageError, match="'nobody' matches no node, no weight and no group"):
        run(ratio=0.5, include=("nobody",))
    with pytest.raises(NothingToPrune, match="--include and --exclude"):
        run(ratio=0.5, include=("w",), exclude=("w",))


def test_ratio_zero_removes_nothing() -> None:
    assert removed(ratio=0.0) == {"w": 0, "v": 0}


def test_the_weakest_go() -> None:
    proto = chain()
    result = run(proto, ratio=0.5, criterion="l1", exclude=("v",))
    filters, readers = weight(proto, "w"), weight(proto, "v")
    one, two = np.abs(filters).sum(axis=(1, 2, 3)), np.abs(readers).sum(axis=(0, 2, 3))
    kept = np.sort(np.argsort(one / one.mean() + two / two.mean())[32:])
    np.testing.assert_array_equal(weight(result.model, "w"), filters[kept])
    np.testing.assert_array_equal(weight(result.model, "bias"), weight(proto, "bias")[kept])
    np.testing.assert_array_equal(weight(result.model, "v"), readers[:, kept])


def test_plan_names_what_went() -> None:
    result = run(ratio=0.5)
    assert {r.group: len(r.indices) for r in result.plan.removals} == {"w": 32, "v": 16}


# ---- scope --------------------------------------------------------------------------------------------------


def strong() -> onnx.ModelProto:
    """The filters of ``v`` and what reads them are much larger than those of ``w``."""
    proto = chain()
    for tensor in proto.graph.initializer:
        if tensor.name == "head":
            tensor.raw_data = (weight(proto, "head") * 100).tobytes()
    return proto


def test_global_scope_removes_that_share_of_all_channels() -> None:
    found = removed(ratio=0.5, scope="global")
    assert sum(found.values()) == 48


def test_global_scope_takes_from_the_weaker_group() -> None:
    found = removed(strong(), ratio=0.5, scope="global", normalise="none", criterion="product", max_ratio=0.75)
    assert found["w"] == 48
    assert found["v"] == 0


def test_own_ratios_hold_globally() -> None:
    found = removed(ratio=0.5, scope="global", layer_ratio=[("v", 0.25)])
    assert found == {"w": 32, "v": 8}


# ---- targets ------------------------------------------------------------------------------------------------


def measured(result: PruneResult) -> dict[str, float]:
    before, after = result.report.input, stats_in_memory(result.model, PruneSettings())
    return {"target_macs": after.macs / before.macs, "target_params": after.params / before.params}


@pytest.mark.parametrize("what", ["target_macs", "target_params"])
@pytest.mark.parametrize("target", [0.2, 0.35, 0.5, 0.66, 0.8, 0.95])
@pytest.mark.parametrize("scope", ["local", "global"])
def test_target_is_reached(what: str, target: float, scope: str) -> None:
    result = run(**{what: target, "scope": scope})
    assert abs(measured(result)[what] - target) <= 0.02 * target


def test_target_of_the_whole() -> None:
    with pytest.raises(NothingToPrune, match="meets the target as it is"):
        run(target_macs=1.0)


def test_target_with_grouped_and_joined_channels() -> None:
    proto = between(
        "c = Conv<group=4,pads=[1,1,1,1]>(a, u)  d = Concat<axis=1>(a, c)  b = Relu(d)",
        more="float[16,4,3,3] u",
        out=32,
    )
    for what in ("target_macs", "target_params"):
        assert abs(measured(run(proto, **{what: 0.5}))[what] - 0.5) <= 0.01


def test_target_out_of_reach() -> None:
    with pytest.raises(TargetOutOfReach, match=r"no less than .*% of the original") as raised:
        run(target_macs=0.01)
    assert raised.value.exit_code == 4


@pytest.mark.parametrize("target", ["target_macs", "target_params", "target_size"])
def test_a_target_out_of_reach_is_said_before_samples_are_made_up(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("samples were made up")

    grouped = between("b = Conv<group=4,pads=[1,1,1,1]>(a, u)", more="float[16,4,3,3] u")
    with pytest.raises(TargetOutOfReach) as late:
        run(grouped, criterion="l2", recover="none", **{target: 0.001})
    monkeypatch.setattr(start, "made_up", never)
    with pytest.raises(TargetOutOfReach) as soon:
        run(grouped, criterion="l2", recover="lstsq", **{target: 0.001})
    said = [str(error.value) for error in (soon, late)]
    if target == "target_size":
        # A file that was recovered says by how much outputs moved, which are other bytes.
        said = [text.partition("no less than")[0] for text in said]
    assert said[0] == said[1], "as far as the choice itself would have come"
    assert soon.value.frozen


def test_a_target_out_of_reach_names_what_holds_it_in_the_unit_that_was_typed() -> None:
    def said(**values: Any) -> str:
        with pytest.raises(TargetOutOfReach) as raised:
            run(recover="none", **values)
        return str(raised.value)

    found = said(target_macs=0.01)
    asked = re.search(r"no less than ([\d.]+)%.*; ask for ([\d.]+)% or more, or raise --max-ratio$", found)
    assert asked is not None
    assert float(asked[1]) <= float(asked[2]) <= float(asked[1]) + 0.11
    held = said(target_macs=0.01, include=("w",), exclude=("head",), round_to=4, min_channels=2)
    assert held.endswith(", or let more go with --include"), "the likeliest alone, as all make a sentence without end"
    assert re.search(r"no less than [\d,]+ B \([\d.]+% of the original\), the target is 100 B;", said(target_size=100))
    assert re.search(r"no less than [\d.]+% of the original \([\d,]+ B\), the target is 1.0%;", said(target_size=0.01))
    assert "--explain" not in held


def test_target_between_steps() -> None:
    """Four channels in one group: MACs come in steps of a quarter."""
    with pytest.raises(TargetOutOfReach, match="steps"):
        run(chain(4), target_params=0.65, include=("w",))


def test_target_with_own_ratios() -> None:
    result = run(target_macs=0.6, layer_ratio=[("v", 0.0)])
    assert {g.name: g.removed for g in result.report.groups}["v"] == 0
    assert abs(measured(result)["target_macs"] - 0.6) <= 0.012


def test_a_number_without_its_unit_is_asked_about() -> None:
    goal = Goal(
        cost=lambda _: 0.0, whole=1_100_000, share=500 / 1_100_000, what="file size", kind="bytes", ceiling=True
    )
    assert "the target is 500 B (or was 500 kB meant?); " in too_much(goal, 0.023)
    for other in (replace(goal, share=0.01), replace(goal, share=5e-6)):
        assert "meant" not in too_much(other, 0.023)


@pytest.mark.parametrize(("ratio", "gone"), [(0.19, 0), (0.2, 1), (0.59, 1), (0.6, 2)])
def test_a_chunk_goes_where_half_of_it_lies_within_the_ratio(ratio: float, gone: int) -> None:
    """Chunks of 4 of 10 units over the whole model: their middles are at 2 and at 6."""
    line = [Chunk("w", np.arange(4 * k, 4 * k + 4), float(k), fixed=False) for k in range(2)]
    found = take(line, PruneSettings(ratio=ratio, scope="global"), 10)
    assert sum(map(len, found.values())) == 4 * gone
