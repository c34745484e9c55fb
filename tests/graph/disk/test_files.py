"""What is no model is named for what it is; saving writes the whole file or none, never over the input."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from compressor.errors import CompressorError, ModelError, UsageError
from compressor.graph.disk import files
from compressor.graph.ir import walk
from tests.graph.disk.samples import CALLS, WEIGHT, externalised, parsed, refusal, weights_of, written
from tests.interruptions import MOVES, reaches_failing


def _with_attribute(text: bytes) -> bytes:
    proto = parsed()
    proto.graph.node[0].CopyFrom(helper.make_node("Constant", [], proto.graph.node[0].output))
    proto.graph.node[0].attribute.append(helper.make_attribute("value_string", text))
    return proto.SerializeToString()


OTHER_FILES = {
    "empty": (b"", "empty"),
    "text": (b"hello, this is not a model", "not an ONNX"),
    "random": (np.random.default_rng(0).bytes(4096), "not an ONNX"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "torch checkpoint": (b"PK\x03\x04" + b"\0" * 60, "zip archive"),
    "Keras model": (b"\x89HDF\r\n\x1a\n", "HDF5"),
    "a tensor": (helper.make_tensor("w", 1, [2], [1.0, 2.0]).SerializeToString(), "not an ONNX"),
    "wrong wire types": (b"\x0a\x02ab\x3d\0\0\0\0", "not an ONNX"),
    "cut off": (parsed().SerializeToString()[:-10], "damaged"),
    "attribute that is no text": (_with_attribute(b"\xff\xfe"), "UTF-8"),
    "not UTF-8": (parsed().SerializeToString().replace(b"MatMul", b"Mat\xff\xfel"), "UTF-8"),
}


@pytest.mark.parametrize("case", OTHER_FILES)
def test_other_files_are_named_for_what_they_are(tmp_path: Path, case: str) -> None:
    content, reason = OTHER_FILES[case]
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert reason in refusal(path)
    if reason != "UTF-8":
        with pytest.raises(ModelError):
            files.size_on_disk(path)


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 2**31)
    assert "No such file" in refusal(tmp_path / "absent.onnx")
    assert "not a regular file" in refusal(tmp_path)
    assert "not a regular file" in refusal(tmp_path / "pipe")
    assert "not the name of a file" in refusal(tmp_path / "a\0b")
    assert "2 GiB" in refusal(tmp_path / "huge")


def test_a_sound_model_keeps_its_parts(tmp_path: Path) -> None:
    model = files.load_model(str(written(tmp_path, parsed())))
    assert [node.op_type for node in model.graph] == ["MatMul", "If"]
    np.testing.assert_array_equal(weights_of(model)["w"], WEIGHT)
    assert len(files.load_model(written(tmp_path, parsed(CALLS))).functions) == 2


def test_a_model_in_a_linked_place_loads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    proto = parsed()
    externalised(tmp_path / "real", proto.graph.initializer[0])
    written(tmp_path / "real", proto)
    (tmp_path / "link").symlink_to("real")
    assert weights_of(files.load_model(tmp_path / "link" / "model.onnx"))["w"].shape == (3, 4)


def test_files_and_bytes_of_a_model(tmp_path: Path) -> None:
    proto = parsed()
    path = written(tmp_path, proto)
    assert files.model_files(path) == {path}
    assert files.size_on_disk(path) == path.stat().st_size
    externalised(tmp_path, proto.graph.initializer[0])
    path = written(tmp_path, proto)
    assert files.model_files(path) == {path, tmp_path / "weights.bin"}
    assert files.size_on_disk(path) == path.stat().st_size + 48
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx: .* No such file"):
        files.model_files(path)
    path.write_bytes(path.read_bytes().replace(b"weights.bin", b"weights\xff\xfein"))
    with pytest.raises(ModelError, match="not UTF-8"):
        files.model_files(path)


def large(megabytes: int = 1, count: int = 3) -> ir.Model:
    """A chain of matrix products whose ``count`` weights have ``megabytes`` each."""
    rng = np.random.default_rng(0)
    width = 512 * megabytes
    weights = [rng.standard_normal((512, width), dtype=np.float32) for _ in range(count)]
    nodes = [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(count)]
    x = helper.make_tensor_value_info("x0", 1, ["N", 512])
    y = helper.make_tensor_value_info(f"x{count}", 1, ["N", width])
    tensors = [onnx.numpy_helper.from_array(weight, f"w{i}") for i, weight in enumerate(weights)]
    tensors.append(onnx.numpy_helper.from_array(np.array([1, 2]), "small"))
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


@pytest.mark.parametrize("external_data", [None, True])
def test_a_round_trip_keeps_everything_and_is_deterministic(tmp_path: Path, external_data: bool | None) -> None:
    model = large()
    tensors = [value.const_value for value in model.graph.initializers.values()]
    written_bytes = files.save_model(model, tmp_path / "out.onnx", external_data=external_data)
    assert [value.const_value for value in model.graph.initializers.values()] == tensors
    assert written_bytes == files.size_on_disk(tmp_path / "out.onnx")
    first = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert len(first) == (2 if external_data else 1)
    again = files.load_model(tmp_path / "out.onnx")
    for name, weight in weights_of(model).items():
        np.testing.assert_array_equal(weights_of(again)[name], weight)
    again.graph.name = model.graph.name
    for other in (model, again):
        (tmp_path / "again").mkdir(exist_ok=True)
        files.save_model(other, tmp_path / "again" / "out.onnx", external_data=external_data)
        assert [path.read_bytes() for path in sorted((tmp_path / "again").iterdir())] == first


def test_an_embedded_file_is_what_protobuf_would_write_but_for_the_order(tmp_path: Path) -> None:
    proto = parsed()
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(WEIGHT, "w"))
    proto.graph.initializer[0].doc_string = "weights"
    proto.metadata_props.add(key="k", value="v")
    for body in walk.bodies(proto):
        for node in body.node:
            node.ClearField("domain")  # the text parser states the default
    files.save_model(files.load_model(written(tmp_path, proto)), tmp_path / "out.onnx")
    assert onnx.load(tmp_path / "out.onnx") == proto


def test_tensors_of_every_make_are_written(tmp_path: Path) -> None:
    model = files.load_model(written(tmp_path, parsed()))
    made = {
        "strided": np.arange(24, dtype=np.float32).reshape(6, 4)[::2].T,
        "nibbles": np.array([1, -2, 3], dtype=ml_dtypes.int4),
        "brain": np.array([1.5, 2.5], dtype=ml_dtypes.bfloat16),
        "none": np.zeros((0, 7), dtype=np.int64),
        "one": np.array(True),
    }
    for name, array in made.items():
        value = ir.Value(name=name, const_value=ir.tensor(array, name="another"))
        model.graph.register_initializer(value)
    words = ir.StringTensor(np.array([b"a", "é".encode()]), name="words")
    model.graph.register_initializer(ir.Value(name="words", const_value=words))
    model.ir_version = 10
    files.save_model(model, tmp_path / "out.onnx")
    again = weights_of(files.load_model(tmp_path / "out.onnx"))
    for name, array in made.items():
        np.testing.assert_array_equal(again[name], array)
    assert list(again["words"]) == [b"a", "é".encode()]


def test_a_model_too_large_for_one_file_gets_a_data_file(tmp_path: Path) -> None:
    files.save_model(large(), tmp_path / "out.onnx", inline_limit=10_000)
    proto = onnx.load(tmp_path / "out.onnx", load_external_data=False)
    kept = {tensor.name for tensor in proto.graph.initializer if not tensor.external_data}
    assert kept == {"small"}
    assert {entry.value for t in proto.graph.initializer for entry in t.external_data if entry.key == "location"} == {
        "out.onnx.data"
    }
    onnx.checker.check_model(tmp_path / "out.onnx", full_check=True)
    with pytest.raises(UsageError, match="too many for one file; allow external data"):
        files.save_model(large(), tmp_path / "one.onnx", inline_limit=10_000, external_data=False)
    with pytest.raises(UsageError, match="graph alone is too large"):
        files.save_model(large(), tmp_path / "one.onnx", inline_limit=10)
    assert not list(tmp_path.glob("*one.onnx*"))


def test_loading_and_saving_copy_the_weights_at_most_once(tmp_path: Path) -> None:
    total = files.save_model(large(megabytes=4, count=4), tmp_path / "in.onnx")
    tracemalloc.start()
    model = files.load_model(tmp_path / "in.onnx")
    held, peak = tracemalloc.get_traced_memory()
    assert peak < 1.3 * total
    assert held < 0.1 * total
    files.save_model(model, tmp_path / "out.onnx", external_data=True)
    mapped = files.load_model(tmp_path / "out.onnx")
    tracemalloc.reset_peak()
    files.save_model(mapped, tmp_path / "again.onnx")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - held < 0.1 * total


def test_an_initializer_without_data_is_not_silently_dropped(tmp_path: Path) -> None:
    model = large()
    model.graph.initializers["w1"].const_value = None
    with pytest.raises(CompressorError, match="'w1' has no data"):
        files.save_model(model, tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_faithfully_is_not_written(tmp_path: Path) -> None:
    class Lying(ir.Tensor):
        @property
        def nbytes(self) -> int:
            return 7

    model = large()
    model.graph.initializers["w1"].const_value = Lying(WEIGHT)
    with pytest.raises(CompressorError, match="has not the bytes that it declares"):
        files.save_model(model, tmp_path / "out.onnx")
    model = large()
    model.graph[0].attributes["outside"] = ir.AttrTensor("outside", _outside())
    with pytest.raises(CompressorError, match="'outside' of a subgraph or attribute is external"):
        files.save_model(model, tmp_path / "out.onnx")
    model = large()
    model.graph[0].attributes["bad"] = ir.AttrInt64("bad", 2**64)
    with pytest.raises(CompressorError, match="cannot be serialised: Value out of range"):
        files.save_model(model, tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def _outside() -> ir.ExternalTensor:
    return ir.ExternalTensor("d.bin", 0, 4, ir.DataType.FLOAT, shape=ir.Shape([1]), name="outside")


def test_the_input_and_its_data_are_never_overwritten(tmp_path: Path) -> None:
    source = tmp_path / "in.onnx"
    files.save_model(large(), source, external_data=True)
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    model, forbidden = files.load_model(source), files.model_files(source)
    (tmp_path / "hard.onnx").hardlink_to(source)
    (tmp_path / "folder").symlink_to(tmp_path)
    for target in ("in.onnx", "hard.onnx", "folder/in.onnx"):
        with pytest.raises(UsageError, match="never overwritten"):
            files.save_model(model, tmp_path / target, forbidden=forbidden)
    with pytest.raises(UsageError, match=r"in\.onnx\.data belongs to the input"):
        files.save_model(model, source, external_data=True)
    (tmp_path / "hard.onnx").unlink()
    (tmp_path / "folder").unlink()
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == before


def test_places_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = large()
    (tmp_path / "taken").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    os.mkfifo(tmp_path / "pipe")
    for target, reason in (("absent/out.onnx", "does not exist"), ("taken", "not a regular file")):
        with pytest.raises(UsageError, match=reason):
            files.save_model(model, tmp_path / target)
    for target in ("link", "pipe"):
        with pytest.raises(UsageError, match="not a regular file"):
            files.save_model(model, tmp_path / target)
    for target in ("", "a\0b"):
        with pytest.raises(UsageError, match="not the name of a file"):
            files.save_model(model, target)
    with pytest.raises(UsageError, match="File name too long"):
        files.save_model(model, tmp_path / ("x" * 300))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="cannot be written to"):
        files.save_model(model, tmp_path / "out.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"taken", "link", "pipe"}


def test_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    model = large()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(UsageError, match=os.strerror(errno.EFBIG)):
            files.save_model(model, tmp_path / "out.onnx")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def interrupted_at(line: int, action: Callable[[], object]) -> bool:
    """Run an action, raising KeyboardInterrupt before the n-th line that it executes in ``files``."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename != files.__file__:
            return None
        if event == "line":
            count += 1
            if count == line:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("external_data", [False, True])
def test_interrupted_at_any_line_there_is_the_whole_file_or_none(
    tmp_path: Path, external_data: bool, old: bool
) -> None:
    model, path = large(), tmp_path / "out.onnx"
    tensors = [value.const_value for value in model.graph.initializers.values()]
    whole = ["out.onnx", "out.onnx.data"] if external_data else ["out.onnx"]
    before = dict.fromkeys(whole, "old") if old else {}
    line, outcomes = 0, set()
    while True:
        line += 1
        for name in before:
            (tmp_path / name).write_text("old")
        stopped = interrupted_at(line, lambda: files.save_model(model, path, external_data=external_data))
        left = {entry.name: entry.stat().st_size for entry in tmp_path.iterdir()}
        assert [value.const_value for value in model.graph.initializers.values()] == tensors
        if not stopped:
            break
        was = {name: len(text) for name, text in before.items()}
        assert left == was or (sorted(left) == whole and min(left.values()) > len("old"))
        outcomes.add(left == was)
        for name in left:
            (tmp_path / name).unlink()
    assert sorted(left) == whole
    assert line > 30
    assert True in outcomes


def _sharded(folder: Path) -> ir.Model:
    """A model whose weights were read from two files, so that they go to two again."""
    path = folder / "net.onnx"
    onnx.save(ir.to_proto(large(count=2)), path, save_as_external_data=True, all_tensors_to_one_file=False)
    return files.load_model(path)


SAVED = {
    "one": ["out.onnx"],
    "shards": ["out.onnx", "out.onnx-00001-of-00002.data", "out.onnx-00002-of-00002.data"],
    "two": ["more.onnx", "more.onnx.data", "out.onnx", "out.onnx.data"],
}


def _save(case: str, source: Path, place: Path) -> None:
    models = {"out.onnx": large(), "more.onnx": large()} if case == "two" else {"out.onnx": large()}
    if case == "shards":
        models = {"out.onnx": _sharded(source)}
    files.save_models({place / name: model for name, model in models.items()}, external_data=case != "one")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "no"), KeyboardInterrupt()])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("case", SAVED)
def test_a_move_that_fails_leaves_what_was_there(tmp_path: Path, case: str, old: bool, error: BaseException) -> None:
    source, place = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    place.mkdir()
    before = {name: f"old {name}" for name in SAVED[case]} if old else {}
    failures = 0
    for name, at in itertools.product(MOVES, range(1, 12)):
        for path in place.iterdir():
            path.unlink()
        for file, text in before.items():
            (place / file).write_text(text)
        try:
            reaches_failing(name, at, error, lambda: _save(case, source, place))
        except (UsageError, KeyboardInterrupt):
            failures += 1
            assert {path.name: path.read_text(errors="replace") for path in place.iterdir()} == before, (name, at)
        else:
            assert sorted(path.name for path in place.iterdir()) == SAVED[case]
    # Without links, files are moved away instead.
    links = len(before) if isinstance(error, KeyboardInterrupt) else 0
    assert failures == len(SAVED[case]) + links
