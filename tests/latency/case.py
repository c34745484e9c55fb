"""A timer that computes instead of measuring, and small models to aim with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any

import onnx
import onnx_ir as ir

from compressor.config import PruneSettings
from compressor.graph.form.normalise import normalise
from compressor.operators.sizes import infer
from compressor.pruning.budgets.budget import line_up
from compressor.pruning.budgets.cost import graph_macs
from compressor.pruning.budgets.parts import OperatorChain, operator_chains
from compressor.pruning.budgets.select import origin_of, scored_groups
from compressor.pruning.budgets.widths import WidthLine, Widths, lines
from compressor.pruning.cut.analysis import analyse
from compressor.results.detail import LatencyResult
from tests.models import in_memory, model

ORIGINAL_MS = 10.0


def residual(width: int = 64) -> onnx.ModelProto:
    """A residual stream of this width and two branches that narrow and widen, one with a group for each channel."""
    half = width // 2
    return model(
        f"""(float[n,4,8,8] x) => (float[n,c,h,w] y)
        <float[{width},4,3,3] stem, float[{half},{width},1,1] a1, float[{half},1,3,3] a2, float[{width},{half},1,1] a3,
         float[{width},{width},3,3] b1, float[{width},{width},3,3] b2, float[8,{width},1,1] head> {{
            s = Conv<pads=[1,1,1,1]>(x, stem)     r = Relu(s)
            p = Conv(r, a1)                       q = Conv<pads=[1,1,1,1],group={half}>(p, a2)
            o = Conv(q, a3)                       t = Add(r, o)
            u = Conv<pads=[1,1,1,1]>(t, b1)       v = Relu(u)
            z = Conv<pads=[1,1,1,1]>(v, b2)       k = Add(t, z)
            y = Conv(k, head) }}"""
    )


def node_costs(source: ir.Model) -> dict[str, float]:
    """Products and elements written, by node."""
    plain = normalise(source.clone())
    shapes = infer(plain)
    return {
        str(node.name): graph_macs([node], shapes) + sum(prod(shapes(v) or ()) for v in node.outputs)
        for node in plain.graph
    }


@dataclass
class FakeTimer:
    """Tells times by counting; what it is asked for is written down.

    Attributes:
        original: what times are held against.
        seen: turns the share of the original that was counted into the one that is measured end to end.
        asked: how often operators were timed, and whole models.
        warnings: as the run repeats them.
    """

    original: ir.Model
    seen: Callable[[float], float] = lambda share: share
    asked: dict[str, int] = field(default_factory=lambda: {"operators": 0, "against": 0})
    warnings: list[str] = field(default_factory=list)

    def made_for(self) -> dict[str, Any]:
        return {"device": "abacus"}

    def operators(self, model: ir.Model) -> Mapping[str, float]:
        self.asked["operators"] += 1
        whole = sum(node_costs(self.original).values())
        return {name: cost / whole for name, cost in node_costs(model).items()}

    def against(self, model: ir.Model) -> LatencyResult:
        self.asked["against"] += 1
        share = sum(node_costs(model).values()) / sum(node_costs(self.original).values())
        after = ORIGINAL_MS * self.seen(share)
        speed = ORIGINAL_MS / after
        return LatencyResult(before_ms=ORIGINAL_MS, after_ms=after, low=speed * 0.99, high=speed * 1.01)


def parts_of(proto: onnx.ModelProto, **asked: object) -> tuple[list[OperatorChain], list[WidthLine]]:
    """Operators and widths of a model under these settings."""
    settings = PruneSettings.parse({"target_latency": "0.5x", **asked})
    analysis = analyse(in_memory(proto), settings)
    groups, scores = scored_groups(analysis.coupling, settings)
    origin = origin_of(analysis.coupling, groups, 0)
    of_groups = lines(line_up(scores, settings, origin), list(scores), settings)
    return operator_chains(analysis.coupling, [line.group for line in of_groups]), of_groups


@cache
def parts_of_residual(width: int = 64, **asked: object) -> tuple[list[OperatorChain], list[WidthLine]]:
    """:func:`parts_of` of :func:`residual`, which nobody edits."""
    return parts_of(residual(width), **asked)


def counted(parts: list[OperatorChain]) -> Callable[[OperatorChain, list[float]], float]:
    """Time of an operator by its work, as a share of that of all of them."""
    whole = sum(part.work(part.sizes([0.0] * 99)) for part in parts)
    return lambda part, gone: part.work(part.sizes(gone)) / whole


def widths_of(proto: onnx.ModelProto, **asked: object) -> Widths:
    """Widths of a model that are chosen by counting."""
    parts, of_groups = parts_of(proto, **asked)
    return Widths(of_groups, parts, counted(parts))


def widths_of_residual(width: int, **asked: object) -> Widths:
    """:func:`widths_of` of :func:`residual`, whose parts are found once."""
    parts, of_groups = parts_of_residual(width, **asked)
    return Widths(of_groups, parts, counted(parts))
