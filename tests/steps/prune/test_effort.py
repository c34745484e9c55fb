"""What recovery takes grows with what there is to do, and samples follow from the widest layer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.config import PruneSettings
from compressor.pruning.cut.analysis import analyse
from compressor.steps.prune import effort
from compressor.steps.prune.effort import LayerSize, RecoveryWork
from tests.models import in_memory, model

LAYERS = st.builds(LayerSize, st.integers(1, 4096), st.integers(1, 8), st.floats(0.5, 3000))
WORK = st.builds(
    RecoveryWork, st.lists(LAYERS, min_size=1, max_size=4), st.floats(0, 1e10), st.floats(0, 1e9), st.floats(0, 1e8)
)


@given(WORK, st.integers(1, 5000), st.integers(0, 5000))
def test_more_is_never_cheaper(work: RecoveryWork, samples: int, more: int) -> None:
    one = work.effort(samples, losses=False)
    assert one.seconds <= work.effort(samples + more, losses=False).seconds
    assert one.seconds <= work.effort(samples, losses=True).seconds
    wider = RecoveryWork([*work.layers, LayerSize(8192, 8, 10.0)], work.macs, work.weights, work.held)
    assert one.seconds < wider.effort(samples, losses=False).seconds
    assert one.memory < wider.effort(samples, losses=False).memory


@given(WORK)
def test_the_widest_layer_gets_its_rows(work: RecoveryWork) -> None:
    each = effort._drawn().rows_per_unknown
    given_rows = [max(layer.rows, 1.0) * work.samples / layer.unknowns for layer in work.layers]
    assert min(given_rows) >= each * (1 - 1e-9)
    assert min(max(layer.rows, 1.0) * (work.samples - 1) / layer.unknowns for layer in work.layers) < each


def test_cores_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    work = RecoveryWork([LayerSize(64, 1, 10.0)], 1e6, 1e6, 1e6)
    seconds = []
    for cores in (1, 4):
        monkeypatch.setattr(effort, "cores", lambda cores=cores: cores)
        seconds.append(work.effort(100, losses=False).seconds)
    assert seconds[0] == pytest.approx(4 * seconds[1])


def test_layers_are_read_from_the_graph() -> None:
    text = """(float[n,4,8,8] x) => (float[n,5] y) <float[6,2,3,3] w, float[6,5] v> {
        a = Conv<group=2>(x, w) b = Relu(a) c = GlobalAveragePool(b) d = Flatten(c) y = MatMul(d, v) }"""
    analysis = analyse(in_memory(model(text)), PruneSettings())
    work = RecoveryWork.of(analysis.model, analysis.shapes)
    assert [(layer.unknowns, layer.groups, layer.rows) for layer in work.layers] == [(18, 2, 36.0), (6, 1, 1.0)]
