"""Folding never bakes a size into the file that the caller may choose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from compressor.commands.clean import clean_file
from compressor.commands.prune_file import prune_file
from compressor.config import CleanSettings, PruneSettings

LIMITED = """<ir_version: 9, opset_import: ["" : 18]>
g (float[n, L] x) => (float[m] y)
<int64[1] one = {1}, int64[1] limit = {512}, float[1] z = {2.0}>
{ s = Shape(x)  l = Gather(s, one)  k = Max(l, limit)  u = Identity(k)  c = Cast<to=7>(u)  y = Expand(z, c) }"""

FLAT = """<ir_version: 9, opset_import: ["" : 18]>
g (float[batch, 4, 6] x) => (float[batch, 24] y)
<int64[1] zero = {0}, int64[1] m = {24}>
{ s = Shape(x)  b = Gather(s, zero)  t = Concat<axis=0>(b, m)  y = Reshape(x, t) }"""

HEADS = """<ir_version: 9, opset_import: ["" : 18]>
g (float[batch, 5, 8] x) => (float[batch, 5, 3] y)
<float[8,8] w, float[8,3] v, int64[1] zero = {0}, int64[3] rest = {5,4,2}, int64[2] back = {5,8}>
{ h = MatMul(x, w)  s = Shape(x)  b = Gather(s, zero)  t = Concat<axis=0>(b, rest)  r = Reshape(h, t)
  q = Relu(r)  u = Concat<axis=0>(b, back)  f = Reshape(q, u)  y = MatMul(f, v) }"""


def written(text: str, folder: Path) -> Path:
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    for value in [*model.graph.initializer]:
        if value.data_type == onnx.TensorProto.FLOAT and not value.raw_data and not value.float_data:
            value.CopyFrom(onnx.numpy_helper.from_array(rng.standard_normal(value.dims).astype(np.float32), value.name))
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def shape_of(path: Path, *shape: int) -> tuple[int, ...]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.zeros(shape, np.float32)})[0].shape


def test_a_bound_on_a_length_stays_computed(tmp_path: Path) -> None:
    source, output = written(LIMITED, tmp_path), tmp_path / "out.onnx"
    clean_file(source, output, CleanSettings())
    assert [shape_of(output, 2, length) for length in (13, 600)] == [(512,), (600,)]


@pytest.mark.parametrize("given", [{}, {"dims": {"batch": 1}}, {"input_shapes": {"x": (1, 4, 6)}}])
def test_sizes_given_for_the_proof_stay_symbolic(tmp_path: Path, given: dict[str, object]) -> None:
    source, output = written(FLAT, tmp_path), tmp_path / "out.onnx"
    clean_file(source, output, CleanSettings.model_validate(given))
    assert shape_of(output, 5, 4, 6) == (5, 24)


@pytest.mark.parametrize("given", [{}, {"dims": {"batch": 1}}])
def test_a_pruned_reshape_keeps_its_batch(tmp_path: Path, given: dict[str, object]) -> None:
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(HEADS.replace("float[8,8] w, float[8,3] v, ", ""))
    for name, shape in (("w", (8, 8)), ("v", (8, 3))):
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        )
    source, output = tmp_path / "model.onnx", tmp_path / "out.onnx"
    onnx.save(model, source)
    report = prune_file(source, output, PruneSettings.model_validate({"ratio": 0.5, "round_to": 1, **given})).report
    assert sum(g.removed for g in report.groups) > 0
    assert shape_of(output, 7, 5, 8) == (7, 5, 3)
