"""Which form each output gets, and that every loss is zero where it should be and measures what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.config import TuneSettings
from compressor.data.output_forms import OutputForm
from compressor.data.output_units import OutputUnits
from compressor.errors import UsageError
from compressor.train.loop.losses import Agreement, CrossEntropy, OutputProbe, Similarity, SoftDivergence, objective_for
from compressor.train.loop.objective import DeviceBatch

torch.set_num_threads(1)
random = torch.Generator().manual_seed(0)
X = DeviceBatch({"x": torch.zeros(6, 1)})
CLASSES = torch.tensor([0, 1, 2, 3, 4, 0])


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=random)


@given(st.integers(2, 6), st.floats(0.5, 8), st.booleans(), st.integers(0, 99))
def test_divergence_is_that_of_softened_probabilities(k: int, t: float, probabilities: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, two = (rng.normal(0, 2, (3, k)) for _ in range(2))
    if probabilities:
        one, two = (np.exp(a) / np.exp(a).sum(1, keepdims=True) for a in (one, two))
    form = OutputForm("y", 0, "kl", probabilities=probabilities)
    p, q = (a ** (1 / t) if probabilities else np.exp(a / t) for a in (one, two))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    expected = (q * np.log(q / p)).sum(1).mean() * t * t
    found = SoftDivergence(form, t)((torch.from_numpy(one),), X, (torch.from_numpy(two),))
    assert float(found) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_divergence_runs_along_its_axis() -> None:
    one, two = normal(6, 5, 4), normal(6, 5, 4)
    flat = [t.movedim(1, 2).reshape(-1, 5) for t in (one, two)]
    by_axis = SoftDivergence(OutputForm("y", 0, "kl", 1), 2.0)((one,), X, (two,))
    by_rows = SoftDivergence(OutputForm("y", 0, "kl", 1), 2.0)((flat[0],), X, (flat[1],))
    assert torch.allclose(by_axis, by_rows)


def test_similarity_needs_no_equal_widths_and_sees_no_rotation() -> None:
    wide = normal(6, 12)
    rotation = torch.linalg.qr(normal(12, 12))[0]
    similarity = Similarity(0)
    assert float(similarity((wide @ rotation,), X, (wide,))) == pytest.approx(0, abs=1e-9)
    far = float(similarity((normal(6, 5),), X, (wide,)))
    assert 0.01 < far <= 4


def test_cross_entropy_of_numbers_shares_and_probabilities() -> None:
    scores, labels = normal(6, 5), CLASSES
    expected = torch.nn.functional.cross_entropy(scores, labels)
    shares = torch.nn.functional.one_hot(labels, 5).float()
    plain, soft = CrossEntropy(OutputForm("y", 0, "kl")), CrossEntropy(OutputForm("y", 0, "kl", probabilities=True))
    assert torch.allclose(plain((scores,), DeviceBatch({}, labels), ()), expected)
    assert torch.allclose(plain((scores,), DeviceBatch({}, shares), ()), expected)
    assert torch.allclose(soft((scores.softmax(1),), DeviceBatch({}, labels), ()), expected, atol=1e-6)
    tokens = normal(6, 7, 5)
    last = CrossEntropy(OutputForm("y", 0, "kl", 2))((tokens,), DeviceBatch({}, torch.full((6, 7), 2)), ())
    assert torch.allclose(last, -tokens.log_softmax(2)[..., 2].mean())


def test_agreement_counts_what_has_a_label() -> None:
    scores = torch.eye(3)
    term = Agreement(OutputForm("y", 0, "kl"), labelled=True)
    assert float(term((scores,), DeviceBatch({}, torch.tensor([0, 1, 0])), ())) == pytest.approx(2 / 3)
    assert float(term((scores,), DeviceBatch({}, torch.tensor([0, -100, 0])), ())) == pytest.approx(1 / 2)


# ---- the objective that settings ask for


def probe(
    *outputs: torch.Tensor, labels: torch.Tensor | None = None, taught: Any = None, features: Any = ()
) -> OutputProbe:
    names = tuple(f"y{k}" for k in range(len(outputs) - len(features)))
    return OutputProbe(names, features, outputs, outputs if taught is None else taught, labels)


def build(settings: dict[str, Any], seen: OutputProbe) -> Any:
    return objective_for(TuneSettings.parse(settings), seen, None, None)


def test_imitating_oneself_costs_nothing() -> None:
    outputs = (normal(6, 5), normal(6, 3, 4, 4), normal(6, 5).softmax(1), normal(6, 9))
    objective, words = build({"features": ["f"]}, probe(*outputs, features=("f",)))
    assert float(objective(outputs, X, outputs)) == pytest.approx(0, abs=1e-6)
    assert len(words) == 3
    assert objective.metric_name == "agreement"
    assert float(objective.measure(outputs, X, outputs)) == 1


def test_numbers_count_by_their_variance_and_outputs_alike() -> None:
    one, two = normal(6, 3, 4, 4), 1000 * normal(6, 2, 4, 4)
    objective, _ = build({}, probe(one, two))
    off = (one + one.std(correction=0), two + two.std(correction=0))
    assert float(objective(off, X, (one, two))) == pytest.approx(1, rel=1e-5)
    assert objective.metric_name == "r2"
    assert float(objective.measure(off, X, (one, two))) == pytest.approx(0, abs=1e-5)


def test_mixed_is_the_weighted_sum() -> None:
    outputs, taught = (normal(6, 5),), (normal(6, 5),)
    seen = probe(*outputs, labels=CLASSES, taught=taught)
    batch = DeviceBatch({}, CLASSES)
    of = ({"loss": "distill"}, {"loss": "cross-entropy"}, {"loss": "mixed", "alpha": 0.3})
    parts = [float(build(settings, seen)[0](outputs, batch, taught)) for settings in of]
    assert parts[2] == pytest.approx(0.3 * parts[0] + 0.7 * parts[1], rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "seen", "word"),
    [
        ({}, OutputProbe(("y",), (), (normal(6, 5),), (), None), "needs the original model"),
        ({"loss": "cross-entropy"}, probe(normal(6, 5)), "needs labels"),
        ({"loss": "cross-entropy"}, probe(normal(6, 5), labels=torch.zeros(6, 3).long()), "fit no output"),
        ({"loss": "cross-entropy"}, probe(normal(6, 5), labels=torch.zeros(6)), "float32, fit no .* whole numbers"),
        ({"loss": "nowhere.at:all"}, probe(normal(6, 5)), "there is no module"),
        ({"loss": "math:pi"}, probe(normal(6, 5)), "cannot be called"),
        ({}, probe(torch.ones(6, 5).long()), "has a gradient"),
        ({}, probe(normal(6, 5), taught=(normal(6, 4),)), "give the model that this one was made from"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, Any], seen: OutputProbe, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        build(settings, seen)


def own(outputs: Any, batch: DeviceBatch, taught: Any) -> torch.Tensor:
    mean: torch.Tensor = outputs[0].mean()
    return mean


def wrong(outputs: Any, batch: DeviceBatch, taught: Any) -> torch.Tensor:
    rows: torch.Tensor = outputs[0]
    return rows


def test_a_loss_of_ones_own() -> None:
    outputs = (normal(6, 5),)
    objective, _ = build({"loss": f"{__name__}:own"}, probe(*outputs))
    assert torch.equal(objective(outputs, X, ()), outputs[0].mean())
    objective, _ = build({"loss": f"{__name__}:wrong"}, probe(*outputs))
    with pytest.raises(UsageError, match=r"returned \[6, 5\]"):
        objective(outputs, X, ())


def test_parts_in_units_of_their_own_count_alike() -> None:
    """Boxes in pixels beside probabilities: an error of one deviation costs the same in both."""
    taught = torch.cat([normal(6, 4, 50) * 30, normal(6, 3, 50).abs() * 0.05], 1)
    probe = OutputProbe(("y",), (), (taught,), (taught,), None)
    objective, words = objective_for(TuneSettings(), probe, torch.nn.Identity(), None)
    assert "each part along axis 1" in words[0]
    losses = []
    for part in (slice(0, 4), slice(4, 7)):
        moved = taught.clone()
        moved[:, part] += moved[:, part].std((0, 2), keepdim=True)
        losses.append(float(objective((moved,), X, (taught,))))
    assert losses == pytest.approx([1 / 2, 1 / 2], rel=0.01)


@pytest.mark.parametrize("classes", [3, 200])
def test_training_takes_the_parts_that_distances_are_of(classes: int) -> None:
    """However many classes there are, which used to end at 128 rows."""
    taught = torch.cat([300 + normal(6, 4, 50) * 30, normal(6, classes, 50).abs() * 0.05], 1)
    probe = OutputProbe(("y",), (), (taught,), (taught,), None)
    objective, _ = objective_for(TuneSettings(), probe, torch.nn.Identity(), None)
    units = OutputUnits.of(taught.numpy())
    assert units.starts == (4,)
    wrong = taught.clone()
    wrong[:, 4:] = 0
    scores = taught[:, 4:]
    lost = (scores.square().mean((0, 2)) / scores.var((0, 2), correction=0)).mean()
    assert float(objective((wrong,), X, (taught,))) == pytest.approx(float(lost) / 2, rel=1e-4)
