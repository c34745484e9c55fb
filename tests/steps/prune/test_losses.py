"""Allocation by loss within a run: when it is the default, what it falls back to, and that outputs gain by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.config.selection import CRITERION
from compressor.errors import ModelError, UsageError
from compressor.steps.prune import losses
from compressor.steps.prune.losses import NO_VIEW, follows_losses
from tests.models import between, in_memory, model

MODELS = Path(__file__).parents[3] / "models"
NET, DATA = MODELS / "digits-mobilenet.onnx", MODELS / "digits-test.npz"
RUN = {"data": str(DATA), "val_share": 0.5, "recover": "lstsq", "target_macs": 0.5, "verify": False}
RUN["std"] = (1.0,)  # as they are; said, so that no run tries in which range the network knows its pixels


def accuracy(**settings: object) -> float:
    [row] = prune(NET, PruneSettings.parse({**RUN, **settings})).report.accuracy
    return row.after


@pytest.mark.parametrize(
    ("settings", "samples", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"scope": "loss"}, False, True),
        ({"scope": "local"}, True, False),
        ({"scope": "global"}, True, False),
        ({"sensitivity": "s.json"}, True, False),
        ({"lossless": True}, True, False),
    ],
)
def test_the_default_where_there_are_samples(settings: dict[str, object], samples: bool, wanted: bool) -> None:
    assert follows_losses(PruneSettings.parse(settings), samples=samples) is wanted


def test_more_is_kept_than_by_the_same_share_everywhere() -> None:
    pytest.importorskip("torch")
    even = accuracy(target_macs=0.2, samples=64, scope="local", criterion="activation")
    assert accuracy(target_macs=0.2, samples=64) > even + 0.01


def test_without_torch_it_says_so_and_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "find_spec", lambda _: None)
    found = prune(NET, PruneSettings.parse({**RUN, "samples": 64})).report
    assert any("torch is not installed" in warning for warning in found.warnings)
    assert found.accuracy[0].after > 0.6


def test_layers_that_nothing_weighs_are_told_by_what_torch_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise ModelError("operator Odd is not known; more")

    monkeypatch.setattr(losses, "find_spec", lambda _: "there")
    monkeypatch.setattr("compressor.allocation.reading.with_gradients", refused)
    found = prune(NET, PruneSettings.parse({**RUN, "samples": 64, "recover": "none"})).report
    (told,) = [warning for warning in found.warnings if "operator Odd is not known" in warning]
    assert told.startswith("what outputs lose was estimated from how much each layer changes")
    assert "torch" not in told


def test_several_steps_end_at_what_the_ratio_leaves() -> None:
    pytest.importorskip("torch")
    source = in_memory(between("c = Conv<pads=[1,1,1,1]>(a, k) b = Relu(c)", more="float[16,16,3,3] k"))
    settings = {"scope": "loss", "ratio": 0.4, "round_to": 1, "samples": 16}
    once, twice = (prune(source, PruneSettings.parse({**settings, "steps": n})).model for n in (1, 2))
    sizes = [
        sum(int(np.prod(v.shape.numpy())) for v in m.graph.initializers.values() if v.shape is not None)
        for m in (once, twice)
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.15)


LSTM = """
    (float[5,n,8] x) => (float[5,d,n,6] y) <float[8,16] w, float[1,24,16] k, float[1,24,6] r> {
        a = MatMul(x, w) c = Relu(a) y, h, s = LSTM<hidden_size=6>(c, k, r) }"""


def test_without_a_linear_reader_widths_follow_no_losses(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(8, 5, 8)).astype(np.float32))
    proto = model(LSTM.replace("[5,n,8] x", "[n,5,8] x").replace("[5,d,n,6] y", "[n,d,5,6] y"))
    source = in_memory(proto)
    found = prune(source, PruneSettings.parse({"ratio": 0.5, "data": str(tmp_path / "x.npz"), "round_to": 1}))
    assert NO_VIEW in found.report.warnings
    assert found.report.ran["criterion"] == CRITERION, "by the scores that stood in"
    assert sum(group.removed for group in found.report.groups) == 8
    with pytest.raises(UsageError, match=r"--scope loss: .* is no linear layer"):
        prune(source, PruneSettings.parse({"scope": "loss", "ratio": 0.5, "data": str(tmp_path / "x.npz")}))


def test_a_criterion_that_is_asked_for_orders_the_channels() -> None:
    """By loss it is known only how many go; which ones, the criterion says."""
    pytest.importorskip("torch")
    proto = between("c = Conv<pads=[1,1,1,1]>(a, k) b = Relu(c)", more="float[16,16,3,3] k")
    settings = {"scope": "loss", "round_to": 1, "target_macs": 0.5, "samples": 16, "criterion": "l2"}
    plan = prune(in_memory(proto), PruneSettings.parse(settings)).plan
    even = prune(in_memory(proto), PruneSettings.parse({**settings, "scope": "local", "target_macs": 0.1})).plan
    assert plan is not None
    assert even is not None
    wide = {removal.group: set(removal.indices) for removal in even.removals}
    assert all(set(removal.indices) <= wide[removal.group] for removal in plan.removals)
