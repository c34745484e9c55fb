"""One small model with an operator between layers that can be pruned, and what pruning must make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx
import onnx_ir as ir

from compressor.commands.prune import PruneResult, prune
from compressor.config import PruneSettings
from tests.models import between, in_memory, model, tokens

MICROSOFT: Mapping[str, Any] = {"domains": ("com.microsoft",), "checked": False}
"""Of models with operators of ONNX Runtime, which the checker does not know."""


@dataclass(frozen=True)
class Case:
    """A model and its outcome at ratio 0.5.

    Attributes:
        name: the operator, with a word on the form where there are several.
        build: makes the model.
        removed: group -> channels that go, for every group that the model has.
        frozen: weight -> a part of the reason why some of its channels stay.
        settings: further settings of the run.
        checked: the ONNX checker and its shape inference accept the model (not GroupNormalization-18, say).
    """

    name: str
    build: Callable[[], onnx.ModelProto]
    removed: Mapping[str, int]
    frozen: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    checked: bool = True

    def __repr__(self) -> str:
        return self.name

    def prune(self) -> PruneResult:
        """The run, with the proof on."""
        return prune(in_memory(self.build()), PruneSettings.parse({"ratio": 0.5, "round_to": 1, **self.settings}))


def image(name: str, body: str, removed: Mapping[str, int] | None = None, **more: Any) -> Case:
    """``body`` from ``a`` to ``b`` between two convolutions; by default half of the 16 channels of ``w`` go."""
    return _case(between, name, body, {"w": 8, "v": 4} if removed is None else removed, more)


def token(name: str, body: str, removed: Mapping[str, int] | None = None, **more: Any) -> Case:
    """``body`` from ``a`` to ``b`` between two matrix products; by default half of the 16 features of ``w`` go."""
    return _case(tokens, name, body, {"w": 8, "v": 3} if removed is None else removed, more)


def whole(name: str, text: str, removed: Mapping[str, int], **more: Any) -> Case:
    """A model written out from input to output."""
    return _case(model, name, text, removed, more)


def _case(
    build: Callable[..., onnx.ModelProto], name: str, text: str, removed: Mapping[str, int], more: dict[str, Any]
) -> Case:
    own = {key: more.pop(key) for key in ("frozen", "settings") if key in more}
    return Case(name, lambda: build(text, **more), removed, checked=more.get("checked", True), **own)


def check(case: Case) -> PruneResult:
    """Prunes the model and holds it against what the case says."""
    result = case.prune()
    report = result.report
    assert report.proof is not None
    assert report.proof.passed
    assert report.proof.max_rel_err < 1e-5
    assert {g.name: g.removed for g in report.groups} == dict(case.removed)
    for value, reason in case.frozen.items():
        found = [row.reason for row in report.frozen if row.value == value]
        assert any(reason in text for text in found), f"{value}: {found}"
    if case.checked:
        onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    return result
