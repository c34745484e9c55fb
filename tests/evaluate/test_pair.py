"""Two models that are held against each other: what has to agree, and the inputs that both take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from compressor.commands.bench import bench
from compressor.commands.robustness import robustness
from compressor.commands.verify import verify
from compressor.config import RunSettings
from compressor.config.bench import BenchSettings
from compressor.config.robustness import RobustnessSettings
from compressor.config.verify import VerifySettings
from compressor.errors import UsageError
from compressor.evaluate import pair
from compressor.evaluate.pair import Opened, open_model
from tests.models import model

NET = "(float[n,4] x, int64[n,t] i) => (float[n,4] y, int64[n,t] j) { y = Relu(x) j = Identity(i) }"


def opened(folder: Path, text: str = NET) -> Opened:
    path = folder / f"{len(list(folder.iterdir()))}.onnx"
    onnx.save(model(text), path)
    return pair.open_model(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("", ""), None),
        (("float[", "float16["), None),  # a half-precision copy is held against its original
        (("n,4", "8,4"), None),  # open sizes agree with any
        (("int64[n,t]", "int32[n,t]"), "is int64 in"),
        (("n,4", "n,5"), "only models with the same inputs"),
        (("n,4", "n,4,1"), "only models with the same inputs"),
    ],
)
def test_signatures_agree(tmp_path: Path, change: tuple[str, str], said: str | None) -> None:
    one, two = opened(tmp_path), opened(tmp_path, NET.replace(*change))
    if said is None:
        pair.demand_comparable(one, two)
        return
    with pytest.raises(UsageError, match=said):
        pair.demand_comparable(one, two)


def test_another_output_is_told_but_no_matter_of_inputs(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path, NET.replace("] j)", "] k)").replace("j =", "k ="))
    pair.demand_same_inputs(one, two)
    with pytest.raises(UsageError, match="different outputs"):
        pair.demand_comparable(one, two)


def test_open_sizes_and_who_fixes_them(tmp_path: Path) -> None:
    one = opened(tmp_path)
    two = opened(tmp_path, NET.replace("n,4", "3,4").replace("n,t", "n,7"))
    assert pair.fixed_by(two, one) == {"n": 3, "t": 7}
    assert pair.fixed_by(one, two) == {}
    assert pair.batch_symbols(one, RunSettings()) == {"n"}
    assert pair.open_symbols(one, RunSettings()) == {"n", "t"}
    assert pair.open_symbols(one, RunSettings.parse({"dims": {"t": 5}})) == {"n"}
    assert pair.open_symbols(one, RunSettings.parse({"input_shapes": {"i": [2, 5]}})) == set()


def test_axes_without_a_name_get_one_each(tmp_path: Path) -> None:
    found = opened(tmp_path, "(float[?,?] x) => (float[?,?] y) { y = Relu(x) }")
    assert pair.open_symbols(found, RunSettings()) == {"x#0", "x#1"}


@pytest.mark.parametrize(
    ("shapes", "asked", "size"),
    [
        ([(4, 2), (4,)], None, 4),
        ([(4, 2), (4,)], 4, 4),
        ([(4, 2), ()], 4, 4),
        ([(4, 2), (3,)], 8, None),
        ([(4, 2)], 8, "fixes its batch to 4"),
    ],
)
def test_the_batch_of_inputs(shapes: list[tuple[int, ...]], asked: int | None, size: int | str | None) -> None:
    inputs = {f"x{k}": np.zeros(shape) for k, shape in enumerate(shapes)}
    if isinstance(size, str):
        with pytest.raises(UsageError, match=size):
            pair.batch_of(inputs, asked)
        return
    assert pair.batch_of(inputs, asked) == size


def test_seeded_inputs_and_their_types(tmp_path: Path) -> None:
    one, half = opened(tmp_path), opened(tmp_path, NET.replace("float[", "float16["))
    shapes = pair.bind(one, RunSettings.parse({"dims": {"t": 5}}), {"n": 3, "t": 9})
    arrays = pair.seeded(one, shapes, 0)
    assert {name: array.shape for name, array in arrays.items()} == {"x": (3, 4), "i": (3, 5)}, "the user's sizes win"
    assert pair.seeded(one, shapes, 0, {"x": (2, 4), "i": (2, 6)})["i"].shape == (2, 6)
    found = pair.cast({**arrays, "z": np.zeros(1)}, half)
    assert {name: str(array.dtype) for name, array in found.items()} == {"x": "float16", "i": "int64"}


TEXT = "(float[n,8] x) => (float[n,8] y) <float[8] w, float[8] s> { a = Add(x, w)  y = LayerNormalization(a, s) }"


def deadly(path: Path) -> Path:
    """ONNX Runtime dies of an Add and a LayerNormalization whose bias is an empty name."""
    proto = model(TEXT)
    proto.graph.node[1].input.append("")
    onnx.save(proto, path)
    return path


def test_a_file_that_would_end_the_process_is_run_as_a_copy(tmp_path: Path) -> None:
    path = deadly(tmp_path / "in.onnx")
    opened = open_model(path)
    copy = opened.runs
    assert opened.path == path != copy
    assert [len(node.input) for node in onnx.load(copy).graph.node] == [2, 2]
    del opened
    assert not copy.parent.exists()


def test_a_file_that_runs_is_not_copied(tmp_path: Path) -> None:
    onnx.save(model(TEXT), path := tmp_path / "in.onnx")
    assert open_model(path).runs == path


def test_commands_on_two_files_live_through_left_out_inputs(tmp_path: Path) -> None:
    path = deadly(tmp_path / "in.onnx")
    assert verify(path, path, VerifySettings()).passed
    assert bench(path, None, BenchSettings(runs=10, seconds=0.01, warmup_seconds=0.01, rounds=2)).runs
    assert robustness(path, [path], RobustnessSettings(samples=4, draws=2)).models
