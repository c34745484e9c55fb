"""What differs between two model files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from compressor.commands.diff import diff_files
from compressor.commands.prune_file import prune_file
from compressor.config import PruneSettings
from compressor.results import DiffReport
from tests.commands.file_case import good, written
from tests.models import between, model

NET = "(float[n,4] x) => (float[n,8] y) <float[4,8] w, float[8] b> { a = MatMul(x, w) y = Add(a, b) }"


def held(folder: Path, other: str | onnx.ModelProto) -> DiffReport:
    paths = [folder / "a.onnx", folder / "b.onnx"]
    onnx.save(model(NET), paths[0])
    onnx.save(model(other) if isinstance(other, str) else other, paths[1])
    return diff_files(*paths)


def test_a_model_is_itself(tmp_path: Path) -> None:
    found = held(tmp_path, NET)
    assert found.same_signature
    assert (found.initializers, found.operators) == ([], [])
    assert found.a.params == found.b.params == 40


def test_operators_sizes_and_names_are_told(tmp_path: Path) -> None:
    other = "(float[n,4] x) => (float[n,6] y) <float[4,6] w, float[6] c> { a = MatMul(x, w) r = Relu(a) y = Add(r, c) }"
    found = held(tmp_path, other)
    assert not found.same_signature
    assert {(row.name, *map(tuple, filter(None, (row.shape_a, row.shape_b)))) for row in found.initializers} == {
        ("w", (4, 8), (4, 6)), ("b", (8,)), ("c", (6,)),
    }  # fmt: skip
    assert [(row.op_type, row.count_a, row.count_b) for row in found.operators] == [("Relu", 0, 1)]


@pytest.mark.parametrize(("numbers", "differs"), [([0.0] * 8, False), ([-0.0] * 8, True), ([np.nan] * 8, True)])
def test_numbers_are_compared_by_their_bytes(tmp_path: Path, numbers: list[float], differs: bool) -> None:
    protos = [model(NET) for _ in range(2)]
    for proto, values in zip(protos, ([0.0] * 8, numbers), strict=True):
        bias = next(t for t in proto.graph.initializer if t.name == "b")
        bias.CopyFrom(onnx.numpy_helper.from_array(np.asarray(values, np.float32), "b"))
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for proto, path in zip(protos, paths, strict=True):
        onnx.save(proto, path)
    assert [row.name for row in diff_files(*paths).initializers] == (["b"] if differs else [])
    assert diff_files(paths[1], paths[1]).initializers == [], "even where numbers are none"


def test_diff(tmp_path: Path) -> None:
    source, output = good(tmp_path), tmp_path / "out.onnx"
    prune_file(source, output, PruneSettings(ratio=0.5, round_to=1, exclude=("v",)))
    report = diff_files(source, output)
    assert report.same_signature
    assert report.operators == []
    assert {c.name: (c.shape_a, c.shape_b) for c in report.initializers} == {
        "w": ([16, 4, 3, 3], [8, 4, 3, 3]),
        "bias": ([16], [8]),
        "v": ([8, 16, 1, 1], [8, 8, 1, 1]),
    }
    assert report.a.params > report.b.params


def test_diff_of_operators_and_signatures(tmp_path: Path) -> None:
    one = written(tmp_path, between("b = Relu(a)"), "one.onnx")
    two = written(tmp_path, between("c = Relu(a)  b = Relu(c)  d = Neg(b)"), "two.onnx")
    report = diff_files(one, two)
    assert {c.op_type: (c.count_a, c.count_b) for c in report.operators} == {"Relu": (1, 2), "Neg": (0, 1)}
    assert report.initializers == []
    other = onnx.load(one)
    other.graph.output[0].name = "other"
    other.graph.node[-1].output[0] = "other"
    assert not diff_files(one, written(tmp_path, other, "three.onnx")).same_signature


def test_diff_of_a_file_with_itself(tmp_path: Path) -> None:
    source = good(tmp_path)
    report = diff_files(source, source)
    assert report.same_signature
    assert (report.initializers, report.operators) == ([], [])
    assert report.a == report.b
