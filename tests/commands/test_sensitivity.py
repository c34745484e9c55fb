from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from compressor.channels.plan import PruningPlan
from compressor.commands.prune import prune
from compressor.commands.sensitivity import sensitivity, sensitivity_file
from compressor.commands.verify import verify
from compressor.config import PruneSettings, VerifySettings
from compressor.config.sensitivity import SensitivitySettings
from compressor.errors import NothingToPrune, UsageError
from compressor.experiments.change import ReferenceOutputs, open_samples
from compressor.experiments.limits import Limits
from compressor.graph.disk import files
from compressor.results.sensitivity import OutputChange, SensitivityReport, ledger_of
from compressor.runtime import sessions
from compressor.steps.sensitivity import GroupCut, prunable_rows
from tests.models import model

NET = """
    (float[n,4,6,6] x) => (float[n,5] y)
    <float[16,4,3,3] w, float[16] b, float[24,16,3,3] v, float[16,24,1,1] u, float[16,5] head> {
        a = Conv<pads=[1,1,1,1]>(x, w, b)   r = Relu(a)
        c = Conv<pads=[1,1,1,1]>(r, v)      s = Relu(c)
        d = Conv(s, u)                      e = Add(d, r)
        g = GlobalAveragePool(e)            f = Flatten(g)
        y = MatMul(f, head) }"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(model(NET), str(path))
    return path


def chosen(**values: object) -> SensitivitySettings:
    return SensitivitySettings.parse({"samples": 24, "batch_size": 8, "ratios": "0.25,0.5,0.75", "jobs": 1, **values})


def labelled(net: Path, count: int = 40) -> str:
    """Samples whose labels the net gets right."""
    x = np.random.default_rng(0).normal(size=(count, 4, 6, 6)).astype(np.float32)
    with sessions.opened(files.load_model(net), "cpu") as session:
        y = sessions.run_session(session, {"x": x})[0].argmax(axis=1)
    np.savez(net.with_name("data.npz"), x=x, y=y)
    return str(net.with_name("data.npz"))


def test_every_point_is_what_pruning_this_group_alone_does(net, tmp_path):
    report = sensitivity(net, chosen())
    source, settings = files.load_model(net), chosen()
    reference = ReferenceOutputs.make(source, open_samples(source, settings), settings, tmp_path)
    assert [(g.name, g.channels) for g in report.groups] == [("w", 16), ("v", 24)]
    for group in report.groups:
        assert [p.removed / group.channels for p in group.points] == [0.25, 0.5, 0.75]
        for point in group.points:
            ratio = point.removed / group.channels
            alone = PruneSettings(ratio=ratio, include=(group.name,), round_to=1, verify=False)
            small = prune(source, alone)
            assert reference.change(small.model).distance == pytest.approx(point.distance, rel=1e-4)
            assert small.report.groups[[g.name for g in small.report.groups].index(group.name)].removed == point.removed


def test_costs_are_those_of_the_model_without_these_channels(net):
    report = sensitivity(net, chosen(ratios="0.5"))
    v = report.groups[1].points[0]
    whole = 36 * (16 * 4 * 9 + 24 * 16 * 9 + 16 * 24) + 16 * 5
    assert v.macs == pytest.approx(1 - 36 * (12 * 16 * 9 + 16 * 12) / whole)


def test_losses_rise_and_safe_is_the_end_of_what_is_within(net):
    far = sensitivity(net, chosen(max_distance=1e9))
    none = sensitivity(net, chosen(max_distance=0))
    assert all(group.safe == group.points[-1].removed for group in far.groups)
    assert all(group.safe == 0 and group.at_safe is None for group in none.groups)
    middle = far.groups[0].points[1].distance
    some = sensitivity(net, chosen(max_distance=middle)).groups[0]
    within = [point.distance <= middle for point in some.points]
    assert some.safe == some.points[within.index(False) - 1].removed if False in within else some.points[-1].removed


def test_what_lies_behind_a_loss_is_not_safe_even_where_it_is_small_again():
    steps = [GroupCut("g", 16, removed, 1.0, 1.0, PruningPlan(())) for removed in (4, 8, 12)]
    changes = [OutputChange(distance=distance) for distance in (0.1, 0.5, 0.1)]
    assert prunable_rows(steps, changes, Limits(max_distance=0.2), None)[0].safe == 4


def test_accuracy_is_measured_where_there_are_labels(net):
    report = sensitivity(net, chosen(data=labelled(net)))
    assert report.accuracy == 1.0
    assert report.limit == "accuracy drops by at most 1.00%"
    fewer = sensitivity(net, chosen(data=labelled(net), samples=8, ratios="0.5"))
    assert (fewer.samples, fewer.available) == (8, 40)
    assert any(point.accuracy < 1.0 for group in report.groups for point in group.points)
    for group in report.groups:
        assert all(p.accuracy >= 0.99 - 1e-9 for p in group.points if p.removed <= group.safe)


def test_samples_to_judge_on_are_measured_on(net):
    """Those of ``data`` then rank channels only; where there are no others, both are the same."""
    data = labelled(net)
    train = net.with_name("train.npz")
    np.savez(train, x=np.random.default_rng(1).normal(size=(30, 4, 6, 6)).astype(np.float32))
    alone = sensitivity(net, chosen(val_data=data, criterion="l2"))
    both = sensitivity(net, chosen(data=str(train), val_data=data))
    assert (alone.accuracy, alone.available, both.accuracy, both.available) == (1.0, 40, 1.0, 40)
    assert alone.groups == sensitivity(net, chosen(data=data, criterion="l2")).groups


def test_numbers_have_no_largest_class(net):
    points = [point for group in sensitivity(net, chosen(eval="rmse")).groups for point in group.points]
    assert points
    assert all(point.agreement is None for point in points)
    (row,) = verify(net, net, VerifySettings.parse({"data": labelled(net), "eval": "cosine"})).outputs
    assert row.agreement is None
    report = verify(net, net, VerifySettings.parse({"data": labelled(net)}))
    (row,) = report.outputs
    assert row.agreement == 1


def test_a_drop_of_accuracy_needs_labels(net):
    with pytest.raises(UsageError, match="--max-drop needs samples with labels"):
        sensitivity(net, chosen(max_drop=0.01))


def test_what_was_measured_is_remembered_and_more_ratios_add_to_it(net, tmp_path):
    output = tmp_path / "sens.json"
    first = sensitivity_file(net, output, chosen())
    assert (first.measured, first.remembered) == (6, 0)
    assert len(ledger_of(output).read_text().splitlines()) == 6
    again = sensitivity_file(net, output, chosen(ratios="0.5,0.625"))
    assert (again.measured, again.remembered) == (2, 2)
    assert again.groups[0].points[0] == first.groups[0].points[1]
    assert SensitivityReport.load(output).groups == again.groups
    output.write_text(again.to_json().replace(f'"samples": {again.samples}', f'"samples": "{again.samples}"'))
    with pytest.raises(UsageError, match="no readable sensitivity report"):
        SensitivityReport.load(output)


def test_a_run_that_was_cut_short_goes_on(net, tmp_path):
    output = tmp_path / "sens.json"
    whole = sensitivity_file(net, output, chosen())
    lines = ledger_of(output).read_text().splitlines(keepends=True)
    ledger_of(output).write_text("".join(lines[:3]) + lines[3][:20])
    resumed = sensitivity_file(net, output, chosen())
    assert (resumed.measured, resumed.remembered) == (3, 3)
    assert resumed.groups == whole.groups


def test_another_model_shares_no_measurement(net, tmp_path):
    sensitivity_file(net, tmp_path / "sens.json", chosen())
    onnx.save(model(NET, seed=1), str(net))
    assert sensitivity_file(net, tmp_path / "sens.json", chosen()).remembered == 0


def test_ratios_that_remove_the_same_are_measured_once(net):
    report = sensitivity(net, chosen(ratios="0.45,0.5,0.55", round_to=8))
    assert [[p.removed for p in group.points] for group in report.groups] == [[8], [8, 16]]


def test_nothing_to_prune_is_said(net):
    with pytest.raises(NothingToPrune):
        sensitivity(net, chosen(ratios="0.1", round_to=64, min_channels=30))


def test_models_of_a_fixed_batch_and_several_outputs(tmp_path):
    text = """
    (float[2,8] x, float[2,8] z) => (float[2,3] y, float[2,16] h)
    <float[8,16] w, float[16,3] v, float[8,16] q> {
        a = MatMul(x, w)  r = Relu(a)  y = MatMul(r, v)  h = MatMul(z, q) }"""
    onnx.save(model(text), str(tmp_path / "net.onnx"))
    report = sensitivity(tmp_path / "net.onnx", chosen())
    assert [group.name for group in report.groups] == ["w"]
    assert all(point.distance > 0 for point in report.groups[0].points)


def test_the_report_is_stable_json(net, tmp_path):
    document = json.loads(sensitivity(net, chosen()).to_json())
    assert document["schema"] == "onnx-compressor.sensitivity/1"
    assert set(document["groups"][0]["points"][0]) == {"distance", "agreement", "accuracy", "removed", "macs", "params"}
    (tmp_path / "other.json").write_text('{"schema": "other"}')
    with pytest.raises(UsageError, match="no readable sensitivity report"):
        SensitivityReport.load(tmp_path / "other.json")


def test_a_distance_that_none_can_be_is_named(net, tmp_path):
    document = json.loads(sensitivity(net, chosen()).to_json())
    point = document["groups"][0]["points"][0]
    for distance in (None, 1e154):
        point["distance"] = distance
        (tmp_path / "s.json").write_text(json.dumps(document))
        assert SensitivityReport.load(tmp_path / "s.json").groups[0].points[0].distance ** 2 > 1e307
    point["distance"] = 1e308
    (tmp_path / "s.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match=r"groups\.0\.points\.0\.distance is 1e\+308, more than any"):
        SensitivityReport.load(tmp_path / "s.json")
