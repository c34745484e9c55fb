"""Operators that a file teaches: what it says is read strictly, and believed no more than the proof shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.commands.inspect import inspect_file
from compressor.commands.prune import prune
from compressor.commands.prune_file import prune_file
from compressor.config import PruneSettings
from compressor.errors import NothingToPrune, ProofFailed, UsageError
from compressor.graph.ir.nodes import become_identity
from compressor.operators.carried import taught
from compressor.operators.table import operator_of
from compressor.operators.taught import read_records
from tests.models import in_memory, model

SAMPLE = {"operator": "com.microsoft::SampleOp", "signature": "*s -> *s"}
"""It hands its input on."""
TRUNK = """(float[5,8] x) => (float[n,c] y) <float[8,16] w, float[16,6] v, float[6,2] head> {
    a = MatMul(x, w)  b = com.microsoft.SampleOp(a)  z = MatMul(b, v)  y = MatMul(z, head) }"""
DISTANCE = """(float[5,8] x) => (float[n,c] y) <float[8,16] w, float[10,16] u, float[10,2] head> {
    a = MatMul(x, w)  b = com.microsoft.CDist<metric="sqeuclidean">(a, u)  y = MatMul(b, head) }"""


def written(folder: Path, *entries: dict[str, str]) -> Path:
    path = folder / "rules.yaml"
    rows = [[f"{'- ' if k == 0 else '  '}{key}: {value}" for k, (key, value) in enumerate(
        (key, f'"{value}"' if key in ("signature", "operator") else value) for key, value in entry.items())]
        for entry in entries]  # fmt: skip
    path.write_text("operators:\n" + "\n".join(row for entry in rows for row in entry) + "\n")
    return path


def removed(folder: Path, text: str, *entries: dict[str, str]) -> dict[str, int]:
    more = {"op_rules": written(folder, *entries)} if entries else {}
    settings = PruneSettings.parse({"ratio": 0.5, "round_to": 1, "recover": "none", **more})
    report = prune(in_memory(model(text, domains=("com.microsoft",), checked=False)), settings).report
    assert report.proof is not None
    assert report.proof.passed
    return {row.name: row.removed for row in report.groups}


def test_what_is_taught_lets_channels_through(tmp_path: Path) -> None:
    assert removed(tmp_path, TRUNK) == {"v": 3}
    assert removed(tmp_path, TRUNK, SAMPLE) == {"w": 8, "v": 3}


def test_sums_are_masked(tmp_path: Path) -> None:
    """Distances run over the channels: without ``factors`` the reference counts what goes, and the proof fails."""
    good = {"operator": "com.microsoft::CDist", "signature": "m k, n k -> m n", "factors": "[0, 1]"}
    assert removed(tmp_path, DISTANCE, good) == {"w": 8, "u": 5}
    with pytest.raises(ProofFailed):
        removed(tmp_path, DISTANCE, {k: v for k, v in good.items() if k != "factors"})


def test_a_wrong_rule_never_leads_to_a_file(tmp_path: Path) -> None:
    """Channels reversed, so to say: the axes of the operands are named the wrong way round."""
    wrong = {"operator": "com.microsoft::CDist", "signature": "m k, k n -> m n", "factors": "[0, 1]"}
    with pytest.raises((NothingToPrune, ProofFailed)):
        removed(tmp_path, DISTANCE, wrong)


def test_inspect_reads_them_too(tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(model(TRUNK, domains=("com.microsoft",), checked=False).SerializeToString())
    settings = PruneSettings.parse({"ratio": 0.5, "op_rules": written(tmp_path, SAMPLE)})
    assert {row.name for row in inspect_file(source, settings).groups} == {"w", "v"}


def test_records_hold_for_one_model_only(tmp_path: Path) -> None:
    """The given model stays as it is, and copies keep what was taught."""
    source = in_memory(model(TRUNK, domains=("com.microsoft",), checked=False))
    told = taught(source, PruneSettings.parse({"ratio": 0.5, "op_rules": written(tmp_path, SAMPLE)}))
    assert [operator_of(node).coupled for node in source.graph] == [True, False, True, True]
    assert all(operator_of(node).coupled for node in told.graph)
    assert all(operator_of(node).coupled for node in told.clone().graph)
    become_identity(told.graph[1], told.graph[1].inputs[0])
    assert operator_of(told.graph[1]).name == "Identity"


def test_what_was_taught_is_counted_in_the_written_file_too(tmp_path: Path) -> None:
    source, output = tmp_path / "model.onnx", tmp_path / "small.onnx"
    source.write_bytes(model(DISTANCE, domains=("com.microsoft",), checked=False).SerializeToString())
    rule = {"operator": "com.microsoft::CDist", "signature": "m k, n k -> m n", "factors": "[0, 1]"}
    settings = PruneSettings.parse(
        {"ratio": 0.5, "round_to": 1, "recover": "none", "op_rules": written(tmp_path, rule)}
    )
    report = prune_file(source, output, settings).report
    assert report.output is not None
    # Rows of x times two products and the distances to the rows of u; half of their axes go.
    wanted = [5 * (8 * 16 + 16 * 10 + 10 * 2), 5 * (8 * 8 + 8 * 5 + 5 * 2)]
    assert [report.input.macs, report.output.macs] == wanted
    assert report.input.uncounted == report.output.uncounted == 0


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"signature": "c -> c"}, "the key 'operator' is missing"),
        ({"operator": "a::B"}, "the key 'signature' is missing"),
        ({"operator": "Relu", "signature": "c -> c"}, "write the operator as domain::Name"),
        ({"operator": "ai.onnx::Relu", "signature": "c -> c"}, "write the operator as domain::Name"),
        ({"operator": "com.microsoft::MoE", "signature": "c -> c"}, "is built in"),
        ({"operator": "a::B", "signatur": "c -> c"}, "did you mean 'signature'"),
        ({"operator": "a::B", "signature": "c, c"}, "write operands, -> and outputs"),
        ({"operator": "a::B", "signature": "c -> c -> c"}, "write operands, -> and outputs"),
        ({"operator": "a::B", "signature": "(g (h c)) -> c"}, "cannot read '\\(g \\(h c\\)\\)'"),
        ({"operator": "a::B", "signature": "[c -> c"}, "cannot read '\\[c'"),
        ({"operator": "a::B", "signature": "n c! -> n c"}, "cannot read 'n c!'"),
        ({"operator": "a::B", "signature": "*a *b -> *a"}, "at most one item with a star"),
        ({"operator": "a::B", "signature": "n c -> n q"}, "'q' is in no operand; write \\[q\\]"),
        ({"operator": "a::B", "signature": "c -> c", "factors": "[0, 1]"}, "below 1, each once"),
        ({"operator": "a::B", "signature": "c, c -> c", "factors": "[0, 0]"}, "each once"),
        ({"operator": "a::B", "signature": "c, c -> c", "factors": "[²]"}, "each once"),
        ({"operator": "a::B", "signature": "c -> c", "bias": "-1"}, "bias are inputs by number"),
        ({"operator": "a::B", "signature": "c -> c", "sizes": "{g: group}"}, "'g' is no name of its signature"),
        ({"operator": "a::B", "signature": "c -> c", "sizes": "{c: 0}"}, "'0' is no attribute"),
        ({"operator": "a::B", "signature": "c -> c", "work": "n c"}, "'n' is no name of its signature"),
        ({"operator": "a::B", "signature": "c -> c", "pointwise": "perhaps"}, "true or false"),
    ],
)
def test_what_is_no_record(tmp_path: Path, entry: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_records(written(tmp_path, entry))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "one key operators"),
        ("operators: []", "one key operators"),
        ("operators: x", "one key operators"),
        ("operators: [x]\nmore: y", "one key operators"),
        ("operators: [x]", "is a mapping with the keys"),
        ("operators: [{operator: 'a::B', operator: 'a::C'}]", "comes twice"),
        ("operators: &a [*a]", "references"),
        ("operators: [" + "[" * 30, "nested too deeply|cannot be read"),
    ],
)
def test_what_is_no_file_of_rules(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_records(path)


def test_one_operator_twice(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="in this file already"):
        read_records(written(tmp_path, SAMPLE, SAMPLE))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_records(tmp_path / "nothing.yaml")
