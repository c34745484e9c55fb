"""The files of a run: opened as one model, and put in place under names of their own."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from compressor.config import PruneSettings
from compressor.graph.disk import files
from compressor.steps.run_files import file_names, in_one_file, open_source, places, pruned_beside, put_in_place
from tests.models import model

FIRST = "(float[n,4] x) => (float[n,6] h) <float[4,6] w> { a = MatMul(x, w) h = Relu(a) }"
SECOND = "(float[n,6] h) => (float[n,2] y) <float[6,2] v> { y = MatMul(h, v) }"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, PruneSettings]:
    """An encoder, and settings that name its decoder."""
    for name, text in (("encoder", FIRST), ("decoder", SECOND)):
        onnx.save(model(text), tmp_path / f"{name}.onnx")
    return tmp_path / "encoder.onnx", PruneSettings.parse({"ratio": 0.5, "also": str(tmp_path / "decoder.onnx")})


def test_one_file_is_counted_by_its_bytes_and_a_model_by_its_weights(pair: tuple[Path, PruneSettings]) -> None:
    path, _ = pair
    held, size = open_source(path, PruneSettings())
    assert size == path.stat().st_size
    assert open_source(held, PruneSettings())[1] == 4 * 6 * 4
    assert file_names(held) == []
    assert list(places(held, path.with_name("out.onnx"))) == [path.with_name("out.onnx")]


def test_several_files_are_one_model_and_written_beside_each_other(pair: tuple[Path, PruneSettings]) -> None:
    path, settings = pair
    held, _ = open_source(path, settings, settings.also)
    assert len(file_names(held)) == 2
    output = path.with_name("small.onnx")
    stats = put_in_place(held, output, settings, None)
    assert stats.also == [str(path.with_name("decoder.pruned.onnx"))]
    assert stats.bytes == sum(Path(name).stat().st_size for name in (output, *stats.also))
    assert stats.params == 4 * 6 + 6 * 2


def test_without_a_place_a_model_is_counted_alone(pair: tuple[Path, PruneSettings]) -> None:
    path, settings = pair
    before = set(path.parent.iterdir())
    stats = put_in_place(open_source(path, settings, settings.also)[0], None, settings, None)
    assert (stats.path, set(path.parent.iterdir())) == (None, before)


def test_whoever_reads_one_file_gets_one(pair: tuple[Path, PruneSettings]) -> None:
    path, settings = pair
    with in_one_file(path, PruneSettings()) as found:
        assert found == path
    with in_one_file(path, settings) as found:
        assert found.name == path.name
        graph = files.load_model(found).graph
        assert [v.name for v in graph.inputs if not v.is_initializer()] == ["x"], "what joins them is inside"
        assert "y" in [v.name for v in graph.outputs]
    assert not found.exists()


def test_names_of_further_files() -> None:
    output = Path("folder/small.onnx")
    assert pruned_beside(output, Path("a/decoder.onnx")) == Path("folder/decoder.pruned.onnx")
    assert pruned_beside(output, Path("a/decoder.v2")) == Path("folder/decoder.v2.pruned.onnx")
