"""Targets of bytes are of the file that is written: without what exporters add, with what this program adds."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from compressor.commands.prune import prune
from compressor.commands.prune_file import prune_file
from compressor.config import PruneSettings
from compressor.errors import NothingToPrune, TargetOutOfReach
from compressor.pruning.budgets.budget import TARGET_TOLERANCE
from compressor.steps.prune import written_file
from tests.models import in_memory, model

TARGETS = [24_000, 32_000, 48_000, 80_000, 140_000]


def exported(folder: Path) -> Path:
    """A file of which most is notes, as the dynamo exporter of torch writes them; layers have no biases."""
    proto = model(
        """(float[n,24] x) => (float[n,8] y)
        <float[24,160] w, float[160,160] v, float[160,96] u, float[96,8] head> {
            a = MatMul(x, w)  b = Relu(a)  c = MatMul(b, v)  d = Relu(c)  e = Identity(d)
            f = MatMul(e, u)  g = Tanh(f)  y = MatMul(g, head) }"""
    )
    for node in proto.graph.node:
        node.doc_string = "File net.py, in forward\n" * 40
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="File net.py, in forward\n" * 1500)
    onnx.save(proto, folder / "net.onnx")
    return folder / "net.onnx"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("recover", ["none", "lstsq"])
def test_a_number_of_bytes_is_met_and_never_exceeded(tmp_path: Path, target: int, recover: str) -> None:
    asked = {"target_size": target, "recover": recover, "samples": 64, "verify": "quick"}
    output = tmp_path / "out.onnx"
    prune_file(exported(tmp_path), output, PruneSettings.parse(asked))
    assert (1 - TARGET_TOLERANCE) * target <= output.stat().st_size <= target


@pytest.mark.parametrize("target", TARGETS)
def test_by_scores_no_more_goes_than_has_to(tmp_path: Path, target: int) -> None:
    asked = {"target_size": target, "recover": "none", "scope": "global", "verify": "quick"}
    prune_file(exported(tmp_path), tmp_path / "out.onnx", PruneSettings.parse(asked))
    assert (1 - TARGET_TOLERANCE) * target <= (tmp_path / "out.onnx").stat().st_size <= target


@pytest.mark.parametrize("share", [0.15, 0.25])
def test_a_share_is_of_the_file_that_was_given(tmp_path: Path, share: float) -> None:
    source, output = exported(tmp_path), tmp_path / "out.onnx"
    prune_file(source, output, PruneSettings.parse({"target_size": share, "recover": "none", "verify": "quick"}))
    assert output.stat().st_size == pytest.approx(share * source.stat().st_size, rel=TARGET_TOLERANCE)


def test_weights_beside_the_file_count(tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    asked = {"target_size": 50_000, "recover": "none", "verify": "quick", "external_data": True}
    prune_file(exported(tmp_path), output, PruneSettings.parse(asked))
    size = sum(path.stat().st_size for path in tmp_path.glob("out.onnx*"))
    assert (1 - TARGET_TOLERANCE) * 50_000 <= size <= 50_000


def test_several_steps_end_below(tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    asked = {"target_size": 60_000, "recover": "none", "verify": "quick", "steps": 2}
    prune_file(exported(tmp_path), output, PruneSettings.parse(asked))
    assert 0.98 * 60_000 <= output.stat().st_size <= 60_000


@pytest.mark.parametrize("target", [45_000, 64_000, 92_500])
@pytest.mark.parametrize("structure", ["both", "lowrank"])
def test_a_number_of_bytes_is_not_exceeded_where_layers_change(tmp_path: Path, structure: str, target: int) -> None:
    asked = {"target_size": target, "recover": "none", "structure": structure, "samples": 64, "verify": "off"}
    prune_file(exported(tmp_path), tmp_path / "out.onnx", PruneSettings.parse(asked))
    assert 0.98 * target <= (tmp_path / "out.onnx").stat().st_size <= target


def test_a_file_that_is_small_without_its_notes_says_so(tmp_path: Path) -> None:
    with pytest.raises(NothingToPrune, match="clean"):
        prune_file(exported(tmp_path), None, PruneSettings.parse({"target_size": "80%", "verify": "off"}))


def test_a_model_in_memory_is_saved_in_as_many_bytes(tmp_path: Path) -> None:
    asked = {"target_size": 40_000, "recover": "none", "verify": "quick"}
    size = prune(in_memory(onnx.load(exported(tmp_path))), PruneSettings.parse(asked)).save(tmp_path / "out.onnx")
    assert 0.98 * 40_000 <= size <= 40_000


def test_what_is_larger_all_the_same_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written_file.WrittenFile, "expected", lambda self, graph: self.size(graph) - 300)
    asked = {"target_size": 40_000, "recover": "none", "verify": "quick"}
    with pytest.raises(TargetOutOfReach, match="--target-size allows 40,000"):
        prune_file(exported(tmp_path), tmp_path / "out.onnx", PruneSettings.parse(asked))
    assert not (tmp_path / "out.onnx").exists()
