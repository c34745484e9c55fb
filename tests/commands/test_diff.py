"""What differs between two model files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from compressor.commands.diff import diff_files
from compressor.results import DiffReport
from tests.models import model

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
