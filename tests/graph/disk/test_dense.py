"""Sparse tensors are read as what ONNX Runtime makes of them."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressor import api
from compressor.graph.disk import files
from compressor.graph.form.normalise import normalise
from tests.graph.disk.samples import externalised, parsed, refusal, written

TEXT = """
<ir_version: 10, opset_import: ["" : 21, "local" : 1]>
g (float[N, 2] x, bool c) => (float[N, 3] y) {
    h = MatMul (x, w)
    b = local.bias ()
    z = Add (h, b)
    y = If (c) <
        then_branch = t () => (float[N, 3] p) { p = Mul (z, k) },
        else_branch = e () => (float[N, 3] q) { k = Constant <value = float {2}> () q = Mul (z, k) }
    >
}
<domain: "local", opset_import: ["" : 21]>
bias () => (b) { b = Constant <value = float {2}> () }
"""


def sparse(values: list[float], places: list[object], dims: list[int], name: str) -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(
        numpy_helper.from_array(np.array(values, np.float32), name),
        numpy_helper.from_array(np.array(places, np.int64), f"{name}.places"),
        dims,
    )


def model() -> onnx.ModelProto:
    """Sparse tensors wherever a file may hold them: in the graph, in a branch, in its constants and a function's."""
    proto = parsed(TEXT)
    proto.graph.sparse_initializer.append(sparse([1, 2, 3], [[0, 1], [1, 0], [1, 2]], [2, 3], "w"))
    then, other = (attribute.g for attribute in proto.graph.node[3].attribute)
    if then.name != "t":
        then, other = other, then
    then.sparse_initializer.append(sparse([5], [2], [3], "k"))
    for node, tensor in (
        (other.node[0], sparse([4, 6], [0, 2], [3], "")),
        (proto.functions[0].node[0], sparse([7], [[1]], [3], "")),
    ):
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("sparse_value", tensor))
    return proto


def run(path: Path, take: bool) -> list[np.ndarray]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.arange(8, dtype=np.float32).reshape(4, 2), "c": np.array(take)})


def test_a_file_with_sparse_tensors_is_what_the_runtime_makes_of_it(tmp_path: Path) -> None:
    path = written(tmp_path, model())
    read = files.load_model(path)
    normalise(read)
    files.save_model(read, tmp_path / "again.onnx")
    for take in (True, False):
        np.testing.assert_equal(run(tmp_path / "again.onnx", take), run(path, take))


def test_a_file_with_sparse_tensors_is_pruned_and_proved_as_it_was_read(tmp_path: Path) -> None:
    proto = parsed("""<ir_version: 8, opset_import: ["" : 17]> g (float[N, 4] x) => (float[N, 2] y) {
        h = MatMul (x, w)  r = Relu (h)  y = MatMul (r, v) }""")
    every = [float(value) for value in range(1, 33)]
    proto.graph.sparse_initializer.append(sparse(every, list(range(32)), [4, 8], "w"))
    proto.graph.sparse_initializer.append(sparse(every[:8], list(range(0, 16, 2)), [8, 2], "v"))
    path = written(tmp_path, proto)
    source = files.source_of(files.load_model(path))
    assert source is not None
    assert source.runs
    result = api.prune(path, ratio=0.5, round_to=1, recover="none")
    assert result.report.proof is not None
    assert result.report.proof.passed
    assert result.report.proof.not_proved == []
    result.save(tmp_path / "small.onnx")
    assert [len(t.dims) for t in onnx.load(tmp_path / "small.onnx").graph.initializer] == [2, 2]
    assert files.size_on_disk(path) == path.stat().st_size


TYPES = (bool, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float16)
TYPES += (np.float32, np.float64, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("places", [[4, 1, 1], [[1, 1], [0, 1], [0, 1]]])
def test_every_type_in_both_layouts(tmp_path: Path, kind: type, places: list[object]) -> None:
    """Places may come in any order, and of two values at one place the last one counts."""
    proto = parsed("""<ir_version: 10, opset_import: ["" : 21]> g () => (float[2, 3] y) {
        y = Cast <to = 1> (w) }""")
    tensor = sparse([1, 1, 0], places, [2, 3], "w")
    tensor.values.CopyFrom(numpy_helper.from_array(np.array([1, 1, 0]).astype(kind), "w"))
    proto.graph.sparse_initializer.append(tensor)
    # ONNX Runtime takes the sparse one of the two.
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((2, 3), kind), "w"))
    path = written(tmp_path, proto)
    (expected,) = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {})
    found = files.load_model(path).graph.initializers["w"].const_value
    assert found is not None
    np.testing.assert_equal(found.numpy().astype(np.float32), expected)


def test_values_beside_the_file_belong_to_it(tmp_path: Path) -> None:
    proto = model()
    externalised(tmp_path, proto.graph.sparse_initializer[0].values)
    path = written(tmp_path, proto)
    assert files.model_files(path) == {path, tmp_path / "weights.bin"}
    assert files.load_model(path).graph.initializers["w"].const_value.numpy().sum() == 6  # type: ignore[union-attr]
    proto.graph.sparse_initializer[0].values.external_data[0].value = "../weights.bin"
    assert "outside the model's folder" in refusal(written(tmp_path, proto))


UNSOUND = {
    "outside": (sparse([1, 2], [1, 6], [2, 3], "w"), "outside of its shape"),
    "outside along one axis": (sparse([1], [[0, 3]], [2, 3], "w"), "outside of its shape"),
    "before the first": (sparse([1], [-1], [2, 3], "w"), "outside of its shape"),
    "more values than places": (sparse([1, 2], [1], [2, 3], "w"), "(2,) values at (1,) places"),
    "places of another rank": (sparse([1], [[1]], [2, 3], "w"), "(1,) values at (1, 1) places"),
    "huge": (sparse([1], [1], [2**30], "w"), "needs more than 2 GiB"),
    "impossible": (sparse([1], [1], [2**40, 2**40], "w"), "impossible shape"),
    "negative": (sparse([1], [1], [-2, 3], "w"), "impossible shape"),
}


@pytest.mark.parametrize("case", UNSOUND)
def test_an_unsound_sparse_tensor_is_refused(tmp_path: Path, case: str) -> None:
    proto = model()
    tensor, reason = UNSOUND[case]
    proto.graph.sparse_initializer[0].CopyFrom(tensor)
    assert reason in refusal(written(tmp_path, proto))


def test_sparse_text_is_refused(tmp_path: Path) -> None:
    proto = model()
    values = helper.make_tensor("w", TensorProto.STRING, [3], [b"a", b"b", b"c"])
    proto.graph.sparse_initializer[0].values.CopyFrom(values)
    assert "holds text" in refusal(written(tmp_path, proto))
