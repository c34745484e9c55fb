"""The training loop: it learns, repeats itself bit by bit, and survives what may happen to it."""

from __future__ import annotations

import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.config import TuneSettings
from compressor.errors import CheckpointError, TrainingDiverged, UsageError
from compressor.train.loop.extension import Extension
from compressor.train.loop.fit import fit
from compressor.train.loop.history import Event, History
from compressor.train.loop.objective import Objective, run_module
from compressor.train.loop.optimizer import optimiser_for, rate_at
from compressor.train.loop.split import Splits
from tests.train.training import Memory, Net, StopAfter, objective, samples, splits


def settings(**given: Any) -> TuneSettings:
    return TuneSettings.parse({"batch_size": 8, "epochs": 3, "learning_rate": 0.1, "device": "cpu", **given})


def trained(chosen: TuneSettings, **options: Any) -> tuple[Net, History]:
    module = Net()
    return module, fit(module, objective(), splits(), chosen, **options)


def bits(module: torch.nn.Module) -> dict[str, bytes]:
    return {name: t.contiguous().numpy().tobytes() for name, t in module.state_dict().items()}


def test_it_learns() -> None:
    _, history = trained(settings(epochs=12, optimiser="adamw", learning_rate=0.05))
    assert history.after.loss < 0.5 * history.before.loss
    assert history.after.metric is not None
    assert history.after.metric > 0.7
    assert history.metric_name == "accuracy"
    assert history.steps == 60


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_the_same_seed_gives_the_same_bits(optimiser: str) -> None:
    one, two, other = (trained(settings(seed=s, optimiser=optimiser))[0] for s in (3, 3, 4))
    assert bits(one) == bits(two)
    assert bits(one) != bits(other)


def test_it_leaves_the_random_numbers_of_others_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained(settings())
    assert torch.equal(torch.rand(3), expected)


class Drift(Extension):
    """Has a state and draws random numbers, both of which must survive."""

    def __init__(self) -> None:
        self.mean = torch.zeros(4)
        self.seen = 0

    def after_backward(self, module: torch.nn.Module) -> None:
        assert isinstance(module, Net)
        assert module.head.bias.grad is not None
        self.mean = 0.9 * self.mean + torch.rand(4)
        self.seen += 1
        module.head.bias.grad += 0.01 * self.mean * self.seen

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "seen": self.seen}

    def load_state_dict(self, state: Any) -> None:
        self.mean, self.seen = state["mean"], state["seen"]


@pytest.mark.parametrize(
    ("step", "options"),
    [
        (1, {}),
        (5, {"optimiser": "adamw"}),
        (7, {"ema": 0.9}),
        (10, {"optimiser": "adamw", "ema": 0.5, "patience": 2}),
        (12, {"val_share": 0.0, "amp": "bf16"}),
    ],
)
def test_a_resumed_run_is_bit_identical(tmp_path: Path, step: int, options: dict[str, Any]) -> None:
    whole, expected = trained(settings(**options), extensions=[Drift()])
    chosen = settings(checkpoint=tmp_path / "c", **options)
    with pytest.raises(KeyboardInterrupt):
        trained(chosen, extensions=[Drift(), StopAfter(step)])
    resumed, history = trained(chosen.model_copy(update={"resume": True}), extensions=[Drift(), Extension()])
    assert bits(resumed) == bits(whole)
    assert (history.before, history.after, history.best_epoch) == (
        expected.before,
        expected.after,
        expected.best_epoch,
    )
    assert [e.loss for e in history.epochs] == [e.loss for e in expected.epochs]


def test_a_killed_process_is_resumed_from_its_last_epoch(tmp_path: Path) -> None:
    whole, _ = trained(settings())
    chosen = settings(checkpoint=tmp_path / "c")

    class Dies(Extension):
        def after_step(self, module: torch.nn.Module, step: int) -> None:
            if step == 8:
                raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        trained(chosen, extensions=[Dies()])
    resumed, _ = trained(chosen.model_copy(update={"resume": True}), extensions=[Extension()])
    assert bits(resumed) == bits(whole)


def test_sigterm_ends_by_an_exception_after_the_checkpoint(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        trained(settings(checkpoint=tmp_path / "c"), extensions=[StopAfter(2, signal.SIGTERM)])
    assert ended.value.code == 128 + signal.SIGTERM
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["checkpoint.safetensors"]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"learning_rate": 0.2}, "learning_rate was 0.1 and is 0.2"),
        ({"batch_size": 4}, "batch_size"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path, change: dict[str, Any], word: str) -> None:
    chosen = settings(checkpoint=tmp_path / "c")
    with pytest.raises(KeyboardInterrupt):
        trained(chosen, extensions=[StopAfter(2)])
    with pytest.raises(CheckpointError, match=word):
        trained(chosen.model_copy(update={"resume": True, **change}))


def test_a_checkpoint_of_another_model_or_other_data_is_refused(tmp_path: Path) -> None:
    chosen = settings(checkpoint=tmp_path / "c")
    with pytest.raises(KeyboardInterrupt):
        trained(chosen, extensions=[StopAfter(2)])
    again = chosen.model_copy(update={"resume": True})
    with pytest.raises(CheckpointError, match="model"):
        fit(Net(seed=1), objective(), splits(), again)
    with pytest.raises(CheckpointError, match="data"):
        fit(Net(), objective(), splits(41), again)
    with pytest.raises(CheckpointError, match="data"):
        fit(Net(), objective(), Splits(samples(seed=9), samples(12, seed=2)), again)


def test_a_missing_or_damaged_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name its folder with --checkpoint"):
        trained(settings(resume=True))
    chosen = settings(checkpoint=tmp_path, resume=True)
    with pytest.raises(CheckpointError, match="leave out --resume"):
        trained(chosen)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0 not a header ")
    with pytest.raises(CheckpointError, match="damaged"):
        trained(chosen)


class Poison(Extension):
    def __init__(self, step: int) -> None:
        self.step, self.seen = step, 0

    def penalty(self, module: torch.nn.Module, values: Any) -> torch.Tensor | None:
        self.seen += 1
        return torch.tensor(float("nan")) if self.seen == self.step else None


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_weights(tmp_path: Path) -> None:
    good, _ = trained(settings(epochs=3), extensions=[StopEpoch(2)])
    module = Net()
    with pytest.raises(TrainingDiverged, match=r"nan at step 13 \(epoch 3\)") as found:
        fit(module, objective(), splits(), settings(checkpoint=tmp_path / "c"), extensions=[Poison(13)])
    assert found.value.exit_code == 2
    assert bits(module) == bits(good)
    assert (tmp_path / "c" / "checkpoint.safetensors").is_file()


class PoisonEpoch(Extension):
    """Weights that are no numbers once an epoch is over, whose own losses were finite."""

    def after_epoch(self, module: torch.nn.Module, epoch: int) -> None:
        if epoch == 2:
            torch.nn.init.constant_(module.get_parameter("head.bias"), float("nan"))


def test_weights_that_are_judged_not_finite_are_not_kept() -> None:
    good, _ = trained(settings(epochs=3), extensions=[StopEpoch(1)])
    module = Net()
    with pytest.raises(TrainingDiverged, match=r"nan at step 10 \(epoch 2\); the weights of epoch 1 are kept"):
        fit(module, objective(), splits(), settings(), extensions=[PoisonEpoch()])
    assert bits(module) == bits(good)


def test_a_loss_that_is_not_finite_from_the_start_is_told_before_any_step() -> None:
    module = Net()
    torch.nn.init.constant_(module.head.bias, float("nan"))
    before = bits(module)
    with pytest.raises(TrainingDiverged, match="nan before the first step; look for NaN or infinity"):
        fit(module, objective(), splits(), settings())
    assert bits(module) == before


class StopEpoch(Extension):
    """Freezes the weights after an epoch, so that the run ends with them."""

    keeps_last = True

    def __init__(self, epoch: int) -> None:
        self.epoch, self.over = epoch, False

    def after_epoch(self, module: torch.nn.Module, epoch: int) -> None:
        self.over = self.over or epoch >= self.epoch

    def after_backward(self, module: torch.nn.Module) -> None:
        if self.over:
            for parameter in module.parameters():
                parameter.grad = None


def test_the_best_epoch_is_kept_and_patience_ends_the_run() -> None:
    class Spoil(Extension):
        def after_epoch(self, module: torch.nn.Module, epoch: int) -> None:
            if epoch >= 3:
                with torch.no_grad():
                    for parameter in module.parameters():
                        parameter.fill_(9.0)

    _, history = trained(settings(epochs=9, patience=2), extensions=[Spoil()])
    assert history.stopped_early
    assert len(history.epochs) == history.best_epoch + 2
    valid = [e.valid.loss for e in history.epochs if e.valid is not None]
    assert history.after.loss == min(valid)


def test_weights_that_only_get_worse_are_not_kept() -> None:
    module, history = trained(settings(learning_rate=50, clip_norm=0, optimiser="adamw"))
    assert history.best_epoch == 0
    assert history.after == history.before
    assert bits(module) == bits(Net())


def test_an_average_is_judged_and_kept() -> None:
    class Half(Extension):
        keeps_last = True

        def averaged(self, module: torch.nn.Module) -> dict[str, torch.Tensor]:
            return {"head.bias": torch.full((4,), 0.5)}

    module, _ = trained(settings(), extensions=[Half()])
    assert torch.equal(module.head.bias, torch.full((4,), 0.5))
    plain, _ = trained(settings())
    mean, _ = trained(settings(ema=0.5))
    assert bits(mean) != bits(plain)


def test_the_hooks_come_in_order() -> None:
    told: list[str] = []

    class Notes(Extension):
        def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:
            told.append(f"start {steps_total}")

        def penalty(self, module: torch.nn.Module, values: Any) -> torch.Tensor:
            told.append("penalty")
            return module.get_parameter("head.bias").square().sum()

        def after_backward(self, module: torch.nn.Module) -> None:
            told.append("backward")

        def after_step(self, module: torch.nn.Module, step: int) -> None:
            told.append(f"step {step}")

        def after_epoch(self, module: torch.nn.Module, epoch: int) -> None:
            told.append(f"epoch {epoch}")

    trained(settings(epochs=2, batch_size=32), extensions=[Notes()])
    steps = [["penalty", "backward", f"step {k}", f"epoch {k}"] for k in (1, 2)]
    assert told == ["start 2", *steps[0], *steps[1]]


def test_a_penalty_takes_part() -> None:
    class Ridge(Extension):
        def penalty(self, module: torch.nn.Module, values: Any) -> torch.Tensor:
            return 10 * module.get_parameter("conv.weight").square().sum()

    small, _ = trained(settings(learning_rate=0.01, clip_norm=0, val_share=0), extensions=[Ridge()])
    plain, _ = trained(settings(learning_rate=0.01, clip_norm=0, val_share=0))
    assert small.conv.weight.norm() < 0.7 * plain.conv.weight.norm()


def test_progress_is_told() -> None:
    events: list[Event] = []
    trained(settings(), observe=events.append)
    ends = [e for e in events if e.kind == "epoch"]
    assert [e.epoch for e in ends] == [1, 2, 3]
    assert ends[-1].step == ends[-1].steps == 15
    assert ends[-1].eta_seconds == 0
    assert all(e.images_per_second > 0 and e.metric is not None for e in ends)
    assert any(e.kind == "step" for e in events)


# ---- optimiser and schedule


def test_only_matrices_and_kernels_decay() -> None:
    groups = optimiser_for(Net(), settings(weight_decay=0.1)).param_groups
    assert [(g["weight_decay"], [tuple(p.shape) for p in g["params"]]) for g in groups] == [
        (0.1, [(8, 3, 3, 3), (4, 8)]),
        (0.0, [(8,), (4,)]),
    ]


@given(st.integers(1, 500), st.floats(0, 0.9), st.floats(0, 1))
def test_the_rate_rises_in_a_line_and_falls_as_a_cosine(steps: int, warmup: float, final: float) -> None:
    chosen = settings(warmup=warmup, final_rate=final)
    rates = [rate_at(k, steps, chosen) for k in range(steps)]
    top = int(np.argmax(rates))
    assert all(0 < r <= 1 for r in rates) or final == 0
    assert all(a < b for a, b in pairwise(rates[: top + 1]))
    assert all(a >= b for a, b in pairwise(rates[top:]))
    assert rates[-1] >= final


def test_gradients_are_clipped_together() -> None:
    norms: list[float] = []

    class Watch(Extension):
        def after_step(self, module: torch.nn.Module, step: int) -> None:
            norms.append(float(torch.stack([p.grad.norm() for p in module.parameters() if p.grad is not None]).norm()))

    trained(settings(clip_norm=0.01), extensions=[Watch()])
    assert max(norms) <= 0.01 * 1.001


# ---- bad input


def test_no_data_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="no samples to train on"):
        fit(Net(), objective(), splits(0, 0), settings())


def test_labels_are_checked_before_they_reach_the_device() -> None:
    def refuse(labels: Any) -> None:
        raise UsageError(f"label {labels.max()} is out of range")

    with pytest.raises(UsageError, match="label 3 is out of range"):
        fit(Net(), objective(check=refuse), splits(), settings())


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_names_the_batch_size_to_try(error: Exception) -> None:
    class Greedy(Extension):
        def penalty(self, module: torch.nn.Module, values: Any) -> None:
            raise error

    with pytest.raises(UsageError, match="--batch-size 4"):
        trained(settings(), extensions=[Greedy()])


def test_a_fixed_batch_is_run_in_pieces() -> None:
    class Fixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert len(x) == 4
            return 2 * x

    x = torch.arange(10.0).reshape(10, 1)
    (found,) = run_module(Fixed(), {"x": x}, 4)
    assert torch.equal(found, 2 * x)


def test_data_smaller_than_a_batch_is_one_step_an_epoch() -> None:
    module = Net()
    history = fit(module, objective(), splits(5, 0), settings(batch_size=64))
    assert history.steps == 3
    assert history.best_epoch == 3


def test_the_teacher_is_frozen_and_in_evaluation() -> None:
    teacher = Net(seed=7)

    def match(outputs: Any, batch: Any, taught: Any) -> torch.Tensor:
        assert not taught[0].requires_grad
        return torch.nn.functional.mse_loss(outputs[0], taught[0])

    before = bits(teacher)
    history = fit(Net(), Objective([(1.0, match)], teacher=teacher), splits(), settings(epochs=8))
    assert bits(teacher) == before
    assert not teacher.training
    assert history.after.loss < history.before.loss


def test_inputs_of_half_precision_become_those_of_the_weights() -> None:
    data = samples()
    half = Memory({"x": data.inputs["x"].astype(np.float16)}, data.labels)
    fit(Net(), objective(), Splits(half), settings(epochs=1))
