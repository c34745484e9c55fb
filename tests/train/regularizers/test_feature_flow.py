"""Which values are a stage, and what length and curvature do not depend on."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from compressor.errors import UsageError  # noqa: E402 -- after the skip
from compressor.train.regularizers.feature_flow import (  # noqa: E402
    EVERY_STEPS,
    FLOW,
    FeatureFlow,
    FeatureStage,
    flow,
    stages_of,
)
from tests.train.regularizers.case import CHAIN, RESIDUAL, subject  # noqa: E402


def stages(text: str) -> list[FeatureStage]:
    found = subject(text).analysis
    return stages_of(found.model.graph, found.shapes, found.coupling)


def test_the_branches_of_a_residual_stream_are_its_steps() -> None:
    assert stages(RESIDUAL) == [FeatureStage(["h1", "h2"], [("d1", ""), ("d2", "")])]


def test_what_layers_of_a_chain_read() -> None:
    text = """
    (float[n,8,6,6] x) => (float[n,c] y)
    <float[8,8,3,3] w1, float[8,8,3,3] w2, float[8,8,3,3] w3, float[8,4] head> {
        a = Conv<pads=[1,1,1,1]>(x, w1)  r = Relu(a)  b = Conv<pads=[1,1,1,1]>(r, w2)  s = Relu(b)
        c = Conv<pads=[1,1,1,1]>(s, w3)  p = GlobalAveragePool(c)  f = Flatten(p)  y = MatMul(f, head)
    }"""
    assert stages(text) == [FeatureStage(["r", "s"], [("s", "r")])]


def test_a_graph_without_two_layers_of_one_shape_is_refused() -> None:
    text = """
    (float[n,3,6,6] x) => (float[n,c] y) <float[8,3,3,3] w1, float[8,4] head> {
        a = Conv<pads=[1,1,1,1]>(x, w1)  p = GlobalAveragePool(a)  f = Flatten(p)  y = MatMul(f, head)
    }"""
    with pytest.raises(UsageError, match="features have one shape"):
        FLOW.make(subject(text))


PLAIN = FeatureStage(["a", "b", "c"], [("b", "a"), ("c", "b")])


def values(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(4, 3, 2, 2, generator=generator) for name in "abc"}


@pytest.mark.parametrize("angle", [False, True])
def test_it_does_not_depend_on_the_scale_of_a_stage(angle: bool) -> None:
    found = values()
    larger = {name: 10 * value for name, value in found.items()}
    torch.testing.assert_close(flow([PLAIN], found, angle=angle), flow([PLAIN], larger, angle=angle))


def test_features_that_do_not_move_have_no_length() -> None:
    one = values()["a"]
    length, curvature = flow([PLAIN], dict.fromkeys("abc", one), angle=False)
    assert float(length) == float(curvature) == 0


def test_angles_do_not_depend_on_the_length_of_steps() -> None:
    found = values()
    stage = FeatureStage(["a"], [("b", ""), ("c", "")])
    longer = {**found, "c": 3 * found["c"]}
    one, two = (flow([stage], v, angle=True)[1] for v in (found, longer))
    torch.testing.assert_close(one, two)
    straight = {**found, "c": 2 * found["b"]}
    assert float(flow([stage], straight, angle=True)[1]) == pytest.approx(0, abs=1e-6)


def test_one_step_of_several_has_the_penalty_and_the_last_third_none() -> None:
    of = subject(CHAIN)
    method = FeatureFlow([PLAIN], of, angle=False)
    module = torch.nn.Linear(1, 1)
    steps = 3 * EVERY_STEPS
    method.start(module, torch.optim.SGD(module.parameters(), lr=0.1), steps)
    method.calibrate(module, lambda: (torch.tensor(2.0), values()))
    found = []
    for step in range(1, steps + 1):
        found.append(method.penalty(module, values()))
        method.after_step(module, step)
    assert [k for k, penalty in enumerate(found) if penalty is not None] == [0, EVERY_STEPS]
    # As much in all as if each of the steps that have it had its share.
    mean = sum(float(penalty) for penalty in found if penalty is not None) / (2 * EVERY_STEPS)
    assert mean == pytest.approx(0.1 * 2.0, rel=1e-5)
