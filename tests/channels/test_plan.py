"""Plans: text and back, replayed to the same bytes, refused where they do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.channels.balance import balance
from compressor.channels.coupling import Coupling
from compressor.channels.labels import Reason, UnitArray
from compressor.channels.plan import PruningPlan, Removal
from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import PlanError, ProofFailed
from compressor.pruning.budgets.select import choose_channels
from compressor.pruning.cut import apply
from compressor.pruning.cut.analysis import analyse
from tests.models import between, in_memory, tokens

SETTINGS = PruneSettings(ratio=0.5, round_to=1)
GROUPED = "c = Conv<group=4>(a, u)  b = Relu(c)"
MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "chain": lambda: between("b = Relu(a)"),
    "grouped": lambda: between(GROUPED, more="float[16,4,1,1] u"),
    "parts": lambda: between(
        "b = Slice(a, from, to, one)", more="int64[1] from = {4}, int64[1] to = {16}, int64[1] one = {1}", out=12),
    "heads": lambda: tokens(
        """q1 = MatMul(a, wq)  q = Reshape(q1, split)  s = Einsum<equation="bthd,bshd->bhts">(q, q)  p = Softmax(s)
        o = Einsum<equation="bhts,bshd->bthd">(p, q)  b = Reshape(o, join)""",
        more="float[16,16] wq, int64[4] split = {3,5,4,4}, int64[3] join = {3,5,16}"),
}  # fmt: skip


def data(model: ir.Model) -> bytes:
    """All bytes but those that say how the model came about, which differs where a plan is replayed."""
    proto = ir.to_proto(model)
    del proto.metadata_props[:]
    return proto.SerializeToString(deterministic=True)


def plan(name: str = "chain", settings: PruneSettings = SETTINGS) -> PruningPlan:
    return prune(in_memory(MODELS[name]()), settings).plan


def replay(found: PruningPlan, name: str = "chain") -> ir.Model:
    return prune(in_memory(MODELS[name]()), PruneSettings(ratio=0.25), plan=found).model


@pytest.mark.parametrize("name", MODELS)
def test_text_and_back(name: str) -> None:
    found = plan(name)
    again = PruningPlan.from_json(found.to_json())
    assert again == found
    assert again.to_json() == found.to_json()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("criterion", ["l2", "random"])
@pytest.mark.parametrize("attention", ["heads", "dims"])
def test_replay_gives_the_same_bytes(name: str, criterion: str, attention: str) -> None:
    settings = PruneSettings.parse({"ratio": 0.5, "round_to": 1, "criterion": criterion, "attention": attention})
    result = prune(in_memory(MODELS[name]()), settings)
    assert data(replay(PruningPlan.from_json(result.plan.to_json()), name)) == data(result.model)


@pytest.mark.parametrize("seed", range(8))
def test_units_that_stand_in_no_shared_weight_are_named_where_they_stand(seed: int) -> None:
    """Constants that are padded onto the channels of a grouped convolution are paired with channels by their scores."""
    body = "p = Pad(a, front)  q = Pad(p, back)  c = Conv<group=2>(q, u)  d = Conv(p, t)  e = Concat<axis=1>(c, d)"
    more = "float[12,11,1,1] u, float[8,19,1,1] t, "
    more += "int64[8] front = {0,3,0,0,0,0,0,0}, int64[8] back = {0,0,0,0,0,3,0,0}"
    padded = between(f"{body}  b = Relu(e)", more=more, out=20)
    settings = PruneSettings(ratio=0.3, round_to=1, criterion="random", seed=seed)
    result = prune(in_memory(padded), settings)
    assert result.plan is not None
    again = prune(in_memory(padded), PruneSettings(ratio=0.25), plan=result.plan).model
    assert data(again) == data(result.model)


def test_a_plan_brings_its_policy() -> None:
    """The heads of a plan stay heads although the replay asks for dimensions."""
    found = plan("heads")
    again = prune(in_memory(MODELS["heads"]()), PruneSettings(ratio=0.5, attention="dims"), plan=found)
    assert again.report.done["attention"] == "heads"


def test_a_plan_without_shapes_is_read() -> None:
    """As other programs and earlier versions write it."""
    whole = json.loads(plan().to_json())
    assert all(entry.pop("shape") for entry in whole["removals"])
    del whole["digest"]
    assert data(replay(PruningPlan.from_json(json.dumps(whole)))) == data(replay(plan()))


def test_contents() -> None:
    found = plan()
    assert [(r.group, r.initializer, r.axes, len(r.indices)) for r in found.removals] == [
        ("w", "w", (0,), 8), ("v", "v", (0,), 4)
    ]  # fmt: skip
    text = json.loads(found.to_json())
    assert text["schema"] == 1
    assert set(text) == {"schema", "policy", "digest", "removals"}
    assert set(text["policy"]) == {
        "attention", "keep_norm_axes", "simplify", "cache_heads", "depth", "free_outputs",
    }  # fmt: skip


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(plan().to_json())
    assert PruningPlan.load(path) == plan()
    with pytest.raises(PlanError, match="cannot read the plan"):
        PruningPlan.load(tmp_path / "missing.json")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlanError, match="a plan is a JSON object"):
        PruningPlan.load(path)


NOT_PLANS = {
    "no JSON": "not json",
    "empty": "",
    "a list": "[]",
    "a number": "1",
    "null": "null",
    "no schema": '{"removals": [], "policy": {}}',
    "schema is true": '{"schema": true, "removals": [], "policy": {}}',
    "no policy": '{"schema": 1, "removals": []}',
    "no removals": '{"schema": 1, "policy": {}}',
    "removals are a number": '{"schema": 1, "policy": {}, "removals": 3}',
    "a removal without indices": '{"schema": 1, "policy": {}, "removals": [{"group": "w", "initializer": "w",'
    ' "axes": [0]}]}',
    "indices that are words": '{"schema": 1, "policy": {}, "removals": [{"group": "w", "initializer": "w",'
    ' "axes": [0], "indices": ["x"]}]}',
    "policy is a number": '{"schema": 1, "policy": 4, "removals": []}',
    "numbers without end": '{"schema": 1, "policy": {}, "removals": [{"group": "w", "initializer": "w", "axes": [0],'
    ' "indices": [1e999]}]}',
    "brackets without end": "[" * 100_000,
    "a key twice": '{"schema": 1, "policy": {}, "policy": {}, "removals": []}',
    "a removal is a number": '{"schema": 1, "policy": {}, "removals": [3]}',
    "an unknown key": '{"schema": 1, "policy": {}, "removals": [], "run": "os:system"}',
}
STRICT: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "indices as text": ({"indices": ["1"]}, {}),
    "indices with fractions": ({"indices": [1.9]}, {}),
    "whole numbers with a point": ({"indices": [1.0]}, {}),
    "indices as truth": ({"indices": [True]}, {}),
    "indices below zero": ({"indices": [-1]}, {}),
    "an index twice": ({"indices": [1, 1]}, {}),
    "indices that are no list": ({"indices": "12"}, {}),
    "axes as text": ({"axes": ["0"]}, {}),
    "a weight that is a number": ({"initializer": 3}, {}),
    "a key too many": ({"scale": 2}, {}),
    "no proof": ({}, {"verify": False}),
    "a wide tolerance": ({}, {"rtol": 1e9}),
    "code": ({}, {"data": "os:getcwd"}),
    "a folder": ({}, {"latency_cache": "/tmp"}),
    "a checkpoint": ({}, {"checkpoint": "/tmp"}),
    "an amount": ({}, {"ratio": 0.5}),
    "truth as text": ({}, {"simplify": "no"}),
    "truth as a number": ({}, {"keep_norm_axes": 1}),
    "a text for a list": ({}, {"free_outputs": "y"}),
}


@pytest.mark.parametrize("name", STRICT)
def test_a_plan_holds_names_and_whole_numbers_and_nothing_else(name: str) -> None:
    removal, policy = STRICT[name]
    document = json.loads(plan().to_json())
    del document["digest"]
    PruningPlan.from_json(json.dumps(document))
    document["removals"][0].update(removal)
    document["policy"].update(policy)
    with pytest.raises(PlanError):
        PruningPlan.from_json(json.dumps(document))


def test_a_plan_that_was_changed_is_noticed() -> None:
    document = json.loads(plan().to_json())
    for entry in document["removals"]:
        entry["indices"] = [index + 1 for index in entry["indices"]]
    with pytest.raises(PlanError, match="was changed"):
        PruningPlan.from_json(json.dumps(document))


@pytest.mark.parametrize("shift", [1, -1])
@pytest.mark.parametrize("name", MODELS)
def test_a_plan_that_is_misread_is_noticed(monkeypatch: pytest.MonkeyPatch, name: str, shift: int) -> None:
    """Every index is shifted on the way from the plan to the cut; removal and masks agree all the same."""
    read = apply.units_of

    def misread(found: PruningPlan, coupling: Coupling) -> UnitArray:
        sizes = {r.initializer: coupling.deferred(coupling.graph.initializers[r.initializer]) for r in found.removals}
        moved = []
        for r in found.removals:
            deferred = sizes[r.initializer]
            assert deferred is not None
            size = next(t.units.size for t in deferred.terms if t.axes == r.axes)
            moved.append(replace(r, indices=tuple((i + shift) % size for i in r.indices)))
        return read(replace(found, removals=tuple(moved)), coupling)

    found = plan(name)
    monkeypatch.setattr(apply, "units_of", misread)
    with pytest.raises((ProofFailed, PlanError)):
        replay(found, name)


def test_a_cut_of_more_than_the_plan_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    found, read = plan(), apply.units_of
    less = replace(found, removals=found.removals[:1])
    monkeypatch.setattr(apply, "units_of", lambda _, coupling: read(found, coupling))
    with pytest.raises(ProofFailed, match="more than the plan"):
        replay(less)


def test_a_cut_of_units_that_other_scores_paired_is_refused() -> None:
    """Units of the plan then stand for others as well; paired by the plan's own scores, each of them is named."""
    paired = analyse(in_memory(MODELS["grouped"]()), SETTINGS)
    choice = choose_channels(paired.coupling, SETTINGS, 0)
    assert paired.coupling.units.paired
    apply.cut_of(choice.plan, paired)
    other = analyse(in_memory(MODELS["grouped"]()), SETTINGS)
    balance(other.coupling, lambda: np.random.default_rng(3).random(len(other.coupling.units)))
    with pytest.raises(ProofFailed, match="paired by other scores"):
        apply.cut_of(choice.plan, other)


@pytest.mark.parametrize("name", NOT_PLANS)
def test_what_is_no_plan(name: str) -> None:
    with pytest.raises(PlanError) as refused:
        PruningPlan.from_json(NOT_PLANS[name])
    # Names of Python's classes tell a user nothing.
    assert "Error" not in str(refused.value)
    assert "object is not" not in str(refused.value)


def test_another_schema() -> None:
    with pytest.raises(PlanError, match="schema 2"):
        PruningPlan.from_json('{"schema": 2, "policy": {}, "removals": []}')


def removal(**changes: Any) -> PruningPlan:
    good = plan().removals[0]
    return PruningPlan((replace(good, **changes),), plan().policy)


BAD: dict[str, tuple[Callable[[], PruningPlan], str]] = {
    "unknown initializer": (lambda: removal(initializer="nobody"), "has no 'nobody'"),
    "not a weight": (lambda: removal(initializer="a"), "has no 'a'"),
    "another axis": (lambda: removal(axes=(2,)), "cannot be pruned"),
    "an axis beyond": (lambda: removal(axes=(7,)), "cannot be pruned"),
    "two axes": (lambda: removal(axes=(0, 1)), "cannot be pruned"),
    "position beyond": (lambda: removal(indices=(0, 16)), "position 16"),
    "position below": (lambda: removal(indices=(-1,)), "position"),
    "an enormous position": (lambda: removal(indices=(10**30,)), "position"),
    "another shape": (lambda: removal(shape=(16, 5, 3, 3)), r"'w' had shape \[16, 5, 3, 3\], and has"),
    "two files": (lambda: replace(plan(), files=("enc.onnx", "dec.onnx")), "for 2 files.*give the others with --also"),
    "everything": (lambda: removal(indices=tuple(range(16))), "nothing of"),
    "frozen": (lambda: PruningPlan((Removal("head", "head", (0,), (1,)),), plan().policy), "have to stay|cannot"),
    "unknown policy": (lambda: replace(plan(), policy={"attention": "tails"}), "policy"),
    "unknown setting": (lambda: replace(plan(), policy={"colour": 1}), "policy"),
}


@pytest.mark.parametrize("name", BAD)
def test_plans_that_do_not_fit(name: str) -> None:
    bad, words = BAD[name]
    with pytest.raises(PlanError, match=words):
        replay(bad())


@pytest.mark.parametrize("indices", [(0,), (0, 1, 5, 10), (0, 4, 8)])
def test_unequal_rows(indices: tuple[int, ...]) -> None:
    good = plan("grouped")
    bad = replace(good, removals=(replace(good.removals[0], indices=indices),))
    with pytest.raises(PlanError, match=r"different numbers|different width"):
        replay(bad, "grouped")


def test_a_plan_that_names_a_part_of_what_goes_together_is_refused() -> None:
    whole = plan("heads")
    first = next(r for r in whole.removals if r.initializer == "wq")
    part = replace(whole, removals=(replace(first, indices=first.indices[:3]),))
    head = ", ".join(map(str, first.indices[:4]))
    with pytest.raises(PlanError, match=rf"^group 'wq': 4 positions along \[1\] .*\({head}\).*names 3 of them"):
        replay(part, "heads")


def test_a_coupling_in_which_more_goes_than_the_plan_names_is_noticed() -> None:
    found, wrong = plan(), analyse(in_memory(MODELS["chain"]()), SETTINGS)
    units = wrong.coupling.deferred_labels[wrong.model.graph.initializers["w"]].terms[0].units
    gone, stays = found.removals[0].indices[0], next(k for k in range(16) if k not in found.removals[0].indices)
    wrong.coupling.units.union(units[[gone]], units[[stays]], Reason("", "", "", ""))
    with pytest.raises(PlanError, match=r"^group 'w': 2 positions"):
        apply.cut_of(found, wrong)


def test_an_empty_plan_changes_nothing() -> None:
    result = prune(in_memory(MODELS["chain"]()), SETTINGS, plan=PruningPlan((), plan().policy))
    assert all(row.removed == 0 for row in result.report.groups)
    assert "the plan removes nothing, so that no channel went" in result.report.warnings


def test_a_plan_for_another_model_is_said_to_be_one() -> None:
    with pytest.raises(PlanError, match=r"^the plan was made for another model: .* replay it on the file"):
        replay(plan("heads"), "chain")


def test_a_report_is_no_plan() -> None:
    text = json.dumps({"schema": "onnx-compressor.report/1", "groups": []})
    with pytest.raises(PlanError, match="this is no plan, but a JSON report of onnx-compressor; give a file"):
        PruningPlan.from_json(text)
