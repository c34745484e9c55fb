"""How important a channel is. One class a criterion; the table below is explicit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from compressor.errors import UsageError
from compressor.pruning.criteria.activations import Activation, Chip, Pfp, Wanda
from compressor.pruning.criteria.base import Criterion, Scores, Weights
from compressor.pruning.criteria.gradients import Fisher, Grasp, Hessian, Snip, SynFlow, Taylor
from compressor.pruning.criteria.measurement import Measurement, Need
from compressor.pruning.criteria.norms import Consumers, Lamp, Magnitude, Product
from compressor.pruning.criteria.random import Chance
from compressor.pruning.criteria.redundancy import GeometricMedian

CRITERIA: Mapping[str, Callable[[int], Criterion]] = MappingProxyType(
    {
        "l1": lambda _: Magnitude(1),
        "l2": lambda _: Magnitude(2),
        "product": lambda _: Product(),
        "consumers": lambda _: Consumers(),
        "fpgm": lambda _: GeometricMedian(),
        "lamp": lambda _: Lamp(),
        "taylor": lambda _: Taylor(),
        "fisher": lambda _: Fisher(),
        "hessian": lambda _: Hessian(),
        "snip": lambda _: Snip(),
        "grasp": lambda _: Grasp(),
        "synflow": lambda _: SynFlow(),
        "activation": lambda _: Activation(),
        "wanda": lambda _: Wanda(),
        "pfp": lambda _: Pfp(),
        "chip": lambda _: Chip(),
        "random": Chance,
    }
)
"""Name on the command line -> maker, called with the seed."""


def criterion(name: str, seed: int) -> Criterion:
    """The criterion called ``name``; raises UsageError where there is none."""
    maker = CRITERIA.get(name)
    if maker is None:
        raise UsageError(f"no criterion {name!r}; there are {', '.join(CRITERIA)}")
    return maker(seed)


__all__ = ["CRITERIA", "Criterion", "Measurement", "Need", "Scores", "Weights", "criterion"]
