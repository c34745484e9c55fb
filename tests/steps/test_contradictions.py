"""Settings that contradict each other are refused before any work, and those that do not are not."""

from __future__ import annotations

from typing import Any

import pytest

from compressor.config import PruneSettings
from compressor.errors import UsageError
from compressor.steps.contradictions import demand_together

TRAINED = {"ratio": 0.5, "recover": "finetune"}
REWOUND = {**TRAINED, "rewind": 1}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"ratio": 0.5, "resume": True}, "--resume"),
        ({"ratio": 0.5, "reinitialise": "after"}, "--reinitialise"),
        ({"ratio": 0.5, "keep_functions": True, "also": "b.onnx"}, "--keep-functions"),
        ({"ratio": 0.5, "sparsify_epochs": 2}, "--sparsify-epochs says nothing"),
        ({"ratio": 0.5, "sparsify": "group"}, "--sparsify trains"),
        ({**TRAINED, "sparsify": "group", "depth": True}, "--depth"),
        ({"lossless": True, "recover": "finetune", "sparsify": "group"}, "--lossless"),
        ({"ratio": 0.5, "rewind": 1}, "--rewind trains"),
        ({"lossless": True, "recover": "finetune", "rewind": 1}, "--rewind chooses"),
        ({**REWOUND, "reinitialise": "after"}, "--reinitialise"),
        ({**REWOUND, "structure": "lowrank"}, "--structure"),
        ({"target_macs": 0.5, "structure": "nm"}, "no --target-macs is reached; say with --ratio"),
        ({"target_size": 0.5, "structure": "nm"}, "no --target-size is reached"),
    ],
)
def test_contradictions(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        demand_together(PruneSettings.parse(values))


@pytest.mark.parametrize(
    "values",
    [TRAINED, {**TRAINED, "resume": True}, REWOUND, {"ratio": 0.5, "depth": True}, {"ratio": 0.5, "structure": "nm"}],
)
def test_what_goes_together(values: dict[str, Any]) -> None:
    demand_together(PruneSettings.parse(values))


def test_a_plan_says_already_what_goes() -> None:
    with pytest.raises(UsageError, match="a plan already says"):
        demand_together(PruneSettings.parse(REWOUND), replayed=True)
    demand_together(PruneSettings.parse(TRAINED), replayed=True)
