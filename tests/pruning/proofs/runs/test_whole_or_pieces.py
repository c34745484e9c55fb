"""What is run as a whole follows from how much memory is free."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from compressor.graph.tensors.weights import weight_bytes
from compressor.pruning.proofs.runs import whole_or_pieces
from compressor.pruning.proofs.runs.piecewise import ExternalWeights, Piecewise
from compressor.pruning.proofs.runs.whole_or_pieces import WHOLE_BYTES, largest_whole, runnable, runnable_file
from compressor.runtime.stored import Stored
from tests.models import between, in_memory


@pytest.mark.parametrize(
    ("free", "largest"), [(None, WHOLE_BYTES), (1 << 60, WHOLE_BYTES), (4_000_000, 1_000_000), (0, 0)]
)
def test_a_model_may_have_a_share_of_what_is_free(free: int | None, largest: int) -> None:
    assert largest_whole(free) == largest


@pytest.mark.parametrize("short", [0, 4])
def test_each_model_is_held_against_what_is_free_then(
    short: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = between("b = Relu(a)")
    onnx.save(proto, tmp_path / "model.onnx")
    source = in_memory(proto)
    size = weight_bytes(source)
    monkeypatch.setattr(whole_or_pieces, "free_memory", lambda: 4 * size - short)
    given = runnable(source, tmp_path, "cpu"), runnable_file(tmp_path / "model.onnx", size, tmp_path, "cpu")
    assert [type(one) for one in given] == ([Piecewise, Piecewise] if short else [ExternalWeights, Stored])
