"""Two model files are opened so that whatever is done with them does not end the process."""

from __future__ import annotations

from pathlib import Path

import onnx

from compressor.commands.bench import bench
from compressor.commands.robustness import robustness
from compressor.commands.verify import verify
from compressor.config.bench import BenchSettings
from compressor.config.robustness import RobustnessSettings
from compressor.config.verify import VerifySettings
from compressor.evaluate.pair import open_model
from tests.models import model

TEXT = "(float[n,8] x) => (float[n,8] y) <float[8] w, float[8] s> { a = Add(x, w)  y = LayerNormalization(a, s) }"


def deadly(path: Path) -> Path:
    """ONNX Runtime dies of an Add and a LayerNormalization whose bias is an empty name."""
    proto = model(TEXT)
    proto.graph.node[1].input.append("")
    onnx.save(proto, path)
    return path


def test_a_file_that_would_end_the_process_is_run_as_a_copy(tmp_path: Path) -> None:
    path = deadly(tmp_path / "in.onnx")
    opened = open_model(path)
    copy = opened.runs
    assert opened.path == path != copy
    assert [len(node.input) for node in onnx.load(copy).graph.node] == [2, 2]
    del opened
    assert not copy.parent.exists()


def test_a_file_that_runs_is_not_copied(tmp_path: Path) -> None:
    onnx.save(model(TEXT), path := tmp_path / "in.onnx")
    assert open_model(path).runs == path


def test_commands_on_two_files_live_through_left_out_inputs(tmp_path: Path) -> None:
    path = deadly(tmp_path / "in.onnx")
    assert verify(path, path, VerifySettings()).passed
    assert bench(path, None, BenchSettings(runs=10, seconds=0.01)).runs
    assert robustness(path, [path], RobustnessSettings(samples=4, draws=2)).models
