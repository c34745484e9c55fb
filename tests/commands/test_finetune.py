"""Fine-tuning from file to file: what is left of a run that ends well, is interrupted, or diverges."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

pytest.importorskip("torch")

import torch

from compressor.commands.finetune import LAST_GOOD, finetune_file
from compressor.errors import TrainingDiverged, UsageError
from compressor.graph.disk import files
from compressor.train.finetune import TuneResult, finetune
from compressor.train.loop.extension import Extension
from tests.train.test_finetune import data, net, pruned, settings


class Poison(Extension):
    """Makes the loss NaN at its eleventh step."""

    seen = 0

    def penalty(self, module: torch.nn.Module, values: Any) -> torch.Tensor | None:
        self.seen += 1
        return torch.tensor(float("nan")) if self.seen == 11 else None


class Interrupt(Extension):
    def after_epoch(self, module: torch.nn.Module, epoch: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt


@pytest.fixture
def place(tmp_path: Path) -> Path:
    onnx.save(net(), tmp_path / "big.onnx")
    files.save_model(pruned(net()), tmp_path / "small.onnx")
    np.savez(tmp_path / "data.npz", x=data().inputs["x"])
    return tmp_path


def run_file(place: Path, *, extensions: Any = (), **given: Any) -> TuneResult:
    chosen = settings(data=str(place / "data.npz"), epochs=3, **given)
    tune = partial(finetune, extensions=extensions)
    return finetune_file(place / "small.onnx", place / "out.onnx", chosen, teacher=place / "big.onnx", tune=tune)


def test_a_run_that_ends_well_leaves_the_model_alone(place: Path) -> None:
    result = run_file(place)
    assert sorted(p.name for p in place.iterdir()) == ["big.onnx", "data.npz", "out.onnx", "small.onnx"]
    written = files.load_model(place / "out.onnx")
    for name, value in result.model.graph.initializers.items():
        assert value.const_value is not None
        other = written.graph.initializers[name].const_value
        assert other is not None
        assert other.tobytes() == value.const_value.tobytes()


def test_a_checkpoint_is_kept_on_request(place: Path) -> None:
    run_file(place, keep_checkpoint=True)
    assert (place / "out.onnx.checkpoint" / "checkpoint.safetensors").is_file()


def test_an_interrupted_run_leaves_a_checkpoint_and_no_model(place: Path) -> None:
    run_file(place)
    expected = (place / "out.onnx").read_bytes()
    (place / "out.onnx").unlink()
    with pytest.raises(KeyboardInterrupt):
        run_file(place, extensions=[Interrupt()])
    assert not (place / "out.onnx").exists()
    assert (place / "out.onnx.checkpoint" / "checkpoint.safetensors").is_file()
    run_file(place, extensions=[Extension()], resume=True)
    assert (place / "out.onnx").read_bytes() == expected
    assert not (place / "out.onnx.checkpoint").exists()


def test_a_loss_of_nan_leaves_the_last_good_weights(place: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"step 11 \(epoch 3\).*last-good.onnx") as found:
        run_file(place, extensions=[Poison()])
    assert found.value.exit_code == 2
    assert not (place / "out.onnx").exists()
    good = files.load_model(place / "out.onnx.checkpoint" / LAST_GOOD)
    assert all(np.isfinite(v.const_value.numpy()).all() for v in good.graph.initializers.values() if v.const_value)


def test_the_input_is_never_overwritten(place: Path) -> None:
    before = (place / "big.onnx").read_bytes()
    with pytest.raises(UsageError):
        finetune_file(
            place / "small.onnx",
            place / "big.onnx",
            settings(data=str(place / "data.npz"), epochs=1),
            teacher=place / "big.onnx",
        )
    assert (place / "big.onnx").read_bytes() == before


@pytest.mark.parametrize(("end", "index"), [("input", 0), ("output", 0)])
def test_a_teacher_of_other_sizes_is_refused_before_any_work(
    place: Path, monkeypatch: pytest.MonkeyPatch, end: str, index: int
) -> None:
    other = net()
    value = getattr(other.graph, end)[index]
    dim = value.type.tensor_type.shape.dim[1]
    dim.dim_value += 1
    onnx.save(other, place / "big.onnx")
    monkeypatch.setattr(files, "load_model", lambda path: ir.from_proto(onnx.load(path)))
    monkeypatch.delattr("compressor.commands.finetune.training_defaults")
    said = f"{end} '{value.name}' has shape .*{dim.dim_value - 1}.* in .*small.onnx and .*{dim.dim_value}.* in "
    with pytest.raises(UsageError, match=f"{said}.*big.onnx; give the model that .*small.onnx was made from as"):
        run_file(place)
