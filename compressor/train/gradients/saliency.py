"""Measurements by gradient: what criteria of gradients score units by.

Without labels there is a loss all the same. How far the outputs move when a gate closes is, to second order,
``½ g'Fg`` with ``F = E[J'J]`` over the outputs (the Fisher matrix of a Gaussian of unit variance around them; the
Hessian of distilling the model from itself, whose gradient is zero). With random signs v, ``J'v`` has the second
moment F. So MOVES, GATES and CURVATURE, which square, differentiate ``v'y``; SLOPES and FLOW, which do not,
differentiate ``½|y|²``, the energy of the outputs. With labels GATES, SLOPES and FLOW take the
cross-entropy; MOVES and CURVATURE are of the model, not of the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

import numpy as np
import onnx_ir as ir
import torch

from compressor.channels.coupling import Coupling
from compressor.channels.groups import slots_of
from compressor.channels.labels import UnitArray
from compressor.data import Batch
from compressor.errors import ModelError
from compressor.pruning.criteria import Measurement, Need
from compressor.pruning.criteria.measurement import Rounds
from compressor.pruning.readers import gates
from compressor.train.gradients.saliency_loss import SaliencyLoss, outputs_of
from compressor.train.gradients.synflow import linearise
from compressor.train.module.graph_module import GraphModule
from compressor.train.module.measuring import measuring_module

Tensors = list[torch.Tensor]
Batches = Callable[[], Iterable[Batch]]
"""Starts reading the samples anew, in the same order."""


@dataclass(frozen=True)
class ParameterPlace:
    """Positions of a parameter and the units they belong to.

    Attributes:
        index: which parameter.
        others: axes to sum over.
        units: int64, a unit for every position along the axes that stay, 0 where none is meant; flat.
    """

    index: int
    others: tuple[int, ...]
    units: UnitArray


class SaliencyModel:
    """A model under measurement: its parameters that hold units, and where.

    Args:
        model: the analysed model, whose initializers the coupling labels.
        coupling: as run.
        whole: all slots of a unit count, not only those that its gate multiplies.
    """

    def __init__(self, module: GraphModule, coupling: Coupling, *, whole: bool = False) -> None:
        self.module = module.eval()
        self.count = len(coupling.units)
        trained = {k: v for k, v in module.tensors().items() if isinstance(v, torch.nn.Parameter)}
        slots = [s for s in slots_of(coupling) if str(s.value.name) in trained]
        names = list(dict.fromkeys(str(s.value.name) for s in slots))
        for parameter in module.parameters():
            # Gradients by all other parameters would cost memory, and nobody reads them.
            parameter.requires_grad_(False)
        self.parameters: Tensors = [trained[name].requires_grad_() for name in names]
        pairs = [(s, coupling.units.find(s.term.units)) for s in slots] if whole else gates(coupling, slots)
        self._places = []
        for slot, units in pairs:
            index = names.index(str(slot.value.name))
            # All other axes are summed over, so that one number is left for each position that a unit owns.
            others = tuple(a for a in range(self.parameters[index].ndim) if a not in slot.term.axes)
            self._places.append(ParameterPlace(index, others, units.ravel()))

    def forward(self, batch: Batch) -> Tensors:
        """The outputs that are tensors."""
        return outputs_of(self.module, batch)

    def gradients(self, loss: torch.Tensor, *, graph: bool = False) -> Tensors:
        """Of the loss by each parameter; zeros where it does not depend on one."""
        if not self.parameters or not loss.requires_grad:
            return [torch.zeros_like(p) for p in self.parameters]
        found = torch.autograd.grad(loss, self.parameters, create_graph=graph, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(self.parameters, found, strict=True)]

    def products(self, slopes: Tensors, power: int = 1) -> Rounds:
        """Of parameters and slopes, each to this power, summed over the positions of each unit; float64[units]."""
        total = np.zeros(self.count)
        index, tensor = -1, torch.zeros(())
        # Sorted, so that the products of a parameter are computed once for all of its slots.
        for place in sorted(self._places, key=lambda p: p.index):
            if place.index != index:
                index = place.index
                tensor = ((self.parameters[index] * slopes[index]) ** power).detach().double()
            summed = tensor.sum(dim=place.others) if place.others else tensor
            total += np.bincount(place.units, summed.cpu().numpy().ravel(), minlength=self.count)
        # Unit 0 is the frozen unit, which never goes.
        total[0] = 0.0
        return total


def _gates(subject: SaliencyModel, batches: Batches, loss: SaliencyLoss) -> Rounds:
    rounds = []
    for batch in batches():
        # Each batch is a round of its own, because criteria square these sums: over all batches signs would cancel.
        slopes = subject.gradients(loss.squared(subject.forward(batch), batch))
        rounds.append(subject.products(slopes))
    return np.stack(rounds)


def _moves(subject: SaliencyModel, batches: Batches, loss: SaliencyLoss) -> Rounds:
    return _gates(subject, lambda: (replace(b, labels=None) for b in batches()), loss)


def _slopes(subject: SaliencyModel, batches: Batches, loss: SaliencyLoss) -> Rounds:
    total = np.zeros(subject.count)
    for batch in batches():
        slopes = subject.gradients(loss.plain(subject.forward(batch), batch))
        total += subject.products(slopes)
    return total[None]


def _curvature(subject: SaliencyModel, batches: Batches, loss: SaliencyLoss) -> Rounds:
    total, rounds = np.zeros(subject.count), 0
    for batch in batches():
        slopes = subject.gradients(loss.probe(subject.forward(batch)))
        total += subject.products(slopes, power=2)
        rounds += 1
    return total[None] / max(rounds, 1)


def _flow(subject: SaliencyModel, batches: Batches, loss: SaliencyLoss) -> Rounds:
    """The gradient over all data first, then batch by batch the Hessian times it (code of the paper)."""
    mean: Tensors = [torch.zeros_like(p) for p in subject.parameters]
    for batch in batches():
        slopes = subject.gradients(loss.cool(subject.forward(batch), batch))
        mean = [m + g for m, g in zip(mean, slopes, strict=True)]
    total = np.zeros(subject.count)
    for batch in batches():
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # others have no second derivative
            slopes = subject.gradients(loss.cool(subject.forward(batch), batch), graph=True)
        product = torch.stack([(g * m).sum() for g, m in zip(slopes, mean, strict=True)]).sum()
        bent = subject.gradients(product)
        total += subject.products(bent)
    return total[None]


def measure_gradients(need: Need, model: ir.Model, coupling: Coupling, batches: Batches, seed: int) -> Measurement:
    """Measures what a criterion of gradients needs.

    Args:
        need: one of MEASURES.
        model: the analysed model; not changed.
        coupling: of that model.
        batches: samples; for GATES and MOVES each batch is a round. Not read for what is made without data.
        seed: of the random signs.

    Raises:
        UnsupportedOperator: a node has no function in torch.
        ModelError: no output depends on the weights, or an operator fails.
        UsageError: labels do not fit the outputs.
    """
    return Measurement(GRADIENT_MEASURES[need](model, coupling, batches, seed), coupling.units, need.value.join)


def _on_samples(
    measure: Callable[[SaliencyModel, Batches, SaliencyLoss], Rounds],
    model: ir.Model,
    coupling: Coupling,
    batches: Batches,
    seed: int,
    *,
    whole: bool = False,
) -> Rounds:
    """What ``measure`` makes of a model; ``whole`` where it concerns each weight by itself, so that all of a unit
    count."""
    return measure(
        SaliencyModel(measuring_module(model), coupling, whole=whole), batches, SaliencyLoss(model.graph, seed)
    )


def _paths(model: ir.Model, coupling: Coupling, _batches: Batches, _seed: int) -> Rounds:
    """SynFlow: in float64, as sums of absolute weights grow with every layer."""
    module = linearise(model)
    subject = SaliencyModel(module, coupling)
    # Ones, not data: SynFlow counts paths, and its score is data-free.
    inputs = {str(v.name): _ones(v, coupling) for v in model.graph.inputs if not v.is_initializer()}
    outputs = [y for y in subject.forward(Batch(inputs)) if y.is_floating_point()]
    if not outputs:
        raise ModelError("no output of the model is a real number; choose a criterion without gradients")
    slopes = subject.gradients(torch.stack([y.sum() for y in outputs]).sum())
    return subject.products(slopes)[None]


def _ones(value: ir.Value, coupling: Coupling) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    dtype = value.dtype or ir.DataType.FLOAT
    # Integer inputs are indices, and have to stay integers.
    kind = np.dtype(np.float64) if dtype.is_floating_point() else dtype.numpy()
    return np.ones(coupling.shapes.inputs[str(value.name)], kind)


GRADIENT_MEASURES: Mapping[Need, Callable[[ir.Model, Coupling, Batches, int], Rounds]] = MappingProxyType(
    {
        Need.GATES: partial(_on_samples, _gates),
        Need.MOVES: partial(_on_samples, _moves),
        Need.SLOPES: partial(_on_samples, _slopes),
        Need.CURVATURE: partial(_on_samples, _curvature, whole=True),
        Need.FLOW: partial(_on_samples, _flow, whole=True),
        Need.PATHS: _paths,
    }
)
