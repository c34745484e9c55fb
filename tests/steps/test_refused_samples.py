"""A failed run on the user's samples: told as what it is, where the original does not take them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from compressor.cli.main import compress
from compressor.data import open_data
from compressor.errors import DoesNotRun, UsageError
from compressor.graph.disk import files
from compressor.runtime import sessions
from compressor.steps.refused_samples import samples_tried
from tests.data.case import saved, settings
from tests.models import model

TOKENS = """(int64[n,t] ids, float[n,t] mask) => (float[n,t,5] y)
<float[20,8] stored, float[8,32] w, float[32,32] u, float[32,5] v> {
    table = Neg(stored)
    a = Gather(table, ids)
    one = Constant<value = int64[1] {2}>()
    m = Unsqueeze(mask, one)
    b = Mul(a, m)
    c = MatMul(b, w)
    d = Relu(c)
    e = MatMul(d, u)
    y = MatMul(e, v)
}"""
STORED = TOKENS.replace("Gather(table", "Gather(stored")
PICTURES = """(float[n,3,h,w] x) => (float[n,10] y) <float[8,3,3,3] k, float[10,128] f> {
    a = Conv<pads=[1,1,1,1], strides=[4,4]>(x, k)
    b = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a)
    c = Flatten(b)
    y = Gemm<transB=1>(c, f)
}"""


def written(folder: Path, text: str) -> Path:
    onnx.save(model(text), folder / "net.onnx")
    return folder / "net.onnx"


def tokens(folder: Path, wrong: int) -> Path:
    ids = np.random.default_rng(0).integers(0, 20, (12, 6))
    ids[9, 2] = wrong
    return saved(folder / "ids.npz", ids=ids, mask=np.ones((12, 6), np.float32))


def tried(path: Path, data: Path) -> None:
    original, asked = files.load_model(path), settings(data, batch_size=4)
    with samples_tried(lambda: original, asked), sessions.opened(original, "cpu") as session:
        sessions.run_session(session, open_data(asked, original).take(np.arange(12)).inputs)


def test_an_index_beyond_a_stored_table_is_told_before_any_work(tmp_path: Path) -> None:
    net, data = written(tmp_path, STORED), tokens(tmp_path, 20)
    result = CliRunner().invoke(compress, ["prune", str(net), "--data", str(data), "-o", str(tmp_path / "out.onnx")])
    assert result.exit_code == 2
    assert "holds 20 in sample 9, and input 'ids' picks from a table of 20 (node" in result.stderr


def test_an_index_beyond_a_table_is_told_with_input_table_and_sample(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"input 'ids' takes whole numbers from 0 to 19.* to 20 in sample 9"):
        tried(written(tmp_path, TOKENS), tokens(tmp_path, 20))


def test_indices_of_the_table_pass(tmp_path: Path) -> None:
    tried(written(tmp_path, TOKENS), tokens(tmp_path, 19))


def test_sizes_that_do_not_fit_further_inside_are_told_with_some_that_do(tmp_path: Path) -> None:
    data = saved(tmp_path / "large.npz", x=np.zeros((12, 3, 12, 12), np.float32))
    with pytest.raises(UsageError, match=r"of these sizes \('x' 3x12x12\).*such as 'x' 3x32x32"):
        tried(written(tmp_path, PICTURES), data)


def test_a_run_that_fails_on_something_else_keeps_its_error(tmp_path: Path) -> None:
    path, data = written(tmp_path, TOKENS), tokens(tmp_path, 3)
    with (
        pytest.raises(DoesNotRun, match="of another model"),
        samples_tried(lambda: files.load_model(path), settings(data)),
    ):
        raise DoesNotRun("of another model")


@pytest.mark.parametrize(
    "words",
    [
        "prune {net} --ratio 0.3",
        "quantize {net} --mode static",
        "sensitivity {net} --jobs 1",
        "verify {net} {net}",
        "robustness {net} {net}",
        "finetune {net} --teacher {net} --epochs 1",
        "unify {net} --epochs 1",
    ],
)
def test_every_command_says_it(tmp_path: Path, words: str) -> None:
    net, out = written(tmp_path, TOKENS), tmp_path / "out.json"
    written_to = [] if words.startswith(("verify", "robustness")) else ["-o", str(out)]
    given = [*words.format(net=net).split(), "--data", str(tokens(tmp_path, 20)), *written_to]
    result = CliRunner().invoke(compress, given)
    assert result.exit_code == 2, result.output
    assert "input 'ids' takes whole numbers from 0 to 19" in result.stderr
    assert not out.exists()
