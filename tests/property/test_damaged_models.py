"""Damaged files: the run succeeds or ends with one of our errors; never with anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compressor import errors
from compressor.commands.prune_file import prune_file
from compressor.config import PruneSettings
from tests.property.graphs import random_model
from tests.property.mutations import mutate


def attempt(seed: int, folder: Path, *, verify: bool) -> str:
    rng = np.random.default_rng(seed)
    model = random_model(rng, size=6)
    mutate(model, rng)
    path, output = folder / "damaged.onnx", folder / "out.onnx"
    path.write_bytes(model.SerializeToString())
    try:
        prune_file(path, output, PruneSettings.parse({"round_to": 1, "verify": verify}))
        outcome = "pruned"
    except errors.CompressorError as error:
        outcome = type(error).__name__
        sentence = str(error)
    else:
        sentence = outcome
    assert output.exists() == (outcome == "pruned"), "an error leaves no file"
    assert sentence.strip()
    output.unlink(missing_ok=True)
    return outcome


@pytest.mark.parametrize("verify", [True, False])
def test_damage_ends_in_a_sentence(tmp_path: Path, verify: bool) -> None:
    outcomes = [attempt(seed, tmp_path, verify=verify) for seed in range(50)]
    assert {"pruned", "ModelError"} <= set(outcomes), "the damage is neither always nor never fatal"
    assert "ProofFailed" not in outcomes, "what is written at all is right"


@pytest.mark.slow
def test_much_damage_ends_in_a_sentence(tmp_path: Path) -> None:
    for seed in range(1000, 4000):
        attempt(seed, tmp_path, verify=bool(seed % 2))
