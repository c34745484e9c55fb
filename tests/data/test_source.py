"""Opening data: what fits is prepared right, what does not is refused with input, expectation and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from compressor.data import batches, open_data, open_parts, specs
from compressor.errors import UsageError
from compressor.graph.sizes.batch_limit import batch_limit
from tests.data.case import close, everything, pictures, saved, settings, taking

KINDS = {"float": "float32", "float16": "float16", "double": "float64", "uint8": "uint8"}


@st.composite
def image_cases(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(KINDS)))
    return {
        "kind": kind,
        "stored": "uint8" if kind == "uint8" else draw(st.sampled_from(["uint8", "float16", "float32", "float64"])),
        "channels": draw(st.sampled_from([1, 3, 4])),
        "sides": tuple(draw(st.integers(5, 9)) for _ in range(draw(st.sampled_from([2, 2, 3])))),
        "model_last": draw(st.booleans()),
        "data_last": draw(st.booleans()),
        "open_sides": draw(st.booleans()),
        "said": draw(st.booleans()),
        "mean": draw(st.sampled_from(["none", "one", "each"])),
        "compressed": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


def placed(channels: Any, sides: tuple[Any, ...], last: bool) -> tuple[Any, ...]:
    return (*sides, channels) if last else (channels, *sides)


@given(case=image_cases())
@hypothesis_settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_images_of_any_layout_and_type(tmp_path: Path, case: dict[str, Any]) -> None:
    rng = np.random.default_rng(case["seed"])
    channels, sides, kind = case["channels"], case["sides"], str(case["kind"])
    declared = tuple(f"S{k}" for k in range(len(sides))) if case["open_sides"] else sides
    shape = ",".join(str(d) for d in ("N", *placed(channels, declared, case["model_last"])))
    model = taking(f"{kind}[{shape}] x")
    raw = rng.integers(0, 256, (6, *placed(channels, sides, case["data_last"])))
    x = raw.astype(str(case["stored"])) / (1 if case["stored"] == "uint8" else np.asarray(64, str(case["stored"])))
    x = x.astype(str(case["stored"]))
    values: dict[str, Any] = {}
    mean = std = np.zeros(1)
    if case["mean"] != "none" and kind != "uint8":
        size = 1 if case["mean"] == "one" else channels
        mean, std = rng.uniform(0, 1, size).round(3), rng.uniform(0.1, 1, size).round(3)
        values = {"mean": ",".join(map(str, mean)), "std": ",".join(map(str, std))}
    if case["said"]:
        values["layout"] = "nhwc" if case["data_last"] else "nchw"
    path = saved(tmp_path / "a.npz", compressed=bool(case["compressed"]), images=x, labels=np.arange(6) % 2)
    dataset = open_data(settings(path, **values), model)
    wanted = x.astype(np.float64)
    if not case["data_last"]:
        wanted = np.moveaxis(wanted, 1, -1)
    if kind != "uint8":
        wanted = wanted / (255 if case["stored"] == "uint8" else 1)
    if values.get("mean"):
        wanted = (wanted - mean) / std
    wanted = wanted if case["model_last"] else np.moveaxis(wanted, -1, 1)
    order = rng.permutation(6)
    batch = dataset.take(order)
    found = batch.inputs["x"]
    assert found.dtype == KINDS[kind]
    assert found.flags.c_contiguous
    tolerance = 2e-3 if kind == "float16" else 1e-5
    close(found, wanted[order], rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(batch.labels, order % 2)


def test_grey_images_need_no_axis_of_channels(tmp_path: Path, rng: np.random.Generator) -> None:
    images = pictures(rng, 4, 6, 5)
    path = saved(tmp_path / "a.npz", x=images)
    first = open_data(settings(path), taking("float[N,1,6,5] x")).take(everything(4)).inputs["x"]
    close(first, images[:, None] / np.float32(255))
    last = open_data(settings(path), taking("float[N,6,5,1] x")).take(everything(4)).inputs["x"]
    close(last, images[..., None] / np.float32(255))


def test_several_inputs_by_name(tmp_path: Path, rng: np.random.Generator) -> None:
    model = taking("int64[N,L] ids", "bool[N,L] mask", "float[N,3,4,4] image", "string[N,1] text")
    ids, mask = rng.integers(0, 99, (5, 7)).astype("int32"), rng.integers(0, 2, (5, 7))
    image, text = pictures(rng, 5, 4, 4, 3), np.array([["a"], ["b"], ["cd"], [""], ["é"]])
    path = saved(tmp_path / "a.npz", ids=ids, mask=mask, image=image, text=text, target=np.zeros((5, 1)))
    batch = open_data(settings(path, labels="target", mean="0.5"), model).take(np.array([4, 0]))
    np.testing.assert_array_equal(batch.inputs["ids"], ids[[4, 0]].astype(np.int64), strict=True)
    np.testing.assert_array_equal(batch.inputs["mask"], mask[[4, 0]].astype(bool), strict=True)
    assert batch.inputs["image"].shape == (2, 3, 4, 4)
    assert batch.inputs["text"].tolist() == [["é"], ["a"]]
    assert batch.labels is not None
    assert batch.labels.shape == (2, 1)


def test_defaults_in_the_file_are_no_inputs(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 18]> g (float[N,4] x, float[4] scale) => (float[N,4] y)
        <float[4] scale = {1.0, 2.0, 3.0, 4.0}> { y = Mul(x, scale) }"""
    model = ir.from_proto(onnx.parser.parse_model(text))
    assert len(model.graph.inputs) == 2
    assert [spec.name for spec in specs(model)] == ["x"]
    assert batch_limit(model) is None
    found = open_data(settings(saved(tmp_path / "a.npz", images=np.zeros((3, 4), "f4"))), model)
    assert list(found.take(everything(3)).inputs) == ["x"]


@pytest.mark.parametrize(
    ("inputs", "arrays", "values", "message"),
    [
        (
            ["float[N,3,8,8] x"],
            {"x": np.zeros((2, 3, 9, 8), "f4")},
            {},
            "takes samples of 3x8x8, .* holds 3x9x8; resize",
        ),
        (["float[N,3,8,8] x"], {"x": np.zeros((3, 8, 8), "f4")}, {}, "holds 8x8; put an axis of samples in front"),
        (["float[N,3,8,8] x"], {"x": np.zeros((2, 192), "f4")}, {}, "holds 192; give an array of 4 axes"),
        (["float[N,3,8,8] x"], {"x": np.zeros((2, 3, 8, 8), "f4")}, {"layout": "nhwc"}, "the other --layout, or auto"),
        (["float[N,C,H,W] x"], {"x": np.zeros((2, 8, 9, 3), "f4")}, {}, "looks like channels last, .* --layout nhwc"),
        (["float[N,4] x"], {"x": np.zeros((2, 5), "f4")}, {}, "input 'x' takes samples of 4, .* holds 5; cut or pad"),
        (["float[N,4] x"], {"x": np.float32(1)}, {}, "takes samples of 4, .* is a scalar"),
        (["float[N,4] x"], {"x": np.zeros((2, 4), "i8")}, {}, r"takes float32, .* is int64; .*astype\('float32'\)"),
        (["float[N,4] x"], {"x": np.zeros((2, 4), "c8")}, {}, "takes float32, .* is complex64; convert"),
        (["int64[N,4] x"], {"x": np.zeros((2, 4), "f4")}, {}, "takes int64, .* is float32; convert"),
        (["string[N] x"], {"x": np.zeros(2, "f4")}, {}, "takes string, .* is float32"),
        (["int8[N] x"], {"x": np.array([5, 200])}, {}, "numbers from 5 to 200, but .* takes int8, from -128 to 127"),
        (["uint16[N] x"], {"x": np.array([5, -1])}, {}, "numbers from -1 to 5, but .* takes uint16, from 0 to 65535"),
        (["float[N,1] x"], {"x": np.array([[np.inf], [1.0]])}, {}, "NaN or infinity in sample 0; remove"),
        (["bool[N] x"], {"x": np.array([0, 2])}, {}, "takes bool, from 0 to 1"),
        (["float16[N,1] x"], {"x": np.full((2, 1), 1e5)}, {}, "takes float16, from -65504 to 65504"),
        (["float[N,1] x"], {"x": np.array([[1.0], [np.nan], [2.0]])}, {}, "NaN or infinity in sample 1; remove"),
        (["float[N,1] x"], {"x": np.array([[1.0], [2.0], [-np.inf]])}, {}, "NaN or infinity in sample 2; remove"),
        (["float[N,1] x"], {"x": np.zeros((0, 1))}, {}, "there is no sample"),
        (["float[N,L] x"], {"x": np.zeros((3, 0))}, {}, "there is no sample"),
        (["float[N,1] x"], {"z": np.zeros((3, 1))}, {}, r"no array is named x; it has z; name arrays as"),
        (["float[N,1] a", "float[N,1] b"], {"a": np.zeros((3, 1))}, {}, "no array is named b; it has a"),
        (["float[N,1] a", "float[N,1] b"], {"a": np.zeros((3, 1)), "b": np.zeros((2, 1))}, {}, r"\(a: 3, b: 2\)"),
        (
            ["float[N,L] a", "float[N,L] b"],
            {"a": np.zeros((3, 4)), "b": np.zeros((3, 5))},
            {},
            "input 'a' and input 'b' share the dimension 'L', but .* 4 in one and 5 in the other",
        ),
        (["float[N,1] x"], {"x": np.zeros((3, 1)), "y": np.zeros(2)}, {}, "3 samples and 2 labels; give one"),
        (["float[N,1] x"], {"x": np.zeros((3, 1)), "y": np.float32(2)}, {}, "3 samples and one label; give one"),
        (["float[N,1] x"], {"x": np.zeros((3, 1)), "y": np.array(list("abc"))}, {}, "labels are <U1; give class numb"),
        (["float[N,1] x"], {"x": np.zeros((3, 1)), "y": np.full(3, np.nan)}, {}, "labels hold NaN"),
        (
            ["float[N,1] x"],
            {"x": np.zeros((3, 1))},
            {"labels": "t"},
            "no array is named 't' as --labels says; it has x",
        ),
        (["float[N,1] x"], {"x": np.zeros((3, 1))}, {"mean": "1,2"}, "--mean has 2 numbers, .* no axis of channels"),
        (["float[N,3,8,8] x"], {"x": np.zeros((2, 3, 8, 8))}, {"std": "1,2"}, "--std has 2 numbers, .* has 3 channels"),
        (["int64[N,1] x"], {"x": np.zeros((3, 1), int)}, {"mean": "1"}, "no input takes floating images"),
        (["float[N,3,8,8] x"], {"x": np.zeros((2, 3, 8, 8), "u1")}, {"mean": "123"}, "above 2; divide them by 255"),
        (["float x"], {"x": np.zeros(3)}, {}, "input 'x' is a scalar, which has no axis of samples"),
        (
            ["float[N,1] x", "float s"],
            {"x": np.zeros((2, 1)), "s": np.arange(2.0)},
            {},
            "2 numbers that differ; give one",
        ),
        (["float[3,1] a", "float[2,1] b"], {}, {}, r"same number of samples on their first axis \(a: 3, b: 2\)"),
        (["seq(float[N]) x"], {}, {}, "input 'x' is no tensor"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_remedy(
    tmp_path: Path, inputs: list[str], arrays: dict[str, Any], values: dict[str, Any], message: str
) -> None:
    path = saved(tmp_path / "a.npz", **arrays)
    with pytest.raises(UsageError, match=message):
        open_data(settings(path, **values), taking(*inputs))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("nowhere.npz", "there is no such file or folder; give an .npz file, a folder of images or package.module"),
        ("no\0where", "there is no such file or folder"),
        ("a" * 5000, "there is no such file or folder"),
        ("mistake.csv", r"files of type \.csv are not read; give an \.npz file"),
        ("plain", r"files of type \(none\) are not read"),
    ],
)
def test_what_is_no_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mistake.csv", "plain"):
        (tmp_path / name).write_text("1,2")
    with pytest.raises(UsageError, match=message):
        open_data(settings(data), taking("float[N,1] x"))


def test_no_data_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no data is given; give --data with an \.npz file"):
        open_data(settings(""), taking("float[N,1] x"))


def test_uint8_reaches_an_input_of_uint8_as_it_is(tmp_path: Path, rng: np.random.Generator) -> None:
    images = pictures(rng, 3, 8, 8, 3)
    found = open_data(settings(saved(tmp_path / "a.npz", x=images)), taking("uint8[N,3,8,8] x")).take(everything(3))
    np.testing.assert_array_equal(found.inputs["x"], images.transpose(0, 3, 1, 2), strict=True)


def test_how_many_samples_a_model_takes() -> None:
    assert batch_limit(taking("float[N,1] x")) is None
    assert batch_limit(taking("float[8,1] x", "float[N,1] z")) == 8
    assert batch_limit(taking("float scale", "float[8,1] x")) == 8
    assert batch_limit(taking("float scale")) is None


def test_samples_to_judge_on(tmp_path: Path) -> None:
    model = taking("float[N,1] x")
    path = saved(tmp_path / "a.npz", x=np.arange(40.0)[:, None], y=np.arange(40) % 4)
    other = saved(tmp_path / "b.npz", x=np.arange(7.0)[:, None], y=np.arange(7) % 4)
    train, judged = open_parts(settings(path, val_share=0.2), model)
    assert (len(train), len(judged)) == (32, 8)
    rows = [b.inputs["x"].ravel() for part in (train, judged) for b in batches(part, 5)]
    assert sorted(np.concatenate(rows)) == list(range(40))
    train, judged = open_parts(settings(path, val_data=str(other)), model)
    assert (len(train), len(judged)) == (40, 7)


@pytest.mark.parametrize("stored", [np.float32(3), np.full(4, 3.0, np.float32)])
def test_an_input_without_axes_gets_its_number_as_it_is(tmp_path: Path, stored: np.ndarray[Any, Any]) -> None:
    path = saved(tmp_path / "a.npz", x=np.arange(4.0).reshape(4, 1), s=stored)
    data = open_data(settings(path), taking("float[N,1] x", "float s"))
    assert len(data) == 4
    found = data.take(np.array([2, 3])).inputs
    assert found["x"].tolist() == [[2], [3]]
    assert found["s"].shape == ()
    assert found["s"] == 3
