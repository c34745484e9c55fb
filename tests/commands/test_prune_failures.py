"""A run that fails says why and leaves no file behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from compressor.commands.clean import clean_file
from compressor.commands.prune import prune
from compressor.commands.prune_file import prune_file
from compressor.commands.quantize import quantize_file
from compressor.commands.unify import unify_file
from compressor.config import CleanSettings, PruneSettings, TuneSettings, UnifySettings
from compressor.config.quantize import QuantizeSettings
from compressor.errors import (
    CompressorError,
    ModelError,
    NothingToPrune,
    PlanError,
    ProofFailed,
    TargetOutOfReach,
    UsageError,
)
from compressor.pruning.cut import surgery
from tests.commands.file_case import SETTINGS, files_in, frozen, good
from tests.models import between, in_memory, model


def broken(folder: Path) -> Path:
    path = folder / "in.onnx"
    path.write_bytes(b"\x08\x07garbage")
    return path


FAILURES: dict[str, tuple[Callable[[Path], Path], dict[str, object], type[CompressorError], int]] = {
    "not a model": (broken, {}, ModelError, 3),
    "missing": (lambda folder: folder / "nobody.onnx", {}, ModelError, 3),
    "nothing to prune": (frozen, {}, NothingToPrune, 4),
    "nothing under these settings": (good, {"round_to": 16, "exclude": ("v",)}, NothingToPrune, 4),
    "out of reach": (good, {"target_macs": 0.001}, TargetOutOfReach, 4),
    "globs leave nothing": (good, {"include": ("nobody",)}, UsageError, 2),
    "unknown input": (good, {"input_shapes": {"nobody": (1,)}}, UsageError, 2),
    "unknown dimension": (good, {"dims": {"nobody": 1}}, UsageError, 2),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failure_leaves_no_file(name: str, tmp_path: Path) -> None:
    make, settings, error, code = FAILURES[name]
    source = make(tmp_path)
    before = files_in(tmp_path)
    with pytest.raises(error) as raised:
        prune_file(source, tmp_path / "out.onnx", PruneSettings.parse(settings), plan_out=tmp_path / "plan.json")
    assert raised.value.exit_code == code
    assert files_in(tmp_path) == before
    assert len(str(raised.value).splitlines()) == 1


def test_a_plan_of_changed_layers_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("compressor.steps.prune.start.analyse")
    with pytest.raises(PlanError, match="a plan holds channels alone; leave --plan-out out"):
        prune_file(good(tmp_path), None, PruneSettings(structure="lowrank"), plan_out=tmp_path / "plan.json")


def test_failed_proof_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = surgery.compact
    monkeypatch.setattr(surgery, "compact", lambda array, *rest: honest(array, *rest) * np.asarray(1.01, array.dtype))
    source = good(tmp_path)
    with pytest.raises(ProofFailed):
        prune_file(source, tmp_path / "out.onnx", SETTINGS, plan_out=tmp_path / "plan.json")
    assert files_in(tmp_path) == {"in.onnx"}


def test_failure_keeps_an_earlier_output(tmp_path: Path) -> None:
    (tmp_path / "out.onnx").write_bytes(b"precious")
    with pytest.raises(NothingToPrune):
        prune_file(frozen(tmp_path), tmp_path / "out.onnx", SETTINGS)
    assert (tmp_path / "out.onnx").read_bytes() == b"precious"


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    source = good(tmp_path)
    before = source.read_bytes()
    for output in (source, tmp_path / "." / "in.onnx"):
        with pytest.raises(UsageError):
            prune_file(source, output, SETTINGS)
    assert source.read_bytes() == before
    assert files_in(tmp_path) == {"in.onnx"}


def test_a_plan_that_does_not_fit_leaves_no_file(tmp_path: Path) -> None:
    source, plan = good(tmp_path), tmp_path / "plan.json"
    plan.write_text(
        '{"schema": 1, "policy": {}, "removals": [{"group": "q", "initializer": "q", "axes": [0], "indices": [1]}]}'
    )
    with pytest.raises(PlanError):
        prune_file(source, tmp_path / "out.onnx", SETTINGS, plan=plan)
    assert files_in(tmp_path) == {"in.onnx", "plan.json"}


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        prune_file(good(tmp_path), tmp_path / "nowhere" / "out.onnx", SETTINGS)
    assert files_in(tmp_path) == {"in.onnx"}


def test_a_file_that_no_runtime_takes_is_no_fault_of_ours(tmp_path: Path) -> None:
    """ONNX lets an axis beyond all others pass; ONNX Runtime does not, which shows in the smaller model first."""
    proto = model("(float[n,8] x) => (float[n,3] y) <float[8,16] w, float[16] s, float[16,3] v> { "
                  "a = MatMul(x, w)  b = LayerNormalization(a, s)  y = MatMul(b, v) }")  # fmt: skip
    proto.graph.node[1].attribute.append(onnx.helper.make_attribute("axis", 2**40))
    path, output = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(proto, path)
    with pytest.raises(ModelError, match=r"does not run before anything is changed.*LayerNormalization_1"):
        prune_file(path, output, PruneSettings(round_to=1))
    assert not output.exists()


def test_a_file_that_no_session_loads_by_default_is_no_fault_of_ours(tmp_path: Path) -> None:
    """ONNX Runtime moves a Pad into the pool behind it, and then refuses the pool; without optimisations it runs."""
    proto = model("""(float[n,3,8,8] x) => (float[n,c,h,w] y) <float[8,3,3,3] k, float[4,8,1,1] v> {
        a = Conv(x, k)  by = Constant <value_ints = [0,0,0,0,0,0,1,1]> ()  b = Pad(a, by)
        p = AveragePool <kernel_shape = [1,1], strides = [2,2], count_include_pad = 1> (b)  y = Conv(p, v) }""")
    path, output = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(proto, path)
    with pytest.raises(ModelError, match="does not run before anything is changed"):
        prune_file(path, output, PruneSettings(round_to=1, recover="none"))
    with pytest.raises(ModelError, match="does not run before anything is changed"):
        clean_file(path, output, CleanSettings())
    assert not output.exists()


def _twice_one_name(folder: Path) -> Path:
    """ONNX Runtime refuses two nodes of one name, which normalising tells apart."""
    shapes = "float[32,64] w, float[64,64] v, float[64,4] u"
    proto = model(
        f"(float[n,32] x) => (float[n,4] y) <{shapes}> {{ a = MatMul(x, w)  b = MatMul(a, v)  y = MatMul(b, u) }}"
    )
    for node in proto.graph.node:
        node.name = "same"
    onnx.save(proto, folder / "in.onnx")
    return folder / "in.onnx"


def _finetuned(source: Path, output: Path) -> None:
    pytest.importorskip("torch")
    from compressor.commands.finetune import finetune_file  # noqa: PLC0415 - needs torch

    np.savez(source.with_suffix(".npz"), x=np.ones((4, 32), np.float32), y=np.zeros(4, np.int64))
    finetune_file(source, output, TuneSettings(data=str(source.with_suffix(".npz")), loss="cross-entropy", epochs=1))


REFUSED: dict[str, Callable[[Path, Path], object]] = {
    "prune": lambda source, output: prune_file(source, output, PruneSettings(recover="none")),
    "clean": lambda source, output: clean_file(source, output, CleanSettings()),
    "unify": lambda source, output: unify_file(source, output, UnifySettings()),
    "quantize": lambda source, output: quantize_file(source, output, QuantizeSettings(mode="dynamic")),
    "finetune": _finetuned,
}


@pytest.mark.parametrize("command", REFUSED)
def test_a_file_that_does_not_run_as_it_was_read_is_refused_though_what_is_made_of_it_would_run(
    command: str, tmp_path: Path
) -> None:
    source, output = _twice_one_name(tmp_path), tmp_path / "out.onnx"
    with pytest.raises(ModelError, match=r"does not run .*two nodes with same node name \(same\); export it anew"):
        REFUSED[command](source, output)
    assert not output.exists()


def test_what_leaves_the_file_out_of_the_proof_is_named(tmp_path: Path) -> None:
    source, output = _twice_one_name(tmp_path), tmp_path / "out.onnx"
    with pytest.raises(ModelError, match=r"with --verify quick$"):
        prune_file(source, output, PruneSettings(recover="none"))
    prune_file(source, output, PruneSettings(recover="none", verify="quick"))
    with pytest.raises(ModelError, match=r"with --no-verify$"):
        clean_file(source, output, CleanSettings())
    clean_file(source, output, CleanSettings(verify="off"))


def test_nodes_that_read_what_comes_later_are_refused_in_a_sentence() -> None:
    proto = between("b = Relu(a)")
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(reversed(nodes))
    with pytest.raises(ModelError, match="not in topological order"):
        prune(in_memory(proto), SETTINGS)
