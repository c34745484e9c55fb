"""The Olive passes, in a workflow of Olive's; skipped where Olive is not installed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

pytest.importorskip("olive", reason="Olive is not installed (pip install olive-ai)")

from olive.workflows import run

from compressor.adapters.olive import package_config
from tests.models import between


def workflow(folder: Path, passes: dict[str, object]) -> Path:
    onnx.save(between("b = Relu(a)"), str(folder / "net.onnx"))
    config = {
        "input_model": {"type": "ONNXModel", "model_path": str(folder / "net.onnx")},
        "systems": {"here": {"type": "LocalSystem", "accelerators": [{"device": "cpu"}]}},
        "host": "here",
        "target": "here",
        "passes": passes,
        "cache_dir": str(folder / "cache"),
        "output_dir": str(folder / "out"),
    }
    (folder / "package.json").write_text(json.dumps(package_config()))
    run(config, package_config=str(folder / "package.json"))
    (made,) = (folder / "out").rglob("*.onnx")
    return made


def test_passes_run_in_a_row(tmp_path) -> None:
    made = workflow(
        tmp_path,
        {
            "clean": {"type": "OnnxCompressorClean"},
            "prune": {"type": "OnnxCompressorPrune", "settings": {"ratio": 0.5, "round_to": 1, "recover": "none"}},
        },
    )
    proto = onnx.load(str(made))
    shapes = {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}
    assert shapes["w"] == [8, 4, 3, 3]
    commands = {p.key: p.value for p in proto.metadata_props if p.key.endswith(".command")}
    assert commands == {"onnx_compressor.1.command": "clean", "onnx_compressor.2.command": "prune"}
    session = ort.InferenceSession(str(made))
    session.run(None, {"x": np.zeros((3, 4, 6, 6), np.float32)})


def test_a_misspelt_setting_is_a_sentence_in_the_log_and_makes_no_model(tmp_path, caplog) -> None:
    with pytest.raises(ValueError, match="not enough values to unpack"):  # of the models found: there is none
        workflow(tmp_path, {"prune": {"type": "OnnxCompressorPrune", "settings": {"ratoi": 0.5}}})
    assert "unknown setting 'ratoi'; did you mean 'ratio'?" in caplog.text
