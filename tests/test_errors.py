"""The exit codes are a promise to scripts."""

from __future__ import annotations

import pytest

from compressor import errors

EXIT_CODES = {
    "CompressorError": 1,
    "UsageError": 2,
    "PlanError": 2,
    "ModelError": 3,
    "DoesNotRun": 3,
    "NotPossible": 4,
    "NothingToPrune": 4,
    "TargetOutOfReach": 4,
    "ProofFailed": 5,
    "GateMissed": 6,
    "ProviderUnavailable": 7,
    "RuleFault": 1,
    "OutOfMemory": 8,
    "NothingToProve": 4,
    "NothingToTrain": 4,
    "TrainingDiverged": 2,
    "CheckpointError": 2,
    "UnsupportedOperator": 3,
}


@pytest.mark.parametrize("name", EXIT_CODES)
def test_each_error_has_its_exit_code(name: str) -> None:
    error = getattr(errors, name)
    assert issubclass(error, errors.CompressorError)
    assert error.exit_code == EXIT_CODES[name]


def test_no_error_is_left_out() -> None:
    assert {name for name, item in vars(errors).items() if isinstance(item, type)} == EXIT_CODES.keys()
