"""What a proof runs models on: seeded numbers, at the probe sizes of open dimensions and beyond."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import onnx_ir as ir

from compressor.core.compare import is_real
from compressor.graph.sizes.feeds import demand_tensors, feeds, probe_inputs
from compressor.graph.sizes.probes import FAR_BUDGET
from compressor.graph.sizes.shapes import Shapes
from compressor.graph.tensors.weights import is_large
from compressor.runtime.stored import Feed

LOUD = 100
"""By how much inputs are larger in one run: beyond what normed data holds, and well within what a half float does."""


@dataclass(frozen=True)
class Inputs:
    """Seeded inputs of a proof, made when they are asked for.

    Attributes:
        model: takes them.
        shapes: of the model, with the probe sizes that they were inferred at.
        seed: of the numbers.
    """

    model: ir.Model
    shapes: Shapes
    seed: int

    @staticmethod
    def of_proof(model: ir.Model, shapes: Shapes, seed: int) -> Inputs:
        """Those of a proof, which can be left out; raises NothingToProve where they cannot be made up."""
        demand_tensors(model, "leave the proof out with --no-verify")
        return Inputs(model, shapes, seed)

    @cached_property
    def first(self) -> Feed:
        """At the sizes that masks are made for."""
        return feeds(self.model, self.shapes.inputs, self.shapes, self.seed)

    @cached_property
    def second(self) -> Feed | None:
        """At the second size; None where no dimension is open."""
        if self.shapes.other_inputs == self.shapes.inputs:
            return None
        # Another seed for each size, so that one size does not merely repeat the numbers of another.
        return feeds(self.model, self.shapes.other_inputs, self.shapes, self.seed + 1)

    @cached_property
    def far(self) -> Feed | None:
        """At sizes far from both; None where there are none, or they would cost too much."""
        bound = self.shapes.far_inputs
        if bound is None or bound in (self.shapes.inputs, self.shapes.other_inputs):
            return None
        return feeds(self.model, bound, self.shapes, self.seed + 2)

    @cached_property
    def near(self) -> Feed | None:
        """At small sizes; None where there are none."""
        bound = self.shapes.near_inputs
        return None if bound is None else feeds(self.model, bound, self.shapes, self.seed + 3)

    @cached_property
    def small(self) -> Feed | None:
        """At the smallest sizes, below what the graph may compare sizes with; None where none was found."""
        bound = self.shapes.small_inputs
        return None if bound is None else feeds(self.model, bound, self.shapes, self.seed + 5)

    @cached_property
    def unlike(self) -> Feed | None:
        """At sizes that differ where one input calls several alike; None where none does."""
        bound = self.shapes.unlike_inputs
        return None if bound is None else feeds(self.model, bound, self.shapes, self.seed + 4)

    @cached_property
    def loud(self) -> Feed | None:
        """Many times as large as the first, for nodes that only rare values go through; None as :meth:`_scaled`."""
        return self._scaled(LOUD)

    @cached_property
    def quiet(self) -> Feed | None:
        """A small part of the first, for constants that large numbers drown, such as an epsilon."""
        return self._scaled(1 / LOUD)

    def _scaled(self, factor: float) -> Feed | None:
        """At the first size, floats times ``factor``.

        None where no input is of such numbers, or a run would cost more than one at the far size may, or the model is
        large. Vectors stay, as they may be sizes: factors of a Resize are.
        """
        if self.shapes.elements_at(self.shapes.inputs) > FAR_BUDGET or is_large(self.model.graph):
            return None
        made = {
            n: np.multiply(a, factor, dtype=a.dtype) if is_real(a) and a.ndim > 1 else a for n, a in self.first.items()
        }
        return None if all(made[name] is array for name, array in self.first.items()) else made

    @property
    def both(self) -> list[Feed]:
        """Inputs at the first two sizes that were probed, for the quick proof."""
        return [self.first] if self.second is None else [self.first, self.second]

    @property
    def every(self) -> list[Feed]:
        """At all sizes that were probed."""
        # The far size is last: what compares only one or two takes the cheap ones.
        return self.both if self.far is None else [*self.both, self.far]

    def instead(self) -> Iterator[Feed]:
        """What to try where none of these runs: indices of zero, and sizes that suit other models."""
        attempts = probe_inputs(self.model, self.shapes, self.seed)
        return (attempt.feed for attempt in attempts if attempt.instead)

    def for_masks(self, *, sized: bool) -> list[Feed]:
        """What a masked graph is run on, the best first: one of the two sizes, and another.

        Masks that are ``sized`` fit the first size only. Of two that both fit, the one with fewer entries is taken.
        """
        # A mask that spells out a size of the first probe does not fit any other.
        if self.second is None or sized:
            return [self.first]
        sizes = [sum(prod(shape) for shape in s.values()) for s in (self.shapes.inputs, self.shapes.other_inputs)]
        one, two = (self.second, self.first) if sizes[1] < sizes[0] else (self.first, self.second)
        # Some graphs refuse far or near sizes (an image smaller than a stride), so the probed one stands behind them.
        return [one, *(feed for feed in (self.far, self.near) if feed is not None), two]
