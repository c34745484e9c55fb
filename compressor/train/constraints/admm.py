"""Alternating direction method of multipliers: ``min f(W)`` where ``W`` is in a set that can be projected onto.

With Z in the set, the scaled dual V, and strength rho (Boyd et al. 2011; for networks arXiv:2106.08301, methods of
Ye, Xu, Lin et al.)::

    W <- argmin f(W) + rho/2 ‖W - Z + V‖²     by steps of training
    Z <- projection of W + V                   at refreshes
    V <- V + a (W - Z)                         with a = 1, or less

The quadratic term enters as its proximal map after every step of the optimiser, ``W <- W + x/(1+x) (Z - V - W)`` with
``x = rho * rate / (1 - momentum)``, and not through the gradient. Where SGD comes to rest the gradient of f is then
exactly ``rho (Z - V - W)``. It costs one pass over the weights, is stable for every rho, is no part of what gradient
clipping shrinks, and is the same pull under AdamW, which would divide a gradient by its size (docs/decisions/0011).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isfinite
from typing import Any

import torch

from compressor.train.constraints.constrained import (
    Approach,
    Constraint,
    ConstraintDiverged,
    Residual,
    Tensors,
    relative_gap,
)
from compressor.train.loop.validation import State, copied, put

CONVERGED = 1e-3
"""Residuals, primal and dual, below which the weights are on the set."""
GROWING, FAR_RESIDUAL = 5, 1.0
"""Divergence: the primal residual has grown for so many refreshes on end, and is larger than this, the distance of
weights that are all zero."""


@dataclass(frozen=True)
class AdmmSchedule:
    """When Z and V are refreshed, and how strong the pull is between refreshes.

    Attributes:
        refreshes: over the whole run, evenly; at least one step lies between two.
        pull: of the first interval: with it alone, at the full learning rate, the gap to ``Z - V`` shrinks by
            ``exp(-pull)`` until the first refresh. So ``rho = pull (1 - momentum) / (interval * rate)``: the strength
            is relative to how far training itself can go, whatever the network, its scale and the length of the run.
        growth: rho is multiplied by it at every refresh.
        dual_step: share of ``W - Z`` that V takes in. Up to 1.6 leads to the same optimum of a convex problem. Where
            signs are free, 1 turns over every weight below half its magnitude at the first refresh.
    """

    refreshes: int
    pull: float
    growth: float
    dual_step: float


class Admm(Approach):
    """The W, Z, V loop for parameters and their sets.

    Is finished when the weights are on the set; raises
    :class:`~compressor.train.constraints.constrained.ConstraintDiverged` from within training when the primal residual
    grows or is not finite.

    Args:
        constraints: by name of the parameter.
        schedule: of refreshes.
    """

    def __init__(self, constraints: Mapping[str, Constraint], schedule: AdmmSchedule) -> None:
        super().__init__(constraints)
        self.schedule = schedule
        self.rho = 0.0
        self._z: Tensors = {}
        self._v: Tensors = {}
        self._targets: Tensors = {}
        self._best: State = {}

    @torch.no_grad()
    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:
        """Starts from the projections of the weights, with V = 0."""
        super().start(module, optimiser, steps_total)
        self._optimiser = optimiser
        # More refreshes than steps are asked for in short runs; then every step is one.
        self._interval = max(1, steps_total // self.schedule.refreshes)
        # At the highest rate, as no schedule has lowered it yet; later pulls follow the rate.
        self.rho = self.schedule.pull / (self._interval * self._reach)
        self.look({name: weight.detach() for name, weight in self._weights.items()})
        self._z = {name: self._nearest(name).clone() for name in self._weights}
        self._v = {name: torch.zeros_like(z) for name, z in self._z.items()}
        self._best = copied(module)
        self._aim()

    @property
    def finished(self) -> bool:
        """Were the weights on the set at the last refresh?"""
        last = self.residuals[-1] if self.residuals else None
        return last is not None and last.primal < CONVERGED and last.dual < CONVERGED

    def look(self, raised: Tensors) -> None:
        """Before these are projected, one by one: for sets that several weights share."""

    @property
    def _reach(self) -> float:
        """How far a constant gradient of one moves a weight in a step, in the end."""
        group = self._optimiser.param_groups[0]
        # With momentum m a constant gradient is taken 1 + m + m² + ... = 1 / (1 - m) times.
        return float(group["lr"] / (1 - group.get("momentum", 0.0)))

    @torch.no_grad()
    def after_step(self, module: torch.nn.Module, step: int) -> None:
        """The proximal map of the quadratic term; every so often a refresh."""
        x = self.rho * self._reach
        # ``x / (1 + x)`` stays below one for any x, which is why no rho makes the step unstable.
        self._pull(self._targets, x / (1 + x))
        if step % self._interval == 0:
            self._refresh(module, step)

    def _refresh(self, module: torch.nn.Module, step: int) -> None:
        weights = {name: weight.detach() for name, weight in self._weights.items()}
        if not all(bool(weight.isfinite().all()) for weight in weights.values()):
            # Raises, as nothing can be projected any more.
            self._judge(module, Residual(step, self.rho, inf, inf))
        moved, gaps = {}, {}
        raised = {name: weight + self._v[name] for name, weight in weights.items()}
        self.look(raised)
        for name, weight in weights.items():
            z = self._constraints[name].project(raised[name])
            moved[name], gaps[name] = z - self._z[name], weight - z
            # In place: a resumed run must find them in the same memory layout, which decides the order of sums.
            self._z[name].copy_(z)
            # Where signs are free a whole step would turn over every weight below half its magnitude (decision 0011).
            self._v[name].add_(gaps[name], alpha=self.schedule.dual_step)
        residual = Residual(step, self.rho, relative_gap(gaps, weights), relative_gap(moved, weights))
        # Judged before rho grows, so that the record has the rho under which the gap arose.
        self._judge(module, residual)
        self._strengthen(self.rho * self.schedule.growth)
        self._aim()

    def _strengthen(self, rho: float) -> None:
        """Another rho. V is the multiplier over rho, so it is rescaled, and the multiplier stays."""
        for v in self._v.values():
            v.mul_(self.rho / rho)
        self.rho = rho

    def _aim(self) -> None:
        """Where the quadratic term has its minimum, in the memory layout of the weights."""
        self._targets = {n: torch.empty_like(w).copy_(self._z[n] - self._v[n]) for n, w in self._weights.items()}

    def _judge(self, module: torch.nn.Module, residual: Residual) -> None:
        """Keeps the nearest weights; ends training where they move away."""
        self.residuals.append(residual)
        found = [row.primal for row in self.residuals]
        if isfinite(residual.primal) and residual.primal <= min(found):
            self._best = copied(module)
        recent = found[-GROWING - 1 :]
        # A single refresh that grows is no divergence: Z moves, too.
        grows = len(recent) > GROWING and all(a < b for a, b in pairwise(recent))
        if not isfinite(residual.primal) or (grows and residual.primal > FAR_RESIDUAL):
            # Weights are put back before the error, because training goes on from them in the next phase.
            put(module, self._best)
            raise ConstraintDiverged(
                f"ADMM diverges: after step {residual.step} the weights are {residual.primal:.3g} of their norm from "
                "their set; the nearest weights are kept; try a smaller learning rate"
            )

    def state_dict(self) -> dict[str, Any]:
        """Z, V, the nearest weights, rho and the record."""
        return {**super().state_dict(), "rho": self.rho}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes multipliers and targets from a checkpoint."""
        super().load_state_dict(state)
        self.rho = float(state["rho"])
        self._aim()

    def _parts(self) -> Mapping[str, Tensors]:
        return {"z": self._z, "v": self._v, "best": self._best}
