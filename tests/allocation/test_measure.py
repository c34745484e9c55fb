"""Loss curves: exact where nothing is approximated, taken on samples that weights were not adjusted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import pytest

from compressor.allocation.judge import Probe, factors
from compressor.allocation.measure import LossEvidence, loss_curves
from compressor.allocation.reading import Sizing, exactly, sizing, with_gradients, without_gradients
from compressor.allocation.views import covered, views
from compressor.config import PruneSettings
from compressor.pruning.budgets.curves import Curves, GroupScores
from compressor.pruning.budgets.select import scored_groups
from compressor.pruning.cut.analysis import Analysis, analyse
from tests.models import in_memory, model
from tests.reconstruct.case import Arrays, noise

CHAIN = """
    (float[n,4,6,6] x) => (float[n,2,h,k] y)
    <float[12,4,1,1] w, float[12,1,1,1] d, float[6,12,2,2] v, float[2,6,3,3] u> {
        a = Conv(x, w)  b = Conv<group=12>(a, d)  r = Relu(b)  c = Conv(r, v)  y = Conv(c, u) }"""
"""With a depthwise convolution, which here only scales."""


def evidence(proto: onnx.ModelProto, data: Arrays, *, torch: bool = True) -> tuple[Analysis, GroupScores, LossEvidence]:
    settings = PruneSettings(ratio=0.5, criterion="consumers", round_to=1)
    analysis = analyse(in_memory(proto), settings)
    _, ranked = scored_groups(analysis.coupling, settings)
    parts = views(analysis.model, analysis.coupling)
    size = Sizing(len(data), 16, 10_000)
    if torch:
        pytest.importorskip("torch")
        rows, exact = (
            with_gradients(analysis.model, parts, data, size, 0),
            exactly(analysis.model, parts, data, size, 0),
        )
    else:
        rows, exact = without_gradients(analysis.model, parts, data, size, 0, "cpu"), None
    found = [rows.found[part.layer.name] for part in parts]
    return analysis, ranked, LossEvidence(parts, found, covered(analysis.coupling, list(ranked), parts), exact)


def measured(proto: onnx.ModelProto, data: Arrays, *, torch: bool = True) -> tuple[GroupScores, Curves]:
    _, ranked, seen = evidence(proto, data, torch=torch)
    return ranked, loss_curves(ranked, seen, 0)


def test_a_depthwise_convolution_is_passed_exactly() -> None:
    """The same network with the scale in the filters has the same curve."""
    whole = model(CHAIN)
    merged = model(CHAIN.replace("b = Conv<group=12>(a, d)  r = Relu(b)", "r = Relu(a)").replace(" d,", " unused,"))
    parts = {tensor.name: tensor for tensor in whole.graph.initializer}
    scaled = onnx.numpy_helper.to_array(parts["w"]) * onnx.numpy_helper.to_array(parts["d"]).reshape(12, 1, 1, 1)
    for tensor in merged.graph.initializer:
        array = scaled if tensor.name == "w" else onnx.numpy_helper.to_array(parts.get(tensor.name, parts["d"]))
        tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float32), tensor.name))
    for node in merged.graph.node:
        node.name = next(other.name for other in whole.graph.node if other.output[0] == node.output[0])
    _, one = measured(whole, Arrays(x=noise(64, 4, 6, 6)))
    _, two = measured(merged, Arrays(x=noise(64, 4, 6, 6)))
    assert one["w"].losses == pytest.approx(two["w"].losses, rel=1e-3)
    assert one["w"].losses[-1] > 0


@pytest.mark.parametrize("torch", [True, False])
def test_a_channel_that_others_make_up_for_goes_first_and_costs_nothing(*, torch: bool) -> None:
    proto = model(
        """(float[n,8] x) => (float[n,4] y) <float[8,8] w, float[8,4] v> {
            a = MatMul(x, w) r = Relu(a) y = MatMul(r, v) }"""
    )
    turned, other = np.linalg.qr(noise(8, 8))[0], noise(8, 4, seed=1)
    turned[:, 5] = turned[:, 2]
    other /= np.linalg.norm(other, axis=1)[:, None]
    for tensor, array in zip(proto.graph.initializer, (turned, other), strict=True):
        tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float32), tensor.name))
    ranked, found = measured(proto, Arrays(x=noise(400, 8)), torch=torch)
    [(group, _)] = ranked.items()
    curve = found[group.name]
    assert curve.order[0] in (group.units[2], group.units[5])
    assert curve.losses[1] < 0.02 * curve.losses[2]
    assert (np.diff(curve.losses) >= 0).all()


def test_judged_on_samples_that_weights_were_not_adjusted_to() -> None:
    """With more inputs than rows, weights can be adjusted to make up for anything, on those rows."""
    proto = model(
        """(float[n,8] x) => (float[n,4] y) <float[8,64] w, float[64,4] v> {
            a = MatMul(x, w) r = Relu(a) y = MatMul(r, v) }"""
    )
    _, ranked, seen = evidence(proto, Arrays(x=noise(48, 8)))
    [group] = ranked
    honest = loss_curves(ranked, seen, 0)[group.name].losses[16]
    flattered = [
        type(rows)(np.concatenate([rows.inputs[:, :24]] * 2, axis=1), np.concatenate([g[:, :24]] * 2, axis=1), 1)
        for rows in seen.rows
        if (g := rows.gradients) is not None
    ]
    blind = loss_curves(ranked, LossEvidence(seen.views, flattered, seen.covered), 0)[group.name].losses[16]
    assert honest > 3 * blind


def test_a_group_that_outputs_hardly_depend_on_loses_less() -> None:
    proto = model(
        """(float[n,8] x) => (float[n,4] y) <float[8,16] w, float[16,4] v, float[8,16] w2, float[16,4] v2,
                                              float s = {0.01}> {
            a = MatMul(x, w) r = Relu(a) b = MatMul(r, v)
            c = MatMul(x, w2) q = Relu(c) d = MatMul(q, v2) e = Mul(d, s) y = Add(b, e) }"""
    )
    _, found = measured(proto, Arrays(x=noise(200, 8)))
    assert found["w2"].losses[8] < 0.01 * found["w"].losses[8]


def test_what_no_linear_layer_reads_goes_by_its_scores_on_the_scale_of_the_others() -> None:
    proto = model(
        """(float[5,n,8] x) => (float[5,d,n,6] y) <float[8,16] w, float[16,12] v, float[1,24,12] k, float[1,24,6] r> {
            a = MatMul(x, w) c = Relu(a) b = MatMul(c, v) e = Relu(b) y, h, s = LSTM<hidden_size=6>(e, k, r) }"""
    )
    ranked, found = measured(proto, Arrays(x=noise(64, 5, 8).transpose(1, 0, 2)), torch=False)
    assert set(found) == {"w", "v"}
    scores = next(score for group, score in ranked.items() if group.name == "v")
    units = next(group.units for group in ranked if group.name == "v")
    assert found["v"].order.tolist() == units[np.argsort(scores, kind="stable")][: len(found["v"].order)].tolist()
    ratio = found["v"].losses[6] / found["w"].losses[8]
    assert 0.2 < ratio < 5


def test_losses_are_scaled_by_those_taken_exactly_at_a_quarter_half_and_three_quarters() -> None:
    _, ranked, seen = evidence(model(CHAIN), Arrays(x=noise(64, 4, 6, 6)), torch=False)
    ranked = {group: scores for group, scores in ranked.items() if group.name == "w"}
    plain = loss_curves(ranked, seen, 0)["w"].losses

    def exact(sets: Sequence[Sequence[Probe]]) -> np.ndarray:
        [own] = [view for view in seen.views if view.layer.weight.initializer.name == "v"]
        lost = [np.isclose(probe.change, -own.matrix[0]).all(axis=0).sum() for [probe] in sets]
        assert lost == [3 * 4, 6 * 4, 8 * 4], "columns, four taps each, of the 11 channels that may go"
        return np.ones(len(sets))

    scaled = loss_curves(ranked, replace(seen, exact=exact), 0)["w"].losses
    assert scaled == pytest.approx(plain * np.mean(1 / plain[[3, 6, 8]]))


def test_a_change_that_is_called_free_does_not_scale() -> None:
    curves = [[(0.0, []), (2.0, []), (4.0, [])], [(0.0, [])], []]
    assert factors(curves, lambda sets: np.arange(1.0, len(sets) + 1)) == [(2 / 2 + 3 / 4) / 2, 1.0, 1.0]


def test_fewer_samples_and_rows_where_there_would_be_too_many() -> None:
    found, _, seen = evidence(model(CHAIN), Arrays(x=noise(8, 4, 6, 6)))
    assert sizing(found.coupling, seen.views, 1e6, 256).samples == 256
    assert sizing(found.coupling, seen.views, 1e9, 4096).samples == 250
    assert sizing(found.coupling, seen.views, 1e13, 4096).samples == 32
