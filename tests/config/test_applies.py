"""Settings that only some runs read are refused in others, and say there what reads them."""

from __future__ import annotations

from typing import Any

import pytest

from compressor.config import BenchSettings, PruneSettings, RunSettings, SparsifySettings, VerifySettings
from compressor.config.choosing import ChoosingSettings
from compressor.config.quantize import QuantizeSettings
from compressor.config.section import Applies
from compressor.errors import UsageError

Values = dict[str, Any]
TUNED: Values = {"recover": "finetune"}
TRAINED: Values = {"data": "x.npz", "method": "retrain"}
CASES: tuple[tuple[type[RunSettings], Values, str, Values], ...] = (
    (PruneSettings, {"normalise": "max", "scope": "local"}, "--scope global", {"scope": "global"}),
    (PruneSettings, {"sensitivity": "s.json", "scope": "local"}, "what each group loses", {"scope": "loss"}),
    (PruneSettings, {"basis": "identity"}, "--structure interspace", {"structure": "interspace-columns"}),
    (PruneSettings, {"coefficients": "float32", "structure": "nm"}, "written in a basis", {"structure": "interspace"}),
    (PruneSettings, {"lower": "never", "structure": "both"}, "of masks", {"structure": "groups"}),
    (PruneSettings, {"criterion": "l1", "lossless": True}, "leave --lossless out", {"lossless": False}),
    (PruneSettings, {"scope": "local", "lossless": True}, "leave --lossless out", {"lossless": False}),
    (PruneSettings, {"layer_ratio": ("a=0.5",), "lossless": True}, "zero already", {"lossless": False}),
    (PruneSettings, {"criterion": "l1", "structure": "lowrank"}, "no channel goes", {"structure": "both"}),
    (PruneSettings, {"batch": 2}, "nothing is timed", {"structure": "supports"}),
    (PruneSettings, {"batch": 8, "structure": "both"}, "is timed", {"structure": "nm"}),
    (PruneSettings, {"batch": 8}, "is timed", {"objective": "latency"}),
    (PruneSettings, {"latency_cache": "c"}, "give --target-latency", {"target_latency": "2ms"}),
    (PruneSettings, {"metrics": "m.jsonl", "recover": "lstsq"}, "nothing is trained", {"recover": "distill"}),
    (PruneSettings, {"learning_rate": 0.1, "recover": "lstsq"}, "nothing is trained", {"recover": "distill"}),
    (PruneSettings, {"epochs": 3, "loss": "mixed"}, "add --recover finetune", {**TUNED, "data": "x.npz"}),
    (PruneSettings, {"sparsify_epochs": 2, **TUNED}, "with --sparsify", {"sparsify": "group"}),
    (PruneSettings, {"labels": "y"}, "give --data", {"val_data": "v.npz"}),
    (SparsifySettings, {"sparsity": 0.3}, "with --regularizer", {"regularizer": "iss"}),
    (SparsifySettings, {"val_share": 0.2, "val_data": "v.npz"}, "leave --val-data out", {"val_data": None}),
    (SparsifySettings, {"crop_padding": 2, "augment": "flip"}, "--augment crop", {"augment": "crop"}),
    (SparsifySettings, {"alpha": 0.3}, "--loss mixed", {"loss": "mixed"}),
    (SparsifySettings, {"temperature": 2, "loss": "cross-entropy"}, "or mixed", {"loss": "distill"}),
    (SparsifySettings, {"feature_weight": 2}, "--features", {"features": "h"}),
    (SparsifySettings, {"momentum": 0.5, "optimiser": "adamw"}, "--optimiser sgd", {"optimiser": None}),
    (ChoosingSettings, {"epochs": 3}, "add --data", {"data": "x.npz"}),
    (ChoosingSettings, {"epochs": 3, "data": "x.npz", "method": "one-shot"}, "another --method", {"method": "ste"}),
    (ChoosingSettings, {**TRAINED, "crop_padding": 2}, "--augment crop", {"augment": ("crop",)}),
    (ChoosingSettings, {**TRAINED, "rho": 1.0}, "--method admm", {"method": None}),
    (ChoosingSettings, {**TRAINED, "retrain_share": 0.2}, "all epochs are of one kind", {"method": "iss"}),
    (ChoosingSettings, {"retrain_rate": 0.2}, "nothing is trained", TRAINED),
    (ChoosingSettings, {"codebook_per": "output"}, "--codebook K", {"codebook": 4}),
    (ChoosingSettings, {"ladder": "4x4"}, "give --max-drop", {"max_distance": 0.1}),
    (ChoosingSettings, {"block": "2x2", "target_size": 0.5}, "name them there", {"target_size": None}),
    (QuantizeSettings, {"block_size": 64}, "--mode int4", {"mode": "int4"}),
    (QuantizeSettings, {"per_channel": False, "mode": "int4"}, "another --mode", {"mode": "dynamic"}),
    (QuantizeSettings, {"calibration": "entropy", "mode": "dynamic"}, "--mode static", {"mode": "auto"}),
    (VerifySettings, {"bisect_memory": 8, "bisect": False}, "--no-bisect", {"bisect": None}),
    (VerifySettings, {"trials": 8, "data": "x.npz"}, "leave --data out", {"data": None}),
    (VerifySettings, {"samples": 8}, "give --data", {"data": "x.npz"}),
    (BenchSettings, {"cuda_graph": True}, "for accelerators", {"provider": "cuda"}),
)


@pytest.mark.parametrize(("kind", "values", "said", "remedy"), CASES, ids=[str(values) for _, values, _, _ in CASES])
def test_what_says_nothing_is_refused_and_its_remedy_is_none(
    kind: type[RunSettings], values: Values, said: str, remedy: Values
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        kind.parse(values)
    assert str(caught.value).count(";") == 1
    kind.parse({**values, **remedy})


def test_every_entry_has_a_case_and_names_settings() -> None:
    entries = {each for kind, *_ in CASES for each in _entries(kind)}
    raised = set()
    for kind, values, _, _ in CASES:
        made = kind.model_validate(values)
        raised.add(next(each for each in _entries(kind) if made.given(*each.fields) and not each.where(made)))
    assert sorted(entry.why for entry in entries - raised) == []
    known = {name for kind, *_ in CASES for name in kind.model_fields}
    assert {name for entry in entries for name in entry.fields} <= known


def _entries(kind: type[RunSettings]) -> list[Applies]:
    return [each for base in kind.__mro__ for each in vars(base).get("applies", ())]
