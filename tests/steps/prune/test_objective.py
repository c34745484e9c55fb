"""A budget that is spent where time is."""

from __future__ import annotations

import pytest

from compressor.config import PruneSettings
from compressor.pruning.cut.analysis import analyse
from compressor.results import ModelStats, Report
from compressor.steps.prune.objective import macs_lag_time, with_latency_target
from tests.models import between, in_memory, model


@pytest.mark.parametrize(("amount", "share"), [({"target_macs": 0.4}, 0.4), ({"ratio": 0.5, "round_to": 1}, 0.5)])
def test_a_share_of_the_macs_becomes_one_of_the_time(amount: dict[str, float], share: float) -> None:
    settings = PruneSettings.parse({**amount, "objective": "latency"})
    found = with_latency_target(settings, analyse(in_memory(between("b = Relu(a)")), settings), 1000)
    assert (found.ratio, found.target_macs) == (None, None)
    assert float(str(found.target_latency)[:-1]) == pytest.approx(share, abs=0.05)
    plain = settings.model_copy(update={"objective": "macs"})
    assert with_latency_target(plain, analyse(in_memory(between("b = Relu(a)")), plain), 1000) is plain


def test_units_are_not_paired_by_the_scores_that_give_the_share() -> None:
    """Four groups of a convolution lose equally many channels each: a ranking pairs them, for good."""
    text = """(float[N,8,6,6] x) => (float[N,4,6,6] y) <float[32,2,3,3] w, float[4,32,1,1] v> {
        a = Conv<group=4, pads=[1,1,1,1]>(x, w)  b = Relu(a)  y = Conv(b, v) }"""
    settings = PruneSettings.parse({"ratio": 0.5, "objective": "latency"})
    analysis = analyse(in_memory(model(text)), settings)
    before = analysis.coupling.units.version
    with_latency_target(settings, analysis, 1000)
    assert analysis.coupling.units.version == before


def stats(macs: int) -> ModelStats:
    return ModelStats(path=None, bytes=1, params=1, macs=macs, nodes=1, opset=18)


def test_time_that_takes_far_more_channels_is_told() -> None:
    settings = {"objective": "latency", "target_latency": "0.500000x"}
    report = Report(input=stats(100), output=stats(4), settings=settings)
    assert "only 0.04 of the multiply-accumulates are left" in macs_lag_time(report)[0]
    assert not macs_lag_time(report.model_copy(update={"output": stats(40)}))
    assert not macs_lag_time(report.model_copy(update={"settings": {"objective": "macs", "target_latency": "0.5x"}}))
