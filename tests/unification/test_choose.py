from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.config import BlockShape, UnifySettings
from compressor.errors import PlanError
from compressor.pruning.budgets.allocate import Move
from compressor.unification.choose import BlockOption, UnifyPlan, blocks_after, moves, notation, within

RUNGS = [
    BlockOption("a", "8x8", 100, 0.9),
    BlockOption("b", "8x8", 100, 0.3),
    BlockOption("a", "4x4", 90, 0.2),
    BlockOption("b", "4x4", 80, 0.1),
]


def test_layers_move_by_what_they_lose_for_each_byte():
    line = moves(RUNGS)
    assert [blocks_after(line[:stop], RUNGS) for stop in range(5)] == [
        {},
        {"b": "4x4"},
        {"b": "4x4", "a": "4x4"},
        {"b": "8x8", "a": "4x4"},
        {"b": "8x8", "a": "8x8"},
    ]


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 9)), max_size=24), st.integers(0, 60))
def test_what_is_made_holds_and_is_the_longest_start_at_least(steps, budget):
    line = [Move(item, k, float(k)) for k, (item, _) in enumerate(steps)]

    def cost(made: Sequence[Move[str]]) -> int:
        return sum(steps[move.option][1] for move in made)

    made = within(line, lambda made: cost(made) <= budget)
    assert cost(made) <= budget
    longest = next((stop for stop in range(len(line), 0, -1) if cost(line[:stop]) <= budget), 0)
    assert made[:longest] == line[:longest]
    for item in {move.item for move in line}:
        own = [move for move in line if move.item == item]
        done = [move for move in made if move.item == item]
        assert done == own[: len(done)], "no move of a layer is made before the one ahead of it"


def test_layers_behind_one_that_breaks_the_budget_still_get_their_move():
    line = [Move("a", 0, 1.0), Move("b", 0, 2.0), Move("c", 0, 3.0)]
    assert within(line, lambda made: all(move.item != "b" for move in made)) == [line[0], line[2]]


@pytest.mark.parametrize("text", ["4x4x1", "1x*x1", "matrix:1x16", "1x1x*"])
def test_a_block_is_written_as_it_is_read(text):
    assert notation(BlockShape.parse(text)) == text


def test_a_plan_comes_back_from_its_json():
    settings = UnifySettings(prune_share=0.25, permute=True)
    plan = UnifyPlan.of({"onnx::Conv[1]": "1x8"}, settings)
    assert UnifyPlan.from_json(plan.to_json()) == plan
    applied = plan.applied(UnifySettings(exclude=("x",)))
    assert (applied.prune_share, applied.unify_share, applied.permute) == (0.25, 0.75, True)
    assert applied.layer_block == (("onnx::Conv[[]1]", "1x8"),)
    assert applied.exclude == ("*",)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 9}', '{"schema": 1, "policy": {}, "blocks": {"a": "1x8"}}', "null"]
)
def test_something_else_is_refused(text):
    with pytest.raises(PlanError):
        UnifyPlan.from_json(text)


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan["policy"].update(verify=False),
        lambda plan: plan["policy"].update(data="os:getcwd"),
        lambda plan: plan["policy"].update(prune_share="0"),
        lambda plan: plan["policy"].update(permute="no"),
        lambda plan: plan["blocks"].update(a=["1x8"]),
        lambda plan: plan.update(run="os:getcwd"),
    ],
)
def test_a_plan_holds_blocks_and_their_settings_and_nothing_else(change):
    plan = json.loads(UnifyPlan.of({"a": "1x8"}, UnifySettings()).to_json())
    UnifyPlan.from_json(json.dumps(plan))
    change(plan)
    with pytest.raises(PlanError):
        UnifyPlan.from_json(json.dumps(plan))


def test_a_block_that_is_none_is_refused():
    plan = UnifyPlan.of({"a": "1x8"}, UnifySettings())
    with pytest.raises(PlanError, match="is not a block"):
        UnifyPlan.from_json(plan.to_json().replace("1x8", "lots"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "cannot read the plan .*: No such file"),
        (b"\xff\xfe", "it is no text"),
        (b"[]", "not a plan of unification: the plan"),
        (b'{"schema": 99}', "has schema 99, this version reads"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(data, words, tmp_path):
    path = tmp_path / "blocks.json"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(PlanError, match=words):
        UnifyPlan.load(path)
