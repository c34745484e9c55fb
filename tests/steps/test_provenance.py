"""What a written model says of the run that made it."""

from __future__ import annotations

from types import SimpleNamespace as Stub
from typing import Any

import pytest

from compressor.steps.provenance import training_facts


@pytest.mark.parametrize(("name", "said"), [("accuracy", "0.9000 before"), ("rmse", "rmse 0.9000 before")])
def test_the_metric_is_named_unless_the_fact_is_called_like_it(name: str, said: str) -> None:
    history = Stub(before=Stub(metric=0.9), after=Stub(metric=0.95), metric_name=name)
    result: Any = Stub(history=history, judged=None, max_rel_err=None)
    assert training_facts(result)["accuracy"] == f"{said}, 0.9500 after, on set aside samples"
