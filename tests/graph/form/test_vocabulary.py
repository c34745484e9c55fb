"""Vocabularies of fewer tokens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.commands.prune import prune
from compressor.commands.prune_file import prune_file
from compressor.config import PruneSettings
from compressor.errors import CompressorError, ModelError, ProofFailed, UsageError
from compressor.graph.form import vocabulary
from compressor.operators.sizes import infer
from compressor.runtime.stored import run_once
from compressor.steps import tokens as of_tokens
from compressor.steps.tokens import read_tokens
from tests.models import in_memory, model

UNTIED = """(int64[B,T] ids) => (float[B,T,k] logits)
    <float[12,8] table, float[8,8] w, float[8,12] head, float[12] bias> {
        e = Gather(table, ids)  h = MatMul(e, w)  r = Relu(h)  m = MatMul(r, head)  logits = Add(m, bias) }"""
TIED = """(int64[B,T] ids) => (float[B,T,k] logits) <float[12,8] table, float[8,8] w> {
        e = Gather(table, ids)  h = MatMul(e, w)  r = Relu(h)
        turned = Transpose<perm=[1,0]>(table)  logits = MatMul(r, turned) }"""
PADDED = """(int64[B,T] ids) => (float[B,T,k] logits)
    <float[12,8] table, float[8,12] head, int64[1] pad = {5}> {
        e = Gather(table, ids)  same = Equal(ids, pad)  f = Cast<to=1>(same)  last = Unsqueeze(f, minus)
        x = Mul(e, last)  logits = MatMul(x, head) }"""
PADDED = PADDED.replace("int64[1] pad = {5}", "int64[1] pad = {5}, int64[1] minus = {-1}")
CAST = PADDED.replace("e = Gather(table, ids)", "c = Cast<to=6>(ids)  e = Gather(table, c)").replace(
    "same = Equal(ids, pad)", "p = Cast<to=6>(pad)  same = Equal(c, p)"
)
CAPPED = UNTIED.replace("logits = Add(m, bias)", "a = Add(m, bias)  s = Clip(a, low)  logits = Max(s, floor)").replace(
    "float[12] bias", "float[12] bias, float low = {-0.5}, float[12] floor"
)
KEPT = [9, 0, 5, 3]


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.txt"
    path.write_text("\n".join(map(str, KEPT)))
    return path


def settings(tokens: Path, **more: object) -> PruneSettings:
    return PruneSettings.parse({"ratio": 0.0, "round_to": 1, "keep_tokens": tokens, **more})


def logits(found: ir.Model, ids: list[list[int]]) -> np.ndarray:
    (first,) = run_once(found, [{"ids": np.asarray(ids, np.int64)}], "cpu").outputs[0]
    return np.asarray(first, np.float32)


@pytest.mark.parametrize(
    "text", [UNTIED, TIED, PADDED, CAST, CAPPED], ids=["untied", "tied", "padded", "cast", "capped"]
)
def test_kept_tokens_have_the_scores_that_they_had(text: str, tokens: Path) -> None:
    source = in_memory(model(text))
    result = prune(source, settings(tokens))
    old = sorted(KEPT)
    new = [[0, 1, 2, 3], [3, 2, 2, 0]]
    expected = logits(in_memory(model(text)), [[old[k] for k in row] for row in new])[..., old]
    np.testing.assert_allclose(logits(result.model, new), expected, rtol=1e-5, atol=1e-6)
    assert result.report.proof is not None
    assert result.report.proof.passed
    assert not result.report.proof.not_proved


def test_a_plan_is_replayed_beside_fewer_tokens(tokens: Path) -> None:
    """It holds channels alone, which both vocabularies have."""
    first = prune(in_memory(model(UNTIED)), settings(tokens, ratio=0.5))
    again = prune(in_memory(model(UNTIED)), settings(tokens), plan=first.plan)
    assert again.plan == first.plan
    ids = [[0, 1, 2, 3]]
    np.testing.assert_array_equal(logits(again.model, ids), logits(first.model, ids))


def test_a_tied_table_stays_one() -> None:
    source = in_memory(model(TIED))
    vocabulary.keep_tokens(source, infer(source), KEPT)
    assert {name: list(v.shape or ()) for name, v in source.graph.initializers.items()} == {
        "table": [4, 8],
        "w": [8, 8],
    }


def test_channels_go_beside(tokens: Path) -> None:
    result = prune(in_memory(model(UNTIED)), settings(tokens, ratio=0.5))
    assert sum(row.removed for row in result.report.groups) == 8
    assert list(result.model.graph.outputs[0].shape or ())[-1] == 4


def test_a_file_and_its_mapping(tokens: Path, tmp_path: Path) -> None:
    onnx.save(model(UNTIED), tmp_path / "in.onnx")
    result = prune_file(tmp_path / "in.onnx", tmp_path / "out.onnx", settings(tokens))
    assert json.loads((tmp_path / "out.tokens.json").read_text()) == sorted(KEPT)
    assert result.report.output is not None
    assert result.report.output.params < result.report.input.params
    assert result.report.output.macs < result.report.input.macs


@pytest.mark.parametrize(("text", "found"), [("3 1\n1", [1, 3]), ("[4, 2]", [2, 4])])
def test_forms_of_the_file(text: str, found: list[int], tmp_path: Path) -> None:
    (tmp_path / "t").write_text(text)
    assert read_tokens(tmp_path / "t") == found


@pytest.mark.parametrize(
    ("text", "content", "message"),
    [
        (UNTIED, "a b", "give a file with the numbers of tokens"),
        (UNTIED, "", "names no token"),
        (UNTIED, "12", "names token 12, and the model has tokens 0 to 11"),
        (UNTIED, "-1", "names token -1"),
        (UNTIED.replace("e = Gather(table, ids)", "j = Concat<axis=1>(ids, ids)  e = Gather(table, j)"), "1",
         "finds no token table"),
        ("(float[N,4] x) => (float[N,k] y) <float[4,4] w> { y = MatMul(x, w) }", "1", "finds no token table"),
        (UNTIED.replace("logits = Add(m, bias)", "logits = Softmax(m)"), "1", "is made by Softmax"),
        (TIED.replace("logits =", "u = MatMul(turned, table)  q =").replace("q =", "p = MatMul(r, u)  logits ="), "1",
         "which holds tokens, too"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t").write_text(content)
    with pytest.raises((UsageError, ModelError), match=message):
        prune(in_memory(model(text)), settings(tmp_path / "t"))


@pytest.mark.parametrize("word", ["7.5", "x", "9" * 5000, "\x1b[31m"])
def test_what_is_no_number_of_a_token(tmp_path: Path, word: str) -> None:
    (tmp_path / "t").write_text(f"1 {word}")
    with pytest.raises(UsageError, match="is no number of a token") as caught:
        read_tokens(tmp_path / "t")
    assert len(str(caught.value)) < 250
    assert "\x1b" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_tokens(tmp_path / "none")


def test_data_has_the_old_numbers(tokens: Path) -> None:
    with pytest.raises(UsageError, match="or --keep-tokens"):
        prune(in_memory(model(UNTIED)), settings(tokens, recover="lstsq"))


def test_a_wrong_row_is_noticed(tokens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model keeps other rows than the reference."""
    right = vocabulary._Change

    def wrong(graph: ir.Graph, shapes: object, kept: np.ndarray, size: int) -> object:
        return right(graph, shapes, (kept + 1) % size, size)  # type: ignore[arg-type]

    monkeypatch.setattr(vocabulary, "_Change", wrong)
    with pytest.raises(CompressorError):
        prune(in_memory(model(UNTIED)), settings(tokens))


def test_other_tokens_than_asked_for_are_noticed(tokens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong in all places alike: the model itself is consistent, and of other tokens than its mapping says."""
    right = vocabulary._checked
    monkeypatch.setattr(vocabulary, "_checked", lambda tokens, size: right([(t + 1) % size for t in tokens], size))
    with pytest.raises(ProofFailed, match="does not hold what the original has for these tokens"):
        prune(in_memory(model(UNTIED)), settings(tokens))
    # By its runs as well, with the file itself.
    monkeypatch.setattr(of_tokens, "demand_rows", lambda *_: None)
    with pytest.raises(ProofFailed, match="differs from the file that was read"):
        prune(in_memory(model(UNTIED)), settings(tokens))
