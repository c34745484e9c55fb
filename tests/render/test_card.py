"""Model cards: true, readable, and not to be broken by names."""

from __future__ import annotations

import onnx
import pytest

import compressor
from compressor.errors import UsageError
from compressor.render.card import card, write_card
from tests.models import between


def test_a_card_names_sizes_ends_steps_and_the_file(tmp_path) -> None:
    result = compressor.prune(between("b = Relu(a)"), round_to=1)
    compressor.save(result, tmp_path / "small.onnx", card=tmp_path / "card.md")
    text = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "| input | x | FLOAT | 3 x 4 x 6 x 6 |" in text
    assert "### 1. prune" in text
    assert '`{"round_to": 1}`' in text
    assert "| proof | passed, error " in text
    assert text.count("\n\n\n") == 0


def test_a_card_tells_what_recovery_came_after_and_how_near_outputs_are(tmp_path) -> None:
    result = compressor.prune(between("b = Relu(a)"), round_to=1, recover="bias")
    compressor.save(result, tmp_path / "small.onnx", card=tmp_path / "card.md")
    text = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "| proof | passed before recovery, error " in text
    assert "| outputs | outputs are off by " in text


def test_a_card_names_the_file_that_it_was_made_of(tmp_path) -> None:
    onnx.save(between("b = Relu(a)"), str(tmp_path / "net.onnx"))
    result = compressor.prune(tmp_path / "net.onnx", round_to=1)
    compressor.save(result, tmp_path / "small.onnx", card=tmp_path / "card.md")
    text = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "A compressed ONNX model, made of net.onnx. Inputs" in text
    assert str(tmp_path) not in text


def test_names_cannot_write_into_it(tmp_path) -> None:
    proto = between("b = Relu(a)")
    proto.graph.input[0].name = proto.graph.node[0].input[0] = "x | <script>\n# title"
    onnx.save(proto, str(tmp_path / "net.onnx"))
    text = card(tmp_path / "net.onnx", compressor.inspect(tmp_path / "net.onnx"))
    assert "<script>" not in text.replace("\\<", "")
    assert "\n# title" not in text


@pytest.mark.parametrize("old", [True, False])
def test_without_its_card_no_model_is_written(tmp_path, old) -> None:
    result, place = compressor.clean(between("b = Relu(a)")), tmp_path / "small.onnx"
    if old:
        place.write_text("old")
    with pytest.raises(UsageError, match="cannot be written"):
        compressor.save(result, place, card=tmp_path / "absent" / "card.md")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"] * old


def test_there_is_no_card_without_a_file(tmp_path) -> None:
    report = compressor.inspect(between("b = Relu(a)"))
    with pytest.raises(UsageError, match="leave --dry-run out"):
        write_card(tmp_path / "card.md", None, report)
    with pytest.raises(UsageError, match="give the result"):
        compressor.save(compressor.prune(between("b = Relu(a)")).model, tmp_path / "a.onnx", card=tmp_path / "c.md")
