"""Length and curvature of the way that features take through layers of one shape (feature flow, arXiv 2106.02914).

A stage is a maximal run ``h_0 … h_m`` of values of one shape: the sums of a residual stream, or in a plain chain what
one linear layer after another reads. With ``d_l = h_{l+1} - h_l``, which in a residual stream is what the branch adds:

- length: ``Σ mean |d_l|``;
- curvature: ``Σ mean |d_l - d_{l-1}|``, or ``Σ (1 - cos(d_l, d_{l-1}))``, which is what the angles of a polyline add up
  to, without the infinite slope of the arc cosine.

A network of ReLUs computes the same when the features of a stage are scaled down and the layer behind it up, so a
stage's terms are divided by the root mean square of its features, gradient included. Only the abstracts of the paper
and of its journal version were at hand; what is a mean over samples and elements here, and which norm, is our reading.

The penalty is part of the loss, as it runs through activations; its first value is a stated share of the loss, half for
each term. It costs half a step on a ResNet-20, so that it is there in one step of :data:`EVERY_STEPS`, that many times
as strong (lazy regularization, arXiv 1912.04958). In the last third of the run there is none, so that the network
settles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import onnx_ir as ir
import torch

from compressor.channels.coupling import Coupling
from compressor.graph.sizes.shapes import Shapes
from compressor.operators.table import adds, operator_of
from compressor.train.loop.extension import Values
from compressor.train.regularizers.regularizer import FIRST_SHARE, Regularizer, RegularizerRow, TrainedChannels, scaled

PENALTY_SHARE = 2 / 3
"""Share of the run after which there is no penalty."""
SMALLEST = 1e-12
"""Mean square of features that are all zero: the root has no slope at nothing."""
EVERY_STEPS = 8
"""Steps of which one has the penalty."""


@dataclass
class FeatureStage:
    """Values of one shape, by name.

    Attributes:
        features: whose root mean square is the unit of length.
        steps: pairs of names, ``d = first - second``; the second is empty where the first is the difference already.
    """

    features: list[str] = field(default_factory=list)
    steps: list[tuple[str, str]] = field(default_factory=list)


class FeatureFlow(Regularizer):
    """Adds length and curvature of the features' way through each stage to the loss.

    Args:
        stages: of the graph.
        subject: what it acts on; ``strength`` is the share.
        angle: is curvature measured by angles?
    """

    def __init__(self, stages: list[FeatureStage], subject: TrainedChannels, *, angle: bool) -> None:
        self._stages, self._angle, self._channels = stages, angle, subject.channels
        self._share = FIRST_SHARE if subject.strength is None else subject.strength
        names = [n for s in stages for n in (*s.features, *(name for pair in s.steps for name in pair if name))]
        self.values = tuple(dict.fromkeys(names))
        self._factors = (0.0, 0.0)
        self._steps, self._done = 1, 0

    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:  # noqa: ARG002
        """Starts with no steps done and no strength; :meth:`calibrate` sets the factors."""
        self._steps, self._done, self._factors = max(1, steps_total), 0, (0.0, 0.0)

    @torch.no_grad()
    def calibrate(self, module: torch.nn.Module, loss: Callable[[], tuple[torch.Tensor, Values]]) -> None:
        """Sets the factors of both terms by the loss of the first batch with the plan's channels at zero."""
        found = flow(self._stages, loss()[1], angle=self._angle)
        own = {name: p for name, p in module.named_parameters() if p.requires_grad}
        # With the channels at zero, since a network that imitates itself has no loss at the start.
        with self._channels.without_gone(own):
            reference = float(loss()[0])
        self._factors = (
            scaled(self._share / 2, reference, float(found[0])),
            scaled(self._share / 2, reference, float(found[1])),
        )

    def penalty(self, module: torch.nn.Module, values: Values) -> torch.Tensor | None:  # noqa: ARG002
        """Length and curvature of this batch, for all steps up to the next one that has them."""
        if self._done >= PENALTY_SHARE * self._steps or self._done % EVERY_STEPS:
            return None
        length, curvature = flow(self._stages, values, angle=self._angle)
        return EVERY_STEPS * (self._factors[0] * length + self._factors[1] * curvature)

    def after_step(self, module: torch.nn.Module, step: int) -> None:  # noqa: ARG002
        """Counts the step, as the penalty ends after :data:`PENALTY_SHARE` of the run."""
        self._done = step

    def state_dict(self) -> dict[str, Any]:
        """Steps done, and the factors of length and curvature."""
        return {"done": self._done, "length": self._factors[0], "curvature": self._factors[1]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        self._done = int(state["done"])
        self._factors = (float(state["length"]), float(state["curvature"]))


def flow(stages: list[FeatureStage], values: Values, *, angle: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Length and curvature, summed over stages; scalars, invariant to the scale of a stage's values.

    Args:
        stages: of the graph.
        values: activations by name, each [n, ...].
        angle: is curvature measured by angles?
    """
    lengths, curvatures = [], []
    for stage in stages:
        # The unit keeps its gradient; otherwise scaling features down would lower the penalty.
        squares = torch.stack([values[name].float().square().mean() for name in stage.features])
        unit = squares.mean().clamp_min(SMALLEST).sqrt()
        steps = [values[a].float() - values[b].float() if b else values[a].float() for a, b in stage.steps]
        lengths += [d.abs().mean() / unit for d in steps]
        for before, after in pairwise(steps):
            if angle:
                cosine = torch.nn.functional.cosine_similarity(before.flatten(1), after.flatten(1), dim=1)
                curvatures.append((1 - cosine).mean())
            else:
                curvatures.append((after - before).abs().mean() / unit)
    zero = torch.zeros(())
    return (torch.stack(lengths).sum() if lengths else zero, torch.stack(curvatures).sum() if curvatures else zero)


def stages_of(graph: ir.Graph, shapes: Shapes, coupling: Coupling) -> list[FeatureStage]:
    """The residual streams of a graph; the plain chains where it has none.

    Outputs of the graph are left out.
    """
    return _streams(graph, shapes, coupling) or _chains(graph, shapes)


def _streams(graph: ir.Graph, shapes: Shapes, coupling: Coupling) -> list[FeatureStage]:
    """Sums of a value and of what is computed from it, by shape and by the units of their channels."""
    stages: dict[tuple[object, ...], FeatureStage] = {}
    for node in graph:
        if not adds(node) or any(v is None or v.producer() is None for v in node.inputs):
            continue
        one, two = (v for v in node.inputs if v is not None)
        made = node.outputs[0]
        if shapes(one) != shapes(two) or made.is_graph_output():
            continue
        # In a residual sum one operand is computed from the other; a sum of independent values is none.
        branch = two if one in _ancestors(two) else one if two in _ancestors(one) else None
        if branch is None or branch.is_graph_output():
            continue
        # By the units of the channels too, or streams of one shape that are added up nowhere would be one stage.
        labels = tuple((t.axes, t.units.tobytes()) for t in coupling.layout(made, assign_fresh=False))
        stage = stages.setdefault((shapes(made), labels), FeatureStage())
        stage.features.append(str(made.name))
        stage.steps.append((str(branch.name), ""))
    return list(stages.values())


def _ancestors(value: ir.Value) -> set[ir.Value]:
    """Values that a value is computed from, in its own graph."""
    found: set[ir.Value] = set()
    waiting = [value]
    while waiting:
        node = waiting.pop().producer()
        for operand in node.inputs if node is not None else ():
            if operand is not None and operand not in found:
                found.add(operand)
                waiting.append(operand)
    return found


def _chains(graph: ir.Graph, shapes: Shapes) -> list[FeatureStage]:
    """What linear layers of a chain read one after the other, as long as the shape stays."""
    layers = {node for node in graph if operator_of(node).has_kernel and node.inputs[0] is not None}
    follows: dict[ir.Value, ir.Value] = {}
    for node in graph:
        read = node.inputs[0] if node in layers else None
        before = _layer_before(read, layers) if read is not None else None
        if read is None or before is None or before.inputs[0] is None or read.is_graph_output():
            continue
        source = before.inputs[0]
        # A value read by two layers starts two ways; the first one counts.
        if source.producer() is not None and shapes(source) == shapes(read) and source not in follows:
            follows[source] = read
    stages = []
    for start in [v for v in follows if v not in set(follows.values())]:
        run = [start]
        while run[-1] in follows:
            run.append(follows[run[-1]])
        names = [str(v.name) for v in run]
        stages.append(FeatureStage(names, [(b, a) for a, b in pairwise(names)]))
    return stages


def _layer_before(value: ir.Value, layers: set[ir.Node]) -> ir.Node | None:
    """The linear layer that a value comes from through nodes of one computed operand; None where there is none."""
    node = value.producer()
    while node is not None and node not in layers:
        computed = [v for v in node.inputs if v is not None and v.producer() is not None]
        # Through activations, norms with constants and moves; a sum or product of two computed values ends a chain.
        node = computed[0].producer() if len(computed) == 1 else None
    return node


def _make(subject: TrainedChannels, *, angle: bool) -> Regularizer:
    found = subject.analysis
    stages = stages_of(found.model.graph, found.shapes, found.coupling)
    subject.demand(bool(stages), "layers in a row whose features have one shape")
    return FeatureFlow(stages, subject, angle=angle)


FLOW = RegularizerRow(partial(_make, angle=False), "after")
FLOW_ANGLE = RegularizerRow(partial(_make, angle=True), "after")
