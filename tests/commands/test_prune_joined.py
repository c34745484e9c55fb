"""Files of one model are pruned as one, and all written or none."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from compressor.commands.prune_file import prune_file
from compressor.config import PruneSettings
from compressor.errors import (
    PlanError,
    UsageError,
)
from tests.commands.file_case import written
from tests.graph.disk.joined_files import DECODER, ENCODER
from tests.models import model


def test_files_of_one_model_are_pruned_as_one(tmp_path: Path) -> None:
    encoder = written(tmp_path, model(ENCODER, seed=1), "encoder.onnx")
    decoder = written(tmp_path, model(DECODER), "decoder.onnx")
    settings = PruneSettings(ratio=0.5, round_to=1, also=(f"{decoder}:state=state",))
    result = prune_file(encoder, tmp_path / "small.onnx", settings)
    output = result.report.output
    assert output is not None
    assert output.also == [str(tmp_path / "decoder.pruned.onnx")]
    small = [onnx.load(path) for path in (tmp_path / "small.onnx", *output.also)]
    assert [[d.dim_param or d.dim_value for d in m.graph.input[-1].type.tensor_type.shape.dim] for m in small] == [
        ["B", "T", 4],
        ["B", "S", 3],
    ]
    assert small[0].graph.output[0].type.tensor_type.shape.dim[2].dim_value == 3
    sizes = sum((tmp_path / name).stat().st_size for name in ("small.onnx", "decoder.pruned.onnx"))
    assert output.bytes == sizes
    plan = tmp_path / "plan.json"
    assert result.plan is not None
    plan.write_text(result.plan.to_json())
    again = prune_file(encoder, tmp_path / "again.onnx", PruneSettings(also=settings.also), plan=plan)
    assert again.report.output is not None
    assert again.report.output.params == output.params
    assert {row.file for row in again.report.groups} == {"encoder.onnx"}, "its output is handed over"
    with pytest.raises(PlanError, match=r"for 2 files, encoder.onnx and decoder.onnx.*--also"):
        prune_file(encoder, tmp_path / "again.onnx", PruneSettings(), plan=plan)
    result.save(tmp_path / "saved.onnx")
    assert (tmp_path / "saved.onnx").read_bytes() == (tmp_path / "small.onnx").read_bytes()
    assert [str(m.graph.outputs[0].name) for m in result.models] == ["state", "y"]


def test_a_file_that_gives_back_what_it_is_handed_keeps_its_channels(tmp_path: Path) -> None:
    encoder = written(tmp_path, model(ENCODER, seed=1), "encoder.onnx")
    echo = DECODER.replace("=> (", "=> (float[B,S,6] state, ")
    decoder = written(tmp_path, model(echo), "decoder.onnx")
    report = prune_file(encoder, tmp_path / "small.onnx", PruneSettings(round_to=1, also=(str(decoder),))).report
    assert report.proof is not None
    assert report.proof.passed
    small = onnx.load(tmp_path / "decoder.pruned.onnx")
    assert [value.name for value in small.graph.output] == ["state", "y"]
    assert small.graph.output[0].type == small.graph.input[-1].type


def test_files_of_one_model_are_all_written_or_none(tmp_path: Path) -> None:
    encoder = written(tmp_path, model(ENCODER, seed=1), "encoder.onnx")
    decoder = written(tmp_path, model(DECODER), "decoder.onnx")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "decoder.pruned.onnx").mkdir()
    with pytest.raises(UsageError, match="is not a regular file"):
        prune_file(encoder, tmp_path / "out" / "small.onnx", PruneSettings(also=(str(decoder),)))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["decoder.pruned.onnx"]
