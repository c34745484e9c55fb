"""Training that brings weights near a constraint set: what its methods share.

A method is an extension of the loop that pulls weights towards their projections, step by step. Of the set it knows
``project`` alone. Epochs are judged, and the best is kept, with the weights projected: what counts is how good they
are on the set, not beside it.

Where BatchNormalization was put behind a layer for training, the constraint is on the weight before folding: what
the set is must not change with the factors of folding (:mod:`compressor.train.constraints.tied_batchnorm`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch

from compressor.errors import TrainingDiverged
from compressor.train.loop.extension import Extension

RECORDS = 30
"""Rows of the record in a run, evenly, for methods that have no refreshes."""
Tensors = dict[str, torch.Tensor]


class Constraint(Protocol):
    """A set that weights are to lie in, with its projection."""

    def project(self, weight: Any) -> Any:
        """The nearest weight in the set, of the same shape and type."""
        ...


@dataclass(frozen=True)
class Residual:
    """How far the weights are from the set, as shares of their norms: root mean square over weights.

    Attributes:
        step: of training, from 1.
        strength: of the pull, in the unit of the method.
        primal: ‖W - Z‖ / ‖W‖, with Z in the set.
        dual: ‖Z - Z before‖ / ‖W‖.
    """

    step: int
    strength: float
    primal: float
    dual: float


class ConstraintDiverged(TrainingDiverged):
    """Weights move away from their set; the module holds the nearest ones so far, to go on with."""


class Approach(Extension):
    """Base of the methods: finds the weights, projects them where they are judged, and keeps a record.

    Args:
        constraints: by name of the parameter; those that the module does not train are left out.
    """

    def __init__(self, constraints: Mapping[str, Constraint]) -> None:
        self._constraints = constraints
        self._weights: dict[str, torch.nn.Parameter] = {}
        self._steps = 1
        self.residuals: list[Residual] = []

    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:  # noqa: ARG002
        """Finds the parameters that the sets are about, before the first step."""
        self._steps = steps_total
        own = dict(module.named_parameters())
        self._weights = {n: own[n] for n in self._constraints if n in own and own[n].requires_grad}
        self.residuals = []

    @torch.no_grad()
    def averaged(self, module: torch.nn.Module) -> Mapping[str, torch.Tensor]:  # noqa: ARG002
        """The weights, projected onto their sets."""
        return {
            # In the memory layout of the weight, whatever that of the projection is.
            name: torch.empty_like(w, requires_grad=False).copy_(self._nearest(name))
            for name, w in self._weights.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """The record, and what the method holds."""
        tensors = {f"{part}/{name}": tensor for part, found in self._parts().items() for name, tensor in found.items()}
        return {"residuals": [asdict(row) for row in self.residuals], **tensors}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes it back, in place and so in the memory layout of the weights."""
        self.residuals = [Residual(**row) for row in state["residuals"]]
        for part, found in self._parts().items():
            for name, tensor in found.items():
                tensor.copy_(state[f"{part}/{name}"])

    def _parts(self) -> Mapping[str, Tensors]:
        """Tensors that a resumed run needs, by what they are and by the name of the weight."""
        return {}

    def _records(self, step: int) -> bool:
        """Is a row of the history due at this step?"""
        return step % max(1, self._steps // RECORDS) == 0

    def _nearest(self, name: str) -> torch.Tensor:
        found: torch.Tensor = self._constraints[name].project(self._weights[name].detach())
        return found

    def _pull(self, targets: Tensors, share: float) -> None:
        """Moves weights this share of the way to their targets."""
        for name, target in targets.items():
            # The caller's ``no_grad`` covers this: weights are leaves, which autograd lets nobody change in place.
            self._weights[name].lerp_(target, share)

    def _gaps(self) -> Tensors:
        """What is between the weights and the set."""
        return {name: weight.detach() - self._nearest(name) for name, weight in self._weights.items()}


def relative_gap(gaps: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> float:
    """The root mean square of ‖gap‖ / ‖weight‖ over all weights."""
    # A weight of zeros would divide zero by zero.
    shares = [gaps[n].norm() / w.norm().clamp_min(torch.finfo(w.dtype).tiny) for n, w in weights.items()]
    return float(torch.stack([s.double() for s in shares]).square().mean().sqrt()) if shares else 0.0
