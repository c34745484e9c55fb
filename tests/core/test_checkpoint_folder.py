"""Checkpoints are asked for before any work, and a run that wrote none leaves no folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.commands.finetune import finetune_file
from compressor.commands.prune_file import prune_file
from compressor.commands.unify import unify_file
from compressor.config import PruneSettings, TuneSettings, UnifySettings
from compressor.core.checkpoint_folder import checkpoint_folder, folder_beside, has_checkpoint
from compressor.errors import UsageError

NET = Path(__file__).parents[2] / "models" / "digits-mobilenet.onnx"
DATA = NET.with_name("digits-test.npz")


def resumed(command: str, out: Path) -> None:
    asked = {"data": str(DATA), "resume": True}
    if command == "prune":
        prune_file(NET, out, PruneSettings.parse({**asked, "ratio": 0.5, "recover": "finetune"}))
    elif command == "finetune":
        finetune_file(NET, out, TuneSettings.parse(asked), teacher=NET)
    else:
        unify_file(NET, out, UnifySettings.parse(asked))


@pytest.mark.parametrize("command", ["prune", "finetune", "unify"])
def test_a_run_that_has_nothing_to_resume_from_is_refused_and_leaves_nothing(command: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no checkpoint in .*out.onnx.checkpoint to resume from"):
        resumed(command, tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", [False, True])
def test_what_a_failed_run_made_goes_unless_it_holds_something(kept: bool, tmp_path: Path) -> None:
    folder = tmp_path / "a.checkpoint"

    def fail() -> None:
        (folder / "step-1").mkdir(parents=True)
        if kept:
            (folder / "step-1" / "weights").touch()
        raise UsageError("no")

    with pytest.raises(UsageError), checkpoint_folder(folder, resume=False):
        fail()
    assert folder.exists() is kept


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    with pytest.raises(UsageError), checkpoint_folder(tmp_path, resume=False):
        raise UsageError("no")
    assert tmp_path.is_dir()


def test_a_checkpoint_may_lie_in_a_folder_inside(tmp_path: Path) -> None:
    folder = folder_beside(None, tmp_path / "net.onnx")
    assert folder == tmp_path / "net.onnx.checkpoint"
    assert not has_checkpoint(None)
    assert not has_checkpoint(folder)
    (folder / "step-1").mkdir(parents=True)
    assert not has_checkpoint(folder)
    (folder / "step-1" / "checkpoint.safetensors").touch()
    assert has_checkpoint(folder)
