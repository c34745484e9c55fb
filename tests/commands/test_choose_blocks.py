from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from compressor.commands.choose_blocks import choose, unify_chosen_file
from compressor.commands.unify import unify
from compressor.config.choosing import ChoosingSettings
from compressor.errors import NothingToPrune, PlanError, TargetOutOfReach, UsageError
from compressor.experiments.change import ReferenceOutputs, open_samples
from compressor.graph.disk import files
from compressor.graph.disk.provenance import provenance_steps
from compressor.unification.choose import UnifyPlan
from tests.models import model

NET = """
    (float[n,8,6,6] x) => (float[n,4,6,6] y)
    <float[16,8,3,3] first, float[16,16,3,3] w, float[16,16,3,3] v, float[12,16,1,1] u, float[4,12,1,1] last> {
        a = Conv<pads=[1,1,1,1]>(x, first)
        c = Conv<pads=[1,1,1,1]>(a, w)      r = Relu(c)
        d = Conv<pads=[1,1,1,1]>(r, v)      s = Relu(d)
        e = Conv(s, u)
        y = Conv(e, last) }"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(model(NET), str(path))
    return path


def chosen(**values: object) -> ChoosingSettings:
    asked = {"samples": 16, "jobs": 1, "min_weights": 16, "ladder": "8x8,4x4,1x4", **values}
    return ChoosingSettings.parse(asked, lent=("ladder",))


@pytest.mark.parametrize("permute", [False, True])
def test_what_is_chosen_stays_within_the_limit_when_it_is_really_unified(net, tmp_path, permute):
    settings = chosen(max_distance=0.7, permute=permute)
    found = choose(net, settings)
    assert found.plan.blocks
    assert found.together.distance <= 0.7
    result = unify(net, found.plan.applied(settings))
    assert {row.name for row in result.report.layers} == set(found.plan.blocks)
    source = files.load_model(net)
    reference = ReferenceOutputs.make(source, open_samples(source, settings), settings, tmp_path)
    assert reference.change(result.dense).distance == pytest.approx(found.together.distance, rel=1e-5)


def test_more_may_be_lost_and_more_is_saved(net):
    def saved(limit: float) -> int:
        found = choose(net, chosen(max_distance=limit))
        of = {(option.layer, option.block): option.saved for option in found.options}
        return sum(of[item] for item in found.plan.blocks.items())

    some, more, everything = saved(0.7), saved(0.9), saved(1e9)
    assert some < more < everything
    options = choose(net, chosen(max_distance=1e9)).options
    assert everything == sum(max(r.saved for r in options if r.layer == name) for name in {r.layer for r in options})


def test_bytes_are_those_that_are_stored(net):
    settings = chosen(max_distance=1e9)
    found = choose(net, settings)
    result = unify(net, found.plan.applied(settings))
    saved = {
        option.layer: option.saved
        for option in found.options
        if (option.layer, option.block) in found.plan.blocks.items()
    }
    for row in result.report.layers:
        assert saved[row.name] == 4 * row.weights - row.stored


def test_what_the_user_fixed_is_the_only_rung_of_that_layer(net):
    found = choose(net, chosen(max_distance=1e9, layer_block=["w=1x8"], exclude=["v"]))
    assert {(r.layer, r.block) for r in found.options if r.layer == "w"} == {("w", "1x8x1")}
    assert "v" not in {option.layer for option in found.options}


def test_measurements_are_remembered(net, tmp_path):
    first = choose(net, chosen(max_distance=0.7), ledger=tmp_path / "a.jsonl")
    again = choose(net, chosen(max_distance=0.7), ledger=tmp_path / "a.jsonl")
    assert (first.remembered, again.remembered) == (0, len(first.options))
    assert again.plan == first.plan
    other = choose(net, chosen(max_distance=0.7, prune_share=0.5), ledger=tmp_path / "a.jsonl")
    assert other.remembered == 0


def test_a_limit_that_nothing_meets_is_exit_4(net):
    with pytest.raises(TargetOutOfReach, match=r"no layer can be unified so that outputs move by at most 1e-06"):
        choose(net, chosen(max_distance=1e-6))
    with pytest.raises(NothingToPrune):
        choose(net, chosen(max_distance=1.0, ladder="64x64"))


def test_accuracy_needs_labels(net):
    np.savez(net.with_name("x.npz"), x=np.zeros((20, 8, 6, 6), np.float32))
    with pytest.raises(UsageError, match="--max-drop needs samples with labels"):
        choose(net, chosen(max_drop=0.01, data=str(net.with_name("x.npz")), method="one-shot"))


def test_a_plan_that_does_not_fit_is_refused(net):
    settings = chosen()
    with pytest.raises(UsageError, match="matches no weight"):
        unify(net, UnifyPlan.of({"other": "1x8"}, settings).applied(settings))
    with pytest.raises(PlanError, match="does not fit weight 'w'"):
        UnifyPlan.of({"w": "1x8"}, settings).check([])


# ---- from file to file --------------------------------------------------------------------------------------


def test_a_plan_that_was_written_is_replayed(net, tmp_path):
    plan, settings = tmp_path / "plan.json", chosen(max_distance=0.9)
    first = unify_chosen_file(net, tmp_path / "a.onnx", settings, plan_out=plan)
    again = unify_chosen_file(net, tmp_path / "b.onnx", chosen(), plan=plan)
    written = [onnx.load(tmp_path / name) for name in ("a.onnx", "b.onnx")]
    for file in written:
        del file.metadata_props[:]  # how they came about differs
    assert written[0] == written[1]
    assert [(row.name, row.block) for row in again.layers] == [(row.name, row.block) for row in first.layers]
    assert plan.with_name("plan.json.jsonl").exists()


def test_without_a_limit_the_blocks_are_those_of_the_settings(net, tmp_path):
    report = unify_chosen_file(net, tmp_path / "a.onnx", chosen(block="1x8"))
    assert {row.block for row in report.layers} == {"1x8x1"}


def test_a_plan_is_written_only_where_one_is_made(net, tmp_path):
    for settings, plan in ((chosen(), None), (chosen(max_distance=1.0), tmp_path / "plan.json")):
        with pytest.raises(UsageError, match="--plan-out writes blocks that are chosen"):
            unify_chosen_file(net, None, settings, plan=plan, plan_out=tmp_path / "out.json")


def test_a_budget_of_bytes_is_met_by_blocks_and_codebooks_that_move_outputs_least(net, tmp_path):
    wide = NET.replace("16,16,3,3", "48,48,3,3").replace("16,8,3,3", "48,8,3,3").replace("12,16,1,1", "12,48,1,1")
    onnx.save(model(wide), str(net))
    sizes, distances = [], []
    for share in (0.5, 0.2, 0.17):
        output = tmp_path / f"{share}.onnx"
        settings = chosen(target_size=share, ladder="4x4,values:4,values:16")
        found = choose(net, settings)
        report = unify_chosen_file(net, output, settings)
        assert output.stat().st_size <= share * net.stat().st_size
        assert {row.name: row.block for row in report.layers} == found.plan.blocks
        sizes.append(output.stat().st_size)
        distances.append(found.together.distance)
    assert sizes == sorted(sizes, reverse=True)
    assert distances == sorted(distances)
    assert sizes[0] > sizes[-1]
    assert {block.partition(":")[0] for block in found.plan.blocks.values()} <= {"values", "4x4x1"}


def test_a_budget_that_no_block_reaches_says_what_can_be_had(net):
    with pytest.raises(TargetOutOfReach, match=r"coarsest blocks everywhere the file has .*kB.*--all-layers"):
        choose(net, chosen(target_size=0.01))


def test_codebooks_join_the_ladder_of_a_budget_of_bytes():
    assert "values:16/output" in ChoosingSettings.parse({"target_size": "50%"}).ladder
    assert "values:16/output" not in ChoosingSettings.parse({"max_distance": 0.5}).ladder


def test_what_was_chosen_is_not_said_to_be_given_and_choosing_takes_its_time(net: Path, tmp_path: Path) -> None:
    report = unify_chosen_file(net, tmp_path / "u.onnx", chosen(max_distance=1e9, samples=8))
    assert {"blocks", "choose", "write"} <= set(report.seconds)
    [step] = provenance_steps(files.load_model(tmp_path / "u.onnx"))
    assert set(json.loads(step["settings"])) <= {"max_distance", "samples", "jobs", "min_weights", "ladder"}


def test_a_verdict_names_as_many_samples_as_were_judged(net: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 8, 6, 6)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    [gate] = choose(net, chosen(max_distance=1e9, data=str(tmp_path / "x.npz"))).gates
    assert gate.of.endswith("on 16 samples")
