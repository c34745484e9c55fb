"""Settings that contradict each other are refused before any work, and those that do not are not."""

from __future__ import annotations

from typing import Any

import pytest

from compressor.config import PruneSettings
from compressor.config.contradictions import CONTRADICTIONS, contradiction
from compressor.errors import UsageError

PLAIN = {"ratio": 0.5}
TRAINED = {**PLAIN, "recover": "finetune"}
REWOUND = {**TRAINED, "rewind": 1}
TOGETHER: tuple[dict[str, Any], ...] = (
    TRAINED,
    {**TRAINED, "resume": True},
    REWOUND,
    {**PLAIN, "depth": True},
    {**PLAIN, "cache_heads": True},
    {**PLAIN, "structure": "nm"},
    {**PLAIN, "structure": "interspace", "scope": "local"},
)
CASES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"scope": "sensitivity"}, "--scope sensitivity follows a report"),
    ({"target_size": 1000, "objective": "latency"}, "--objective latency goes with"),
    ({**PLAIN, "structure": "lowrank", "depth": True}, "--depth is for channels alone"),
    ({**PLAIN, "structure": "lowrank", "scope": "local"}, "--scope is for channels alone"),
    ({**PLAIN, "resume": True}, "--resume goes on"),
    ({**PLAIN, "reinitialise": "after"}, "--reinitialise takes"),
    ({**PLAIN, "refit_last": True}, "--refit-last learns"),
    ({**TRAINED, "loss": "cross-entropy"}, "--loss cross-entropy learns"),
    ({**PLAIN, "keep_functions": True, "also": "b.onnx"}, "--keep-functions is for"),
    ({**TRAINED, "sparsify": "group", "depth": True}, "--depth takes whole blocks, and --sparsify"),
    ({**PLAIN, "rewind": 1}, "--rewind trains"),
    ({"lossless": True, "recover": "finetune", "rewind": 1}, "--rewind chooses"),
    ({**REWOUND, "reinitialise": "after"}, "before what --reinitialise does"),
    ({**REWOUND, "structure": "lowrank"}, "before what --structure does"),
    ({"target_macs": 0.5, "structure": "nm"}, "no --target-macs is reached; say with --ratio"),
    ({"target_size": 0.5, "structure": "nm"}, "no --target-size is reached"),
    ({**PLAIN, "sparsify": "group"}, "--sparsify trains, which"),
    ({"lossless": True, "recover": "finetune", "sparsify": "group"}, "--sparsify trains towards a cut"),
    ({**TRAINED, "sparsify": "decay", "expand": 2}, "--sparsify looks at the weights"),
    ({**PLAIN, "cache_heads": True, "recover": "lstsq"}, "--recover lstsq compares.* or --cache-heads"),
    ({**PLAIN, "free_outputs": ("y",), "val_data": "v.npz"}, "--val-data compares.* or --free-output"),
)


@pytest.mark.parametrize(("values", "said"), CASES, ids=[said for _, said in CASES])
def test_contradictions(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        PruneSettings.parse(values)


@pytest.mark.parametrize("values", TOGETHER, ids=str)
def test_what_goes_together(values: dict[str, Any]) -> None:
    PruneSettings.parse(values)


def test_every_entry_has_a_case() -> None:
    made = [PruneSettings.model_construct(_fields_set=set(values), **_typed(values)) for values, _ in CASES]
    silent = [entry.text for entry in CONTRADICTIONS if not any(entry.said(one) for one in made)]
    assert silent == []


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    """As they would be parsed; text of several files is a list of them."""
    return {name: (value,) if name == "also" else value for name, value in values.items()}


def test_a_plan_says_already_what_goes() -> None:
    assert "a plan already says" in (contradiction(PruneSettings.parse(REWOUND), replayed=True) or "")
    assert contradiction(PruneSettings.parse(TRAINED), replayed=True) is None
