"""Files that are joined, and fall apart again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from compressor.errors import CompressorError, ModelError, TargetOutOfReach, UsageError
from compressor.graph.disk.files import load_model
from compressor.graph.disk.joined import Joined, join, joined_of, split
from compressor.graph.form.clean import drop_identities
from compressor.runtime.stored import run_once
from tests.graph.disk.joined_files import DECODER, ENCODER, written
from tests.models import in_memory, model, weight

OTHER = DECODER.replace("state", "given")


@pytest.fixture
def decoder(tmp_path: Path) -> Path:
    return written(tmp_path / "decoder.onnx", DECODER)


def first() -> onnx.ModelProto:
    return model(ENCODER, seed=1)


def test_the_whole_gives_what_the_files_give_one_after_the_other(decoder: Path) -> None:
    x, z = np.float32([[[1, 2, 3, 4]] * 3]), np.float32([[[4, 3, 2, 1]] * 2])
    state = run_once(in_memory(first()), [{"x": x}], "cpu").outputs[0][0]
    expected = run_once(load_model(decoder), [{"x": z, "state": state}], "cpu").outputs[0][0]
    whole = join(in_memory(first()), None, [(decoder, {})])
    assert [str(v.name) for v in whole.graph.inputs] == ["x", "decoder.x"]
    found = run_once(whole, [{"x": x, "decoder.x": z}], "cpu")
    assert found.names == ["y"]
    np.testing.assert_allclose(found.outputs[0][0], expected, rtol=1e-6)


def test_open_sizes_of_what_is_handed_over_are_the_same_and_others_are_not(decoder: Path) -> None:
    whole = join(in_memory(first()), None, [(decoder, {})])
    assert [str(v.shape) for v in whole.graph.inputs] == ["[B,T,4]", "[B,decoder.T,4]"]


def test_split_gives_back_every_name_and_size(decoder: Path) -> None:
    whole = join(in_memory(first()), None, [(decoder, {})])
    drop_identities(whole)
    for found, text in zip(split(whole), (first(), model(DECODER)), strict=True):
        given = in_memory(text)
        for mine, theirs in ((found.graph.inputs, given.graph.inputs), (found.graph.outputs, given.graph.outputs)):
            assert [(v.name, str(v.shape), v.dtype) for v in mine] == [(v.name, str(v.shape), v.dtype) for v in theirs]
        assert {str(n.name) for n in found.graph} == {str(n.name) for n in given.graph}
        assert set(found.graph.initializers) == set(given.graph.initializers)
        np.testing.assert_array_equal(weight(found, "w"), weight(given, "w"))


def test_several_files_may_read_the_same_output(decoder: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "other.onnx", OTHER)
    whole = join(in_memory(first()), None, [(decoder, {}), (other, {"given": "state"})])
    names = [[str(v.name) for v in part.graph.inputs] for part in split(whole)]
    assert names == [["x"], ["x", "state"], ["x", "given"]]
    joined = joined_of(whole)
    assert isinstance(joined, Joined)
    assert joined.outputs == ("y", "other.y")


def test_a_file_that_is_given_twice_is_refused(decoder: Path) -> None:
    other = decoder.parent / "." / decoder.name
    with pytest.raises(UsageError, match=r"decoder\.onnx is given twice"):
        join(in_memory(first()), None, [(decoder, {}), (other, {})])
    with pytest.raises(UsageError, match="is given twice"):
        join(load_model(decoder), decoder, [(other, {})])


def test_one_file_is_no_joined_model() -> None:
    alone = in_memory(first())
    assert joined_of(alone) is None
    assert split(alone) == [alone]


def test_results_that_became_one_stay_two(tmp_path: Path) -> None:
    twice = ENCODER.replace("=> (float[B,T,6] state)", "=> (float[B,T,6] state, float[B,T,6] copy)")
    twice = twice.replace("state = MatMul(r, v)", "state = MatMul(r, v)  copy = Identity(state)")
    whole = join(in_memory(model(twice)), None, [(written(tmp_path / "decoder.onnx", DECODER), {})])
    drop_identities(whole)
    found = split(whole)[0]
    assert [str(v.name) for v in found.graph.outputs] == ["state", "copy"]
    one, two = run_once(found, [{"x": np.ones((1, 2, 4), np.float32)}], "cpu").outputs[0]
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", ["state", "given"])
def test_a_result_may_be_the_input_that_is_handed_over(tmp_path: Path, name: str) -> None:
    echo = DECODER.replace("=> (float[B,T,5] y)", "=> (float[B,S,6] state, float[B,T,5] y)").replace("state", name)
    path = written(tmp_path / "decoder.onnx", echo)
    whole = join(in_memory(first()), None, [(path, {name: "state"})])
    drop_identities(whole)
    found = split(whole)[1]
    assert [str(v.name) for v in found.graph.outputs] == [name, "y"]
    feed = {"x": np.ones((1, 2, 4), np.float32), name: np.ones((1, 3, 6), np.float32)}
    for mine, theirs in zip(
        run_once(found, [feed], "cpu").outputs[0], run_once(load_model(path), [feed], "cpu").outputs[0], strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("text", "pairs", "kind", "words"),
    [
        (OTHER, {}, UsageError, "none of its inputs (x, given) is called like an output before it; there are state"),
        (DECODER, {"z": "state"}, UsageError, "it has no input 'z'; it has x, state"),
        (DECODER, {"state": "z"}, UsageError, "no file before it has an output 'z'; there are state"),
        (DECODER, {"x": "state"}, UsageError, "two of its inputs are to be 'state'"),
        (DECODER.replace("S,6] state", "S,7] state"), {}, ModelError, "join what fits"),
        (DECODER.replace("float[B,S,6] state", "double[B,S,6] state"), {}, ModelError, "is DOUBLE, and output"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, text: str, pairs: dict[str, str], kind: type[CompressorError], words: str
) -> None:
    path = tmp_path / "decoder.onnx"
    onnx.save(model(text.replace("=> (float[B,T,5] y)", "=> (float y)"), checked=False), path)
    with pytest.raises(kind) as caught:
        join(in_memory(first()), None, [(path, pairs)])
    assert words in str(caught.value)


def test_other_meanings_of_an_operator_are_refused(tmp_path: Path) -> None:
    old = DECODER.replace("<keepdims=1>(state, axes)", "<axes=[1], keepdims=1>(state)")
    path = tmp_path / "decoder.onnx"
    onnx.save(model(old.replace(", int64[1] axes = {1}", ""), opset=17), path)
    with pytest.raises(ModelError, match=r"decoder\.onnx uses ReduceMean of opset 17"):
        join(in_memory(first()), None, [(path, {})])


def test_what_nothing_reads_any_more_is_told(decoder: Path) -> None:
    whole = join(in_memory(first()), None, [(decoder, {})])
    handed = next(node for node in whole.graph if node.meta)
    handed.meta.clear()
    with pytest.raises(TargetOutOfReach, match="nothing reads 'state'"):
        split(whole)
