"""Tensor data must be where the model says, inside its folder, and as long as type and shape say."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressor.graph.disk import files
from compressor.graph.tensors import external
from tests.graph.disk.samples import WEIGHT, externalised, parsed, refusal, weights_of, written

Damage = Callable[[onnx.ModelProto], object]


def _dims(*dims: int) -> Damage:
    def damage(m: onnx.ModelProto) -> None:
        m.graph.initializer[0].dims[:] = dims

    return damage


def _data_type(number: int) -> Damage:
    return lambda m: setattr(m.graph.initializer[0], "data_type", number)


def _constant(m: onnx.ModelProto) -> TensorProto:
    return m.graph.node[1].attribute[0].g.node[0].attribute[0].t


def _two_fields(m: onnx.ModelProto) -> None:
    m.graph.initializer[0].raw_data = WEIGHT.tobytes()
    m.graph.initializer[0].float_data[:] = WEIGHT.ravel()


def _wrong_field(m: onnx.ModelProto) -> None:
    m.graph.initializer[0].ClearField("raw_data")
    m.graph.initializer[0].ClearField("float_data")
    m.graph.initializer[0].int32_data.extend(range(12))


EMBEDDED: dict[str, tuple[Damage, str]] = {
    "huge shape": (_dims(10**6, 10**6), "impossible shape"),
    "large shape without data": (_dims(10**5, 10**4), "shape need 4000000000"),
    "overflowing shape": (_dims(2**62, 2**62, 4), "impossible shape"),
    "overflow hidden by a zero": (_dims(0, 2**62, 2**62), "impossible shape"),
    "negative dimensions": (_dims(-3, -4), "impossible shape"),
    "absurd rank": (_dims(*[1] * 5000), "impossible shape"),
    "too little data": (_dims(3, 5), "need 60"),
    "too much data": (_dims(3, 3), "need 36"),
    "huge constant in a subgraph": (lambda m: _constant(m).dims.append(10**12), "impossible shape"),
    "unknown data type": (_data_type(999), "unknown data type 999"),
    "undefined data type": (_data_type(0), "unknown data type 0"),
    "raw data for strings": (_data_type(TensorProto.STRING), "wrong field"),
    "data in two fields": (_two_fields, "twice"),
    "data in the wrong field": (_wrong_field, "wrong field"),
    "external file of internal data": (
        lambda m: m.graph.initializer[0].external_data.add(key="location", value="/etc/passwd"),
        "not marked external",
    ),
}


@pytest.mark.parametrize("case", EMBEDDED)
def test_embedded_data_must_fit_its_declaration(tmp_path: Path, case: str) -> None:
    damage, reason = EMBEDDED[case]
    proto = parsed()
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(WEIGHT, "w"))
    damage(proto)
    assert reason in refusal(written(tmp_path, proto))


EXTERNAL: dict[str, tuple[dict[str, str], str]] = {
    "absolute path": ({"location": "/etc/passwd"}, "outside the model's folder"),
    "parent folder": ({"location": "../weights.bin"}, "outside the model's folder"),
    "parent folder on the way": ({"location": "sub/../../weights.bin"}, "outside the model's folder"),
    "Windows drive": ({"location": "C:weights.bin"}, "outside the model's folder"),
    "Windows separators": ({"location": "..\\weights.bin"}, "outside the model's folder"),
    "network share": ({"location": "//host/share"}, "outside the model's folder"),
    "NUL byte": ({"location": "weights.bin\0.png"}, "outside the model's folder"),
    "missing file": ({"location": "absent.bin"}, "No such file"),
    "missing folder": ({"location": "absent/weights.bin"}, "No such file"),
    "file as folder": ({"location": "weights.bin/weights.bin"}, "Not a directory"),
    "folder": ({"location": "sub"}, "not a regular file"),
    "the model's folder": ({"location": "."}, "not a regular file"),
    "empty location": ({"location": ""}, "not a regular file"),
    "endless name": ({"location": "w" * 5000}, "File name too long"),
    "symbolic link": ({"location": "link.bin"}, "through a link that leaves the model's folder"),
    "links over a sibling": ({"location": "sibling.bin"}, "through a link that leaves the model's folder"),
    "linked folder": ({"location": "linked/weights.bin"}, "through a link that leaves the model's folder"),
    "links in a circle": ({"location": "circle.bin"}, "cannot be read|Too many levels"),
    "hard link": ({"location": "hard.bin"}, "hard links"),
    "pipe": ({"location": "pipe"}, "not a regular file"),
    "negative offset": ({"offset": "-4"}, "not a number of bytes"),
    "fractional offset": ({"offset": "4.5"}, "not a number of bytes"),
    "offset of many digits": ({"offset": "9" * 5000}, "not a number of bytes"),
    "foreign digits": ({"offset": "٣"}, "not a number of bytes"),
    "offset behind the end": ({"offset": "4"}, "ends at byte 52 of a file of 48"),
    "overflowing offset": ({"offset": str(2**63 - 1)}, "ends at byte"),
    "negative length": ({"length": "-48"}, "not a number of bytes"),
    "short length": ({"length": "44"}, "has 44 bytes, but"),
    "long length": ({"length": "52"}, "has 52 bytes, but"),
    "unknown key": ({"__class__": "x"}, "unknown external-data keys"),
}


@pytest.mark.parametrize("place", ["initializer", "attribute of a subgraph"])
@pytest.mark.parametrize("case", EXTERNAL)
def test_external_data_stays_in_its_folder(tmp_path: Path, case: str, place: str) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    secret = tmp_path / "weights.bin"
    secret.write_bytes(WEIGHT.tobytes())
    (folder / "link.bin").symlink_to(secret)
    (folder / "sibling.bin").symlink_to("link.bin")
    (folder / "circle.bin").symlink_to("circle.bin")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "hard.bin").hardlink_to(secret)
    os.mkfifo(folder / "pipe")
    entries, reason = EXTERNAL[case]
    proto = parsed()
    tensor = proto.graph.initializer[0] if place == "initializer" else _constant(proto)
    tensor.dims[:] = [3, 4]
    externalised(folder, tensor, WEIGHT.tobytes(), **entries)
    assert re.search(reason, refusal(written(folder, proto)))


def test_links_within_the_folder_and_those_of_a_cache_are_followed(tmp_path: Path) -> None:
    """Caches of model hubs keep files under the names of their contents; ONNX Runtime follows the same links."""
    proto = parsed()
    externalised(tmp_path, proto.graph.initializer[0], location="data.bin")
    (tmp_path / "blobs").mkdir()
    written(tmp_path, proto).rename(tmp_path / "blobs" / "a1")
    (tmp_path / "weights.bin").rename(tmp_path / "blobs" / "b2")
    (tmp_path / "cached").mkdir()
    (tmp_path / "cached" / "model.onnx").symlink_to("../blobs/a1")
    (tmp_path / "cached" / "data.bin").symlink_to("../blobs/b2")
    (tmp_path / "plain").mkdir()
    onnx.save(proto, tmp_path / "plain" / "model.onnx")
    (tmp_path / "plain" / "b2").write_bytes(WEIGHT.tobytes())
    (tmp_path / "plain" / "data.bin").symlink_to("b2")
    detour = onnx.load(tmp_path / "plain" / "model.onnx", load_external_data=False)
    (tmp_path / "plain" / "sub").mkdir()
    detour.graph.initializer[0].external_data[0].value = "sub/../data.bin"
    onnx.save(detour, tmp_path / "plain" / "detour.onnx")
    for file in ("cached/model.onnx", "plain/model.onnx", "plain/detour.onnx"):
        np.testing.assert_array_equal(weights_of(files.load_model(tmp_path / file))["w"], WEIGHT)
        onnxruntime.InferenceSession(tmp_path / file, providers=["CPUExecutionProvider"])


def test_repeated_keys_strings_and_a_second_copy_are_refused(tmp_path: Path) -> None:
    proto = parsed()
    externalised(tmp_path, proto.graph.initializer[0])
    proto.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    assert "repeated" in refusal(written(tmp_path, proto))
    del proto.graph.initializer[0].external_data[1]
    proto.graph.initializer[0].float_data.extend(WEIGHT.ravel())
    assert "data of its own" in refusal(written(tmp_path, proto))
    proto.graph.initializer[0].ClearField("float_data")
    proto.graph.initializer[0].data_type = TensorProto.STRING
    assert "string" in refusal(written(tmp_path, proto))


def test_a_sparse_file_cannot_back_an_absurd_tensor(tmp_path: Path) -> None:
    proto = parsed()
    externalised(tmp_path, proto.graph.initializer[0])
    os.truncate(tmp_path / "weights.bin", 1 << 40)
    proto.graph.initializer[0].dims[:] = [1 << 19, 1 << 19]
    assert "impossible shape" in refusal(written(tmp_path, proto))


def test_many_attributes_cannot_read_one_file_over_and_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "MAX_NESTED_BYTES", 100)
    proto = parsed()
    node = proto.graph.node[1].attribute[0].g.node[0]
    node.attribute[0].t.dims[:] = [3, 4]
    externalised(tmp_path, node.attribute[0].t, WEIGHT.tobytes())
    for number in range(2):
        proto.graph.node[1].attribute[0].g.node.append(node)
        proto.graph.node[1].attribute[0].g.node[-1].output[0] = f"k{number}"
    assert "more than 2 GiB" in refusal(written(tmp_path, proto))


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    "dtype", sorted(set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED, TensorProto.STRING})
)
def test_every_data_type_is_measured_right(tmp_path: Path, dtype: int, raw: bool) -> None:
    array = np.zeros((3, 5), dtype=helper.tensor_dtype_to_np_dtype(dtype))
    tensor = numpy_helper.from_array(array, "extra") if raw else helper.make_tensor("extra", dtype, [3, 5], array)
    proto = parsed()
    proto.ir_version = onnx.IR_VERSION
    proto.graph.initializer.append(tensor)
    assert weights_of(files.load_model(written(tmp_path, proto)))["extra"].shape == (3, 5)


def test_external_data_is_mapped_not_read(tmp_path: Path) -> None:
    proto = parsed()
    externalised(tmp_path, proto.graph.initializer[0], b"\0" * 64 + WEIGHT.tobytes(), offset="64", length="48")
    model = files.load_model(written(tmp_path, proto))
    assert isinstance(model.graph.initializers["w"].const_value, ir.ExternalTensor)
    np.testing.assert_array_equal(weights_of(model)["w"], WEIGHT)


def test_external_data_follows_the_model_not_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = parsed()
    externalised(tmp_path, proto.graph.initializer[0], location="./weights.bin")
    written(tmp_path, proto)
    monkeypatch.chdir(tmp_path)
    model = files.load_model("model.onnx")
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(weights_of(model)["w"], WEIGHT)


def test_external_data_of_attributes_is_embedded(tmp_path: Path) -> None:
    proto = parsed()
    externalised(tmp_path, _constant(proto))
    model = files.load_model(written(tmp_path, proto))
    (tmp_path / "weights.bin").unlink()
    files.save_model(model, tmp_path / "out.onnx")
    nodes = files.load_model(tmp_path / "out.onnx").graph.all_nodes()
    constant = next(node for node in nodes if node.op_type == "Constant")
    assert constant.attributes["value"].as_tensor().numpy() == 2
