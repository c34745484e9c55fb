"""Means and variances of weights over the last steps of training, and a teacher of resampled weights (1807.00847).

Late in training, at a low learning rate, weights wander about a minimum. Their mean is a better point than the last
one; their variance says how far each may go: ``theta ~ N(mean, diag(variance))`` draws members of an ensemble, whose
mean output is worth distilling. Without ensemble the mean alone is the result: it costs nothing at inference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch

from compressor.errors import UsageError
from compressor.train.loop.extension import Extension, trained_parameters

Tensors = dict[str, torch.Tensor]
NearestAllowed = Callable[[Tensors], Tensors]
"""Takes parameters by name to the nearest ones that are allowed (zeros where slices are removed, equal magnitudes in
blocks); names it does not know stay as they are."""


class WeightMean(Extension):
    """Running mean and variance of every parameter (Welford 1962), which is judged and kept instead of the last.

    In float32, or wider where the parameter is; the running statistics of BatchNormalization are averaged too.

    Args:
        share: of all steps, at the end, that count.
        every: steps between two that count.
        constraint: what is made of the mean before it is used, so that a mean of allowed weights is allowed.
    """

    def __init__(self, *, share: float = 0.25, every: int = 1, constraint: NearestAllowed | None = None) -> None:
        if not 0 < share <= 1 or every < 1:
            raise UsageError(f"share {share:g} or interval {every} of a mean of weights is out of range")
        self._share, self._every, self._constraint = share, every, constraint
        self._first = 1
        self._count = 0
        self._mean: Tensors = {}
        self._squares: Tensors = {}

    @property
    def count(self) -> int:
        """Weights seen so far."""
        return self._count

    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:  # noqa: ARG002
        """Starts a new mean: forgets the weights seen so far."""
        # Steps count from 1, and the last one counts always.
        self._first = steps_total - max(1, round(self._share * steps_total)) + 1
        self._count = 0
        self._mean = {name: torch.zeros_like(p, dtype=_wide(p)) for name, p in _followed(module)}
        self._squares = {name: torch.zeros_like(p, dtype=_wide(p)) for name, p in trained_parameters(module)}

    @torch.no_grad()
    def after_step(self, module: torch.nn.Module, step: int) -> None:
        """Takes in the weights, if the step counts."""
        if step < self._first or (step - self._first) % self._every:
            return
        self._count += 1
        for name, parameter in _followed(module):
            mean = self._mean[name]
            gap = parameter.to(mean.dtype) - mean
            mean.add_(gap, alpha=1 / self._count)
            if name in self._squares:
                # Welford: the gap to the mean before times the gap to the mean after.
                self._squares[name].addcmul_(gap, parameter.to(mean.dtype) - mean)

    def mean(self) -> Tensors:
        """The mean of every parameter, as the constraint allows.

        Raises:
            UsageError: no weights have been seen.
        """
        self._demand_seen()
        plain = {name: tensor.clone() for name, tensor in self._mean.items()}
        return plain if self._constraint is None else {**plain, **self._constraint(plain)}

    def variance(self) -> Tensors:
        """The variance of every parameter, divided by the number of weights seen; raises as :meth:`mean` does."""
        self._demand_seen()
        return {name: tensor / self._count for name, tensor in self._squares.items()}

    def _demand_seen(self) -> None:
        if not self._count:
            raise UsageError("no weights have been averaged yet; train first")

    def averaged(self, module: torch.nn.Module) -> Mapping[str, torch.Tensor] | None:  # noqa: ARG002
        """The mean, as soon as there is one."""
        return self.mean() if self._count else None

    def state_dict(self) -> dict[str, Any]:
        """Means, sums of squared deviations, and over how many weights they were taken."""
        parts = {"mean": self._mean, "squares": self._squares}
        tensors = {f"{part}/{name}": tensor for part, found in parts.items() for name, tensor in found.items()}
        return {"count": self._count, **tensors}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave, in the memory layout of the weights."""
        self._count = int(state["count"])
        for part, found in (("mean", self._mean), ("squares", self._squares)):
            for name, tensor in found.items():
                tensor.copy_(state[f"{part}/{name}"])


@dataclass(frozen=True)
class EnsembleDraw:
    """How an ensemble is drawn.

    Attributes:
        members: how many; each holds a copy of the parameters, and is one run of the module.
        scale: of the standard deviation.
        seed: the same gives the same members, on every device.
    """

    members: int = 8
    scale: float = 1.0
    seed: int = 0


class Resampled(torch.nn.Module):
    """An ensemble drawn around a mean: a teacher whose outputs are those of its members, averaged.

    Members are drawn once. Floating outputs are averaged as they are, so logits as logits; others are those of the
    first member.

    Args:
        module: is copied.
        mean: from :meth:`WeightMean.mean`.
        variance: from :meth:`WeightMean.variance`; what is not in it has the mean in every member.
        draw: how many members, and how far from the mean.
        constraint: what is made of each member.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        mean: Mapping[str, torch.Tensor],
        variance: Mapping[str, torch.Tensor],
        draw: EnsembleDraw | None = None,
        *,
        constraint: NearestAllowed | None = None,
    ) -> None:
        super().__init__()
        draw = draw or EnsembleDraw()
        if draw.members < 1:
            raise UsageError(f"an ensemble of {draw.members} members gives no output; ask for 1 or more")
        self.module = deepcopy(module).requires_grad_(False).eval()
        own = self.module.state_dict()
        self._names, self._members = tuple(mean), draw.members
        generator = torch.Generator().manual_seed(draw.seed)
        for member in range(draw.members):
            drawn = {n: _drawn(tensor, variance.get(n), draw.scale, generator) for n, tensor in mean.items()}
            drawn = drawn if constraint is None else {**drawn, **constraint(drawn)}
            for index, name in enumerate(self._names):
                # In the type of the parameter: means are kept wider.
                self.register_buffer(_key(member, index), drawn[name].to(own[name].dtype))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The mean of the members' outputs, as the module returns them: a tensor or a tuple."""
        self.module.eval()
        total: list[Any] = []
        single = False
        for member in range(self._members):
            # One copy of the module serves all members, each lending it its weights.
            weights = {name: self.get_buffer(_key(member, index)) for index, name in enumerate(self._names)}
            found = torch.func.functional_call(self.module, weights, args, kwargs)
            single = not isinstance(found, tuple)
            outputs = (found,) if single else found
            total = [_plus(a, b) for a, b in zip(total, outputs, strict=True)] if total else list(outputs)
        mean = [t / self._members if _is_real(t) else t for t in total]
        return mean[0] if single else tuple(mean)


def _key(member: int, index: int) -> str:
    return f"member_{member}_{index}"


def _drawn(mean: torch.Tensor, variance: torch.Tensor | None, scale: float, generator: torch.Generator) -> torch.Tensor:
    """On the CPU, so that the same seed gives the same members everywhere."""
    if variance is None:
        return mean.detach().clone()
    noise = torch.randn(mean.shape, generator=generator, dtype=torch.float32).to(mean.device, mean.dtype)
    # Rounding may leave a variance just below zero.
    return mean.detach() + scale * variance.clamp(min=0).sqrt() * noise


def _plus(a: Any, b: Any) -> Any:
    return a + b if _is_real(a) else a


def _is_real(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _followed(module: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Parameters that are trained, and floating buffers of the state."""
    state = module.state_dict(keep_vars=True)
    parameters = trained_parameters(module)
    names = {name for name, _ in parameters}
    own = {name for name, _ in module.named_parameters()}
    # Running statistics belong to the weights that they were taken with, so they are averaged too.
    rest = [(k, v.detach()) for k, v in state.items() if k not in names | own and v.is_floating_point()]
    return [*parameters, *rest]


def _wide(tensor: torch.Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
