"""Joined models that run as their files."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from compressor.config import PruneSettings
from compressor.errors import ModelError, ProofFailed
from compressor.graph.disk.files import load_model
from compressor.graph.disk.joined import join, joined_of
from compressor.graph.tensors.weights import with_weights
from compressor.pruning.proofs.proof import prove_written
from compressor.pruning.proofs.runs.chained import runnable_given, runnable_written
from compressor.runtime.stored import Stored, run_once
from tests.graph.disk.joined_files import DECODER, ENCODER, written
from tests.models import model

FEED = {"x": np.float32([[[1, 2, 3, 4]] * 3]), "decoder.x": np.float32([[[4, 3, 2, 1]] * 2])}


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [written(tmp_path / "encoder.onnx", ENCODER), written(tmp_path / "decoder.onnx", DECODER)]


def test_files_in_a_row_give_what_the_whole_gives(paths: list[Path], tmp_path: Path) -> None:
    whole = join(load_model(paths[0]), paths[0], [(paths[1], {})])
    joined = joined_of(whole)
    assert joined is not None
    chain = runnable_given(joined, whole, tmp_path, "cpu")
    found, expected = chain.run([FEED]), run_once(whole, [FEED], "cpu")
    assert found.names == expected.names
    np.testing.assert_allclose(found.outputs[0][0], expected.outputs[0][0], rtol=1e-5)
    doubled = chain.changed(partial(with_weights, change=lambda name, rows, first: rows * np.float32(2)), tmp_path)
    assert doubled.run([FEED]).outputs[0][0].shape == found.outputs[0][0].shape
    assert not np.allclose(doubled.run([FEED]).outputs[0][0], found.outputs[0][0])
    tried = chain.open().tried([{"x": FEED["x"]}, FEED, FEED], 1)
    assert len(tried.runs) == 1
    assert isinstance(tried.problem, ModelError), "the first feed lacks an input"


def test_a_file_that_differs_is_noticed(paths: list[Path], tmp_path: Path) -> None:
    whole = join(load_model(paths[0]), paths[0], [(paths[1], {})])
    prove_written(paths, PruneSettings(), whole, None)
    other = tmp_path / "other.onnx"
    onnx.save(model(DECODER, seed=3), other)
    with pytest.raises(ProofFailed, match="of the written file is another than was proved"):
        prove_written([paths[0], other], PruneSettings(), whole, None)


def test_only_what_was_written_is_loaded_as_its_users_load_it(paths: list[Path], tmp_path: Path) -> None:
    whole = load_model(paths[0])
    given = runnable_given(paths[0], whole, tmp_path, "cpu")
    written_file = runnable_written([paths[0]], whole, tmp_path, "cpu", optimised=True)
    assert (given, written_file) == (Stored(paths[0], "cpu"), Stored(paths[0], "cpu", optimised=True))
