"""Files whose weights are packed: they are known, give plain weights back, and are told of when they are pruned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from compressor.commands.prune import prune
from compressor.commands.unify import unify_file
from compressor.config import PruneSettings, UnifySettings
from compressor.graph.disk.files import load_model
from compressor.graph.form.restore_packed import is_packed, with_plain_weights
from compressor.steps.prune.defaults import RESIZED, UNPACKED
from tests.models import model

NET = """(float[n,16] x) => (float[n,8] y) <float[16,64] w, float[64,64] u, float[64,8] v> {
    a = MatMul(x, w) b = Relu(a) c = MatMul(b, u) d = Relu(c) y = MatMul(d, v) }"""


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    onnx.save(model(NET), tmp_path / "net.onnx")
    unify_file(tmp_path / "net.onnx", tmp_path / "packed.onnx", UnifySettings(block="1x4", all_layers=True))
    return tmp_path / "packed.onnx"


def test_plain_weights_come_back(packed: Path) -> None:
    found = load_model(packed)
    assert is_packed(found)
    plain = with_plain_weights(found)
    assert not is_packed(plain)
    weight = plain.graph.initializers["u"].const_value
    assert weight is not None
    blocks = np.abs(weight.numpy()).T.reshape(64, 16, 4)
    assert np.allclose(blocks, blocks[..., :1]) or np.allclose(
        held := np.abs(weight.numpy()).reshape(64, 16, 4), held[..., :1]
    )


def test_who_prunes_packed_weights_is_told(packed: Path) -> None:
    assert UNPACKED in prune(packed, PruneSettings(ratio=0.5)).report.warnings
    plain = packed.with_name("net.onnx")
    assert UNPACKED not in prune(plain, PruneSettings(ratio=0.5)).report.warnings


def test_a_bare_cut_of_other_sizes_lacks_nothing(packed: Path) -> None:
    plain = packed.with_name("net.onnx")
    asked = {"ratio": 0.5, "free_outputs": ["y"]}
    assert RESIZED not in prune(plain, PruneSettings.parse({**asked, "recover": "none"})).report.warnings
    assert RESIZED in prune(plain, PruneSettings.parse({**asked, "recover": "auto"})).report.warnings
