"""Which sizes a graph is looked at and run with: found by trying, within a budget of elements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import onnx_ir as ir

from compressor.errors import CompressorError, ModelError, OutOfMemory
from compressor.graph.binding import (
    FAR_SIZES,
    FIRST_SIZES,
    SECOND,
    SHRINK,
    VALUE_LIMIT,
    Binding,
    Bound,
    CandidateSizes,
    Declared,
    numbered,
)
from compressor.graph.dims import Dim, Misfit, size_product, substitute
from compressor.graph.inference import infer_values
from compressor.graph.known import Known
from compressor.graph.ranges import Limit, reachable

VALUE_BUDGET = 1 << 24
"""Elements of the largest value of a graph at the sizes chosen for it."""
TOTAL_BUDGET = 1 << 29
"""Elements of all its values together."""
SECOND_FACTOR = 3
"""How many times the elements of the first sizes the second ones may have, where even the first are over budget."""
FAR_BUDGET = 1 << 24
"""Elements of all values together at the far sizes, which serve as a check only."""


@dataclass(frozen=True)
class SizeSearch:
    """Sizes that a graph accepts.

    Attributes:
        model: normalised.
        symbolic: what a walk with symbols found.
        binding: numbers for these symbols.
        declared: shapes of the inputs, with symbols for what is open.
        limits: indices that are counted from sizes, and the axes that they pick from.
    """

    model: ir.Model
    symbolic: Known
    binding: Binding
    declared: Declared
    limits: Sequence[Limit]

    def first(self) -> tuple[Bound, Known]:
        """The first sizes that fit within budget, or else the smallest that fit, and all shapes at these.

        Raises:
            ModelError: no size tried fits, or at each that does a value is larger than ``VALUE_LIMIT``: refused here,
                before anything of that size is made.
            OutOfMemory: the latter, at sizes that the user gave.
        """
        problems: list[str] = []
        best: tuple[int, Bound, Known] | None = None
        for size, bound, known in self._fitting(FIRST_SIZES, problems):
            if best is None or size.total < best[0]:
                # Kept in case that no sizes are within the budget.
                best = size.total, bound, known
            if size.affordable:
                return bound, known
        if best is None:
            raise ModelError(
                f"shapes do not fit: {problems[0] if problems else 'no sizes are left to try'}; if a symbolic input "
                "dimension needs a certain size, give it with --input-shape or --dim"
            )
        _refuse_too_large(best[2], OutOfMemory if self.binding.given else ModelError)
        return best[1:]

    def second(self, first: Bound, spent: Cost) -> Bound:
        """Other sizes that fit within budget, given what ``first`` costs; ``first`` where there are none.

        Of these the first at which indices that are counted from sizes stay in their tables, if there is one.
        """
        # A size that is fixed and large leaves no other batch within budget; a file is not proved at one size for that.
        fitting = (
            bound
            for size, bound, _ in self._fitting(SECOND, [])
            if bound != first
            and (size.affordable or (not spent.affordable and size.total <= SECOND_FACTOR * spent.total))
        )
        beyond = first
        for bound in fitting:
            if self._within(bound):
                return bound
            beyond = bound if beyond is first else beyond
        return beyond

    def _within(self, bound: Bound) -> bool:
        return reachable(self.limits, numbered(self.declared, bound))

    def _demand_sizes(self, bound: Bound) -> None:
        """Raises Misfit where a size comes to less than zero: a kernel that is longer than the signal, say."""
        numbers = numbered(self.declared, bound)
        for dim, node in self._makers.items():
            size = substitute(dim, numbers)
            if isinstance(size, int) and size < 0:
                raise Misfit(f"node {node.name!r} ({node.op_type}) would give a size of {size}")

    @cached_property
    def _makers(self) -> dict[Dim, ir.Node]:
        """Each size that values of the graph have, with the first node that gives it: few, however large the graph."""
        found: dict[Dim, ir.Node] = {}
        for node in self.model.graph:
            for value in node.outputs:
                for dim in self.symbolic.shapes.get(value) or ():
                    found.setdefault(dim, node)
        return found

    def _fitting(
        self, candidates: Iterable[CandidateSizes], problems: list[str]
    ) -> Iterator[tuple[Cost, Bound, Known]]:
        """Sizes that the graph accepts, each once, with what its values cost; why it refuses others.

        A candidate that fits is followed by smaller ones, for whoever finds it too large.
        """
        seen: list[Bound] = []
        for candidate in candidates:
            for factor in SHRINK:
                found = self.binding.candidates([candidate if factor == 1 else candidate.shrunk(factor)])
                tried = [bound for bound in found if bound not in seen]
                seen += tried
                # Sizes that were tried before are no failure: smaller ones may be new.
                fits = not tried
                for bound in tried:
                    try:
                        self._demand_sizes(bound)
                        known = infer_values(self.model, bound, self.symbolic)
                    except Misfit as misfit:
                        problems.append(str(misfit))
                    else:
                        fits = True
                        yield cost(known), bound, known
                if not fits:
                    break

    def far(self, first: Bound, total: int) -> Bound | None:
        """Sizes far from the others; None where running them may cost too much, given the elements at ``first``."""
        for bound in self.binding.candidates(FAR_SIZES):
            grown = max((prod(bound[name]) / max(1, prod(shape)) for name, shape in first.items()), default=1.0)
            # Squared, because attention grows with the square of a length.
            if bound != first and total * max(1.0, grown) ** 2 <= FAR_BUDGET and self._within(bound):
                return self.binding.emptied(bound)
        return None

    def spare(self) -> list[Bound]:
        """Every size that could be tried, smallest last: for whoever finds that a runtime refuses the others."""
        return list(self.binding.candidates(FIRST_SIZES))


@dataclass(frozen=True)
class Cost:
    """Elements of the values of a graph: of the largest, and of all together."""

    largest: int
    total: int

    @property
    def affordable(self) -> bool:
        """Is this within budget?"""
        return self.largest <= VALUE_BUDGET and self.total <= TOTAL_BUDGET


def _refuse_too_large(known: Known, kind: type[CompressorError]) -> None:
    for value, shape in known.shapes.items():
        node, size = value.producer(), None if shape is None else size_product(shape)
        if isinstance(size, int) and size > VALUE_LIMIT:
            where = f"node {node.name!r} ({node.op_type}) makes" if node is not None else f"{value.name!r} is"
            raise kind(
                f"{where} a value of shape {list(shape or ())}, {size} elements, and at most {VALUE_LIMIT} are "
                "worked on; where sizes are open, give smaller ones with --input-shape or --dim"
            )


def cost(known: Known) -> Cost:
    """What the values of a walk with numbers cost."""
    # Inputs and weights are there anyway; what counts is what a run makes.
    shapes = [s for v, s in known.shapes.items() if s is not None and v.producer() is not None]
    sizes = [size for size in map(size_product, shapes) if isinstance(size, int)]
    return Cost(max(sizes, default=0), sum(sizes))
