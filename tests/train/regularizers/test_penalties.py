"""Penalties on weights: their size, what they leave alone, and what they do not depend on."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from compressor.errors import UsageError  # noqa: E402 -- after the skip
from compressor.train import GraphModule  # noqa: E402
from compressor.train.loop.fit import fit  # noqa: E402
from compressor.train.regularizers.dependency import ScalePenalty  # noqa: E402
from compressor.train.regularizers.group_sparsity import GroupSparsity  # noqa: E402
from compressor.train.regularizers.regularizer import TrainedChannels, scaled  # noqa: E402
from compressor.train.regularizers.trainability_preserving import (  # noqa: E402
    Filters,
    TrainabilityPreserving,
    correlation,
    filters_of,
)
from tests.train.regularizers.case import CHAIN, RESIDUAL, data, images, objective, settings, started, subject  # noqa: E402


def tpp(of: TrainedChannels) -> TrainabilityPreserving:
    return TrainabilityPreserving(of, filters_of(of.cut))


def test_a_ratio_out_of_reach_ends_the_phase_at_half() -> None:
    """At so little strength no channel becomes small."""
    of = subject(RESIDUAL, strength=1e-9)
    penalty = GroupSparsity(of)
    history = fit(
        GraphModule(of.analysis.model),
        objective(of),
        data(),
        settings(epochs=40, learning_rate=1e-3),
        extensions=[penalty],
    )
    assert len(history.epochs) == 20
    assert history.stopped_early
    assert "out of reach" in penalty.notes[0]


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def test_the_first_value_is_a_share_of_the_loss_of_the_cut() -> None:
    of = subject(RESIDUAL, strength=0.25)
    penalty = GroupSparsity(of)
    module = started(penalty, of)
    with torch.no_grad(), of.channels.without_gone(module.tensors()):
        loss = float(module(images(8, 0)).square().mean())
    assert penalty.strength * float(penalty.value().detach()) == pytest.approx(0.25 * loss, rel=1e-4)


def test_a_loss_that_is_no_number_is_named() -> None:
    with pytest.raises(UsageError, match="loss of the first batch is nan"):
        scaled(0.1, float("nan"), 1.0)


def test_weak_channels_shrink_sixteen_times_as_hard_as_strong_ones() -> None:
    of = subject(CHAIN)
    penalty = GroupSparsity(of)
    module = started(penalty, of)
    ramp = penalty.ramp()
    scores = penalty.scores()
    for group in (slice(0, 8), slice(8, 16)):
        assert float(ramp[group][scores[group].argmin()]) == pytest.approx(16, rel=1e-4)
        assert float(ramp[group][scores[group].argmax()]) == pytest.approx(1, rel=1e-4)
    penalty.after_clipping(module)
    for name, parameter in module.named_parameters():
        if name == "w1":
            expected = penalty.strength * ramp[:8, None, None, None] * parameter
            torch.testing.assert_close(parameter.grad, expected.detach())


def test_the_ramp_does_not_depend_on_the_scale_of_a_layer() -> None:
    of = subject(CHAIN)
    penalty = GroupSparsity(of)
    module = started(penalty, of)
    before = penalty.ramp()
    with torch.no_grad():
        module.tensors()["w2"].mul_(7.0)
    torch.testing.assert_close(penalty.ramp(), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("power", [1, 2])
def test_scaling_the_scales_of_a_layer_leaves_the_order_of_its_channels(power: int) -> None:
    of = subject(CHAIN)
    penalty = ScalePenalty(of, power)
    module = started(penalty, of)
    before = penalty.scores()
    with torch.no_grad():
        module.tensors()["s1"].mul_(3.0)
    after = penalty.scores()
    torch.testing.assert_close(after[:8], 3 * before[:8])
    assert torch.equal(before[:8].argsort(), after[:8].argsort())


def test_the_score_is_the_scale_times_the_mean_of_what_reads_it() -> None:
    of = subject(CHAIN)
    penalty = ScalePenalty(of)
    weights = started(penalty, of).tensors()
    expected = weights["s1"].abs() / weights["s1"].abs().mean() * weights["w2"].abs().mean((0, 2, 3))
    torch.testing.assert_close(penalty.scores()[:8], expected.detach())


def test_only_scales_and_gates_are_punished() -> None:
    of = subject(CHAIN)
    penalty = ScalePenalty(of)
    module = started(penalty, of)
    assert penalty.strength == 0, "it starts from nothing"
    assert penalty.controller is not None
    penalty.controller.update(0.0)
    penalty.after_clipping(module)
    found = gradients(module)
    assert not found["w1"].any(), "behind it is a scale"
    assert torch.equal(found["s1"].sign(), module.tensors()["s1"].sign())
    assert found["w2"].any(), "behind it is none, so that it has a gate"
    assert not found["head"].any()


def test_the_penalty_of_the_paper() -> None:
    """mean((G - T)²) with T the matrix G, held fixed, without rows and columns of departing filters."""
    kernel = torch.randn(6, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    gone = torch.tensor([False, True, False, False, True, False])
    found = correlation(kernel, Filters(0, 1, gone))
    rows = kernel.reshape(6, -1)
    gram = rows @ rows.T
    stays = (~gone).double()
    expected = (gram - (gram * stays[:, None] * stays).detach()).square().mean()
    torch.testing.assert_close(found, expected)
    ours, theirs = (torch.autograd.grad(loss, kernel)[0] for loss in (found, expected))
    torch.testing.assert_close(ours, theirs)


def test_filters_on_other_axes_and_in_groups() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(5, 4, generator=generator)
    gone = torch.tensor([True, False, False, True])
    torch.testing.assert_close(
        correlation(matrix, Filters(1, 1, gone)), correlation(matrix.T.contiguous(), Filters(0, 1, gone))
    )
    kernel = torch.randn(4, 2, 3, generator=generator)
    halves = [correlation(kernel[k : k + 2], Filters(0, 1, gone[k : k + 2])) for k in (0, 2)]
    torch.testing.assert_close(correlation(kernel, Filters(0, 2, gone)), (halves[0] + halves[1]) / 2)


def test_departing_filters_shrink_with_their_biases_and_scales_and_others_do_not() -> None:
    of = subject(CHAIN)
    penalty = tpp(of)
    assert set(penalty.names) == {"w1", "w2"}
    module = started(penalty, of)
    penalty.factor = 0.0
    penalty.after_clipping(module)
    found, weights = gradients(module), module.tensors()
    rise = penalty.rise(0)
    assert rise == pytest.approx(1 / 6)
    for name, gone in (("s1", of.channels.gone[:8]), ("beta1", of.channels.gone[:8]), ("b2", of.channels.gone[8:])):
        expected = torch.where(gone, rise * weights[name], torch.zeros(()))
        torch.testing.assert_close(found[name], expected.detach())


def test_the_penalty_does_not_depend_on_the_scale_of_a_kernel() -> None:
    of = subject(CHAIN)
    first = tpp(of)
    started(first, of)
    before = float(first.value().detach())
    second = tpp(of)
    module = started(second, of)
    with torch.no_grad():
        module.tensors()["w2"].mul_(5.0)
    second.start(module, torch.optim.SGD(module.parameters(), lr=0.1), 10)
    assert float(second.value().detach()) == pytest.approx(before, rel=1e-4)


def test_groups_vanish_one_after_the_other() -> None:
    of = subject(CHAIN)
    penalty = tpp(of)
    module = started(penalty, of, steps=20)
    gone, weights = of.channels.gone, module.tensors()
    zero = []
    for step in range(1, 21):
        penalty.after_step(module, step)
        zero.append((not weights["s1"][gone[:8]].any(), not weights["b2"][gone[8:]].any()))
    assert zero[11] == (False, False)
    assert zero[14] == (True, False)
    assert zero[16] == (True, True)
    assert weights["w1"][~gone[:8]].all()
