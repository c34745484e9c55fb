"""One small model with an operator between layers that can be pruned, and what pruning must make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from compressor.channels.groups import blocked
from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.graph.form import clean
from compressor.steps.prune.result import PruneResult
from tests.models import between, in_memory, model, tokens
from tests.oracle import TOLERANCE, Pair, differences, pair

OUTPUT_TOLERANCE = 1e-5
"""Largest difference of an output, as a share of its largest magnitude."""

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

    @property
    def options(self) -> PruneSettings:
        """Settings of the run."""
        return PruneSettings.parse({"ratio": 0.5, "round_to": 1, **self.settings})

    def prune(self) -> PruneResult:
        """The run of the whole pipeline, with the proof on."""
        return prune(in_memory(self.build()), self.options)


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


def check(case: Case) -> Pair:
    """Holds labels against what the case says, and every float value of one run against the masked original."""
    found = _run(case)
    coupling = found.cut.coupling
    gone = {g.name: int((~found.cut.keeps_units(g.units)).sum()) * g.width for g in found.groups}
    assert gone == dict(case.removed)
    for value, reason in case.frozen.items():
        texts = [row.reason.reason for row in blocked(coupling) if row.label.rpartition(":")[0] == value]
        assert any(reason in text for text in texts), f"{value}: {texts}"
    clean.tidy(found.smaller, simplify=case.options.simplify)
    if case.checked:
        onnx.checker.check_model(ir.to_proto(found.smaller), full_check=True)
    return found


def _run(case: Case) -> Pair:
    """Both models, run at every size that the proof would try; zero times infinity is masked as in the tool itself."""
    for thorough in (False, True):
        found = pair(in_memory(case.build()), case.options, thorough=thorough)
        off = differences(found)
        if found.shapes.other_inputs != found.shapes.inputs:
            off |= {f"{k} at another size": v for k, v in differences(found, sizes=found.shapes.other_inputs).items()}
        if np.inf not in off.values():
            break
    name, worst = max(off.items(), key=lambda item: item[1])
    assert worst < TOLERANCE, name
    assert max(off[str(v.name)] for v in found.smaller.graph.outputs) < OUTPUT_TOLERANCE
    return found


def blank(op: str, count: int = 2, **attributes: int | str) -> ir.Node:
    """A node of ``op`` with so many inputs, of which nothing is known."""
    made = ir.node(op, [ir.Value(name=f"x{k}") for k in range(count)], attributes=attributes, name="node")
    made.outputs[0].name = "y"
    return made
