"""Weights stay in their file: in parts they are what they are whole, and sharding is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressor.errors import ModelError, UsageError
from compressor.graph.disk import files, slim
from compressor.graph.tensors import weights
from tests.graph.disk.samples import refusal


def model_of(*arrays: np.ndarray) -> onnx.ModelProto:
    """A sum of weights, each in 4 x 6."""
    names = [f"w{k}" for k in range(len(arrays))]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 6])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 6])
    stored = [numpy_helper.from_array(array, name) for name, array in zip(names, arrays, strict=True)]
    graph = helper.make_graph([helper.make_node("Sum", ["x", *names], ["y"])], "g", [given], [made], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def drawn(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((4, 6), np.float32)


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few hundred bytes are large, and parts are a row."""
    monkeypatch.setattr(files, "MAP_FROM", 1)
    monkeypatch.setattr(files, "LARGE_MODEL", 1)
    monkeypatch.setattr(slim, "KEEP_FROM", 64)
    monkeypatch.setattr(weights, "PART_BYTES", 24)
    monkeypatch.setattr(weights, "LARGE_MODEL", 1)
    monkeypatch.setattr("compressor.graph.disk.stream.EXTERNAL_FROM_BYTES", 1)


def tensors(model: ir.Model) -> dict[str, ir.TensorProtocol]:
    return {name: v.const_value for name, v in model.graph.initializers.items() if v.const_value is not None}


@pytest.mark.usefixtures("small_limits")
def test_weights_in_the_model_file_are_not_read_when_it_is_opened(tmp_path: Path) -> None:
    arrays = [drawn(0), drawn(1)]
    onnx.save(model_of(*arrays), tmp_path / "m.onnx")
    held = tensors(files.load_model(tmp_path / "m.onnx"))
    assert all(isinstance(tensor, weights.DiskTensor) for tensor in held.values())
    for tensor, array in zip(held.values(), arrays, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), array)
        assert tensor.tobytes() == array.tobytes()
        np.testing.assert_array_equal(np.concatenate([part for _, part in weights.parts(tensor)]), array)
        assert len(list(weights.parts(tensor))) == 4


@pytest.mark.usefixtures("small_limits")
def test_a_model_file_behind_a_link_is_opened(tmp_path: Path) -> None:
    """As caches of model hubs keep them."""
    (tmp_path / "blobs").mkdir()
    onnx.save(model_of(drawn(0)), tmp_path / "blobs" / "a1")
    (tmp_path / "m.onnx").symlink_to(tmp_path / "blobs" / "a1")
    np.testing.assert_array_equal(tensors(files.load_model(tmp_path / "m.onnx"))["w0"].numpy(), drawn(0))


def twice(content: bytes) -> bytes:
    """A second graph, which protobuf merges with the first."""
    other = onnx.ModelProto()
    other.graph.doc_string = "more"
    return content + other.SerializeToString()


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("odd", [twice, lambda content: b"\xfa\x3f\x02ab" + content])
def test_files_that_are_not_written_as_usual_are_read_as_protobuf_does(
    odd: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(odd(model_of(drawn(0)).SerializeToString()))
    np.testing.assert_array_equal(tensors(files.load_model(path))["w0"].numpy(), drawn(0))


@pytest.mark.usefixtures("small_limits")
def test_every_cut_off_file_is_refused(tmp_path: Path) -> None:
    content = model_of(drawn(0), drawn(1)).SerializeToString()
    for end in range(10, len(content) - 1, 7):
        (tmp_path / "m.onnx").write_bytes(content[:end])
        with pytest.raises(ModelError):
            files.load_model(tmp_path / "m.onnx")


@pytest.mark.usefixtures("small_limits")
def test_a_weight_that_is_not_as_long_as_its_shape_says_is_refused(tmp_path: Path) -> None:
    model = model_of(drawn(0))
    model.graph.initializer[0].dims[0] = 5
    onnx.save(model, tmp_path / "m.onnx")
    assert "its type and shape need" in refusal(tmp_path / "m.onnx")


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int8, ml_dtypes.bfloat16, ml_dtypes.int4])
def test_what_is_left_of_a_weight_is_made_in_parts(kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = (np.arange(24).reshape(4, 6) % 7).astype(kind)
    content = ir.Tensor(array).tobytes()
    (tmp_path / "data").write_bytes(b"?" + content)  # numbers lie at odd addresses
    monkeypatch.setattr(weights, "PART_BYTES", 2)
    placed = ir.ExternalTensor("data", 1, len(content), ir.Tensor(array).dtype, shape=ir.Shape((4, 6)), name="w")
    source = weights.DiskTensor(placed, weights.DataFile(tmp_path / "data"))
    np.testing.assert_array_equal(source.numpy(), array)
    assert source.tobytes() == content
    left = weights.DerivedTensor(source, lambda rows, first: rows[:, ::2] if first % 2 == 0 else rows[:, 1::2], (4, 3))
    wanted = np.stack([row[k % 2 :: 2] if kind is not ml_dtypes.int4 else row[::2] for k, row in enumerate(array)])
    np.testing.assert_array_equal(left.numpy(), wanted)
    with (tmp_path / "left").open("wb") as file:
        left.tofile(file)
    assert (tmp_path / "left").read_bytes() == left.tobytes()


def sharded(folder: Path) -> Path:
    """Four weights in two files."""
    model = model_of(*map(drawn, range(4)))
    for number, tensor in enumerate(model.graph.initializer):
        file = folder / f"part{number // 2}.bin"
        with file.open("ab") as data:
            offset = data.tell()
            data.write(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, text in (("location", file.name), ("offset", offset), ("length", 96)):
            tensor.external_data.add(key=key, value=str(text))
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"


@pytest.mark.usefixtures("small_limits")
def test_external_data_keeps_its_shards(tmp_path: Path) -> None:
    model = files.load_model(sharded(tmp_path))
    files.save_model(model, tmp_path / "out.onnx")
    shards = [tmp_path / f"out.onnx-{k:05}-of-00002.data" for k in (1, 2)]
    assert [shard.stat().st_size for shard in shards] == [128 + 96] * 2
    again = tensors(files.load_model(tmp_path / "out.onnx"))
    for number, tensor in enumerate(again.values()):
        assert isinstance(tensor, ir.ExternalTensor)
        assert tensor.location == shards[number // 2].name
        np.testing.assert_array_equal(tensor.numpy(), drawn(number))
    assert files.size_on_disk(tmp_path / "out.onnx") == sum(
        file.stat().st_size for file in [tmp_path / "out.onnx", *shards]
    )


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_a_shard_that_is_missing_or_short_is_named(damage: str, tmp_path: Path) -> None:
    path = sharded(tmp_path)
    shard = tmp_path / "part1.bin"
    if damage == "missing":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:-1])
    assert "part1.bin" in refusal(path) if damage == "missing" else "copy the whole file" in refusal(path)


@pytest.mark.usefixtures("small_limits")
def test_a_disk_that_is_full_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the second shard, when the first is whole already."""
    model, before = files.load_model(sharded(tmp_path)), sorted(tmp_path.iterdir())
    honest, calls = weights.DiskTensor.tofile, list[str]()

    def full(tensor: weights.DiskTensor, file: object) -> None:
        calls.append(str(tensor.name))
        if len(calls) > 2:
            raise OSError(28, "No space left on device")
        honest(tensor, file)  # type: ignore[arg-type]

    monkeypatch.setattr(weights.DiskTensor, "tofile", full)
    with pytest.raises(UsageError, match="No space left"):
        files.save_model(model, tmp_path / "out.onnx")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.int8])
def test_a_number_that_is_not_finite_is_found_in_any_type(dtype: type) -> None:
    whole = np.ones((3, 2), dtype)
    assert weights.all_finite(ir.tensor(whole))
    if dtype is not np.int8:
        whole[2, 1] = np.inf
        assert not weights.all_finite(ir.tensor(whole))


def test_words_are_one_part() -> None:
    words = np.array([b"cat", b"dog"], object)
    found = [(first, array.tolist()) for first, array in weights.parts(ir.StringTensor(words, name="words"))]
    assert found == [(0, words.tolist())]


def test_places_are_taken_in_their_order_and_by_rows_as_of_the_whole() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(weights.taken(array, {2: [3, 0], 0: [1]}), array[1:][:, :, [3, 0]])
    keep = np.asarray([True, False, True, True])
    kept = weights.KeptEntries({0: keep, 1: np.asarray([False, True])})
    rows = np.arange(8).reshape(4, 2)
    np.testing.assert_array_equal(kept(rows, 0), rows[keep, 1:])
    np.testing.assert_array_equal(kept(rows[2:], 2), rows[2:, 1:])


def at_odd_place(path: Path, array: np.ndarray) -> weights.DiskTensor:
    """A weight whose bytes begin at an address that its numbers may not have."""
    path.write_bytes(b"\0" + array.tobytes())
    kind = ir.DataType.from_numpy(array.dtype)
    lies = ir.ExternalTensor(path.name, 1, array.nbytes, kind, shape=ir.Shape(array.shape), name="w")
    return weights.DiskTensor(lies, weights.DataFile(path))


@pytest.mark.parametrize("limit", [96, 95])
def test_copies_that_alignment_asks_for_are_made_once_as_long_as_they_are_small(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "COPIES_KEPT", limit)
    tensor = at_odd_place(tmp_path / "w.bin", drawn(0))
    one, two = tensor.numpy(), tensor.numpy()
    assert np.array_equal(one, drawn(0))
    assert np.array_equal(two, drawn(0))
    assert np.shares_memory(one, two) == (limit == 96)
    with pytest.raises(ValueError, match="read-only"):
        one[0, 0] = 1


def test_rows_at_an_odd_place_are_those_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PART_BYTES", 48)
    found = list(weights.parts(at_odd_place(tmp_path / "w.bin", drawn(1))))
    assert [first for first, _ in found] == [0, 2]
    assert np.array_equal(np.concatenate([rows for _, rows in found]), drawn(1))
