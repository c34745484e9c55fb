"""Which sizes a graph is looked at and run with: found by trying, within a budget of elements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from math import prod

import onnx_ir as ir

from compressor.errors import CompressorError, ModelError, OutOfMemory
from compressor.graph.sizes.binding import (
    FAR_SIZES,
    FIRST_SIZES,
    SECOND,
    SHRINK,
    SMALL_SIZES,
    VALUE_LIMIT,
    Binding,
    Bound,
    CandidateSizes,
    Declared,
    numbered,
)
from compressor.graph.sizes.dims import Dim, Misfit, Size, size_product, substitute
from compressor.graph.sizes.inference import infer_values
from compressor.graph.sizes.known import Known
from compressor.graph.sizes.ranges import Limit, reachable

VALUE_BUDGET = 1 << 24
"""Elements of the largest value of a graph at the sizes chosen for it."""
TOTAL_BUDGET = 1 << 29
"""Elements of all its values together."""
SECOND_FACTOR = 3
"""How many times the elements of the first sizes the second ones may have, where even the first are over budget."""
FAR_BUDGET = 1 << 24
"""Elements of all values together at the far sizes, which serve as a check only."""
WRONG_TYPE = "has unsupported type"
"""What ONNX's inference says of an element type that an operator does not take, at whatever sizes."""


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

    def first(self) -> AcceptedSizes:
        """The first sizes that fit within budget, or else the smallest that fit, and all shapes at these.

        Raises:
            ModelError: no size tried fits, or at each that does a value is larger than ``VALUE_LIMIT``: refused here,
                before anything of that size is made.
            OutOfMemory: the latter, at sizes that the user gave.
        """
        problems: list[str] = []
        best: AcceptedSizes | None = None
        for fit in self._fitting(chain(FIRST_SIZES, self.binding.wanted()), problems):
            if best is None or fit.cost.total < best.cost.total:
                # Kept in case that no sizes are within the budget.
                best = fit
            if fit.cost.affordable:
                return fit
        if best is None:
            names = self.binding.open_names()
            remedy = (
                f"; if one of the open dimensions ({names}) needs a certain size, give it with --input-shape or --dim"
            )
            problem = problems[0] if problems else "no sizes are left to try"
            if WRONG_TYPE in problem:
                raise ModelError(f"ONNX has no such operator: {problem}; convert the model to float32, say")
            raise ModelError(f"shapes do not fit: {problem}{remedy if names else ''}")
        _refuse_too_large(best.known, OutOfMemory if self.binding.given else ModelError)
        return best

    def second(self, first: AcceptedSizes) -> Bound:
        """Other sizes that fit within budget, given what ``first`` costs; those of ``first`` where there are none.

        Of these the first at which indices that are counted from sizes stay in their tables, if there is one.
        """
        spent = first.cost
        # A size that is fixed and large leaves no other batch within budget; a file is not proved at one size for that.
        fitting = (
            fit.bound
            for fit in self._fitting(SECOND, [])
            if fit.bound != first.bound
            and fit.hollow <= first.hollow
            and (fit.cost.affordable or (not spent.affordable and fit.cost.total <= SECOND_FACTOR * spent.total))
        )
        beyond = first.bound
        for bound in fitting:
            if self._within(bound):
                return bound
            beyond = bound if beyond is first.bound else beyond
        return beyond

    def far(self, first: AcceptedSizes) -> Bound | None:
        """Sizes far from the others; None where running them may cost too much, given the elements at ``first``."""
        for bound in self.binding.candidates(FAR_SIZES):
            if bound != first.bound and self._cheap(bound, first) and self._within(bound) and self._takes(bound, first):
                emptied = self.binding.emptied(bound)
                # A size that an empty past makes negative was no past.
                return bound if emptied is None or self._least(emptied)[0] < 0 else emptied
        return None

    def small(self, first: AcceptedSizes) -> Bound | None:
        """The smallest sizes that leave something of every value; None where none of those tried does."""
        bounds = (bound for bound in self.binding.candidates(SMALL_SIZES) if bound != first.bound)
        return next((bound for bound in bounds if self._within(bound) and self._takes(bound, first)), None)

    def near(self, first: AcceptedSizes, second: Bound) -> Bound | None:
        """The differences of the first two sizes, which are small, and divisible by what both are divisible by.

        None where these are no others, or leave nothing of a value.
        """
        # A size that is equal in both probes is fixed; its difference of 0 would make an empty input.
        gap = {
            name: tuple(abs(b - a) or a for a, b in zip(shape, second[name], strict=True))
            for name, shape in first.bound.items()
        }
        numbers = numbered(self.declared, gap)
        # The difference of two sums is no sum, where a number is added.
        made = {name: tuple(substitute(dim, numbers) for dim in shape) for name, shape in self.declared.items()}
        bound = {
            name: tuple(d if isinstance(d, int) else a for d, a in zip(made[name], shape, strict=True))
            for name, shape in gap.items()
        }
        return None if bound in (first.bound, second) or not self._takes(bound, first) else bound

    def unlike(self, first: AcceptedSizes) -> Bound | None:
        """Sizes that differ where one input calls several alike; None where none does, or these leave a value empty.

        ONNX says that they are equal, and ONNX Runtime mostly takes them where they are not.
        """
        bound = {}
        for name, shape in first.bound.items():
            dims = self.declared[name]
            times = [1 if isinstance(dim, int) else dims[: axis + 1].count(dim) for axis, dim in enumerate(dims)]
            bound[name] = tuple(size * by for size, by in zip(shape, times, strict=True))
        return bound if bound != first.bound and self._takes(bound, first) else None

    def spare(self, first: AcceptedSizes) -> list[Bound]:
        """Every size that could be tried, smallest last: for whoever finds that a runtime refuses the others."""
        return [bound for bound in self.binding.candidates(FIRST_SIZES) if first.hollow or self._least(bound)[0] > 0]

    def _cheap(self, bound: Bound, first: AcceptedSizes) -> bool:
        """Does a run at these sizes cost no more than a check may?"""
        made = list(value_elements(self.symbolic, numbered(self.declared, bound)))
        if None not in made:
            return sum(filter(None, made)) <= FAR_BUDGET
        grown = max((prod(bound[name]) / max(1, prod(shape)) for name, shape in first.bound.items()), default=1.0)
        # Squared, because attention grows with the square of a length.
        return first.cost.total * max(1.0, grown) ** 2 <= FAR_BUDGET

    def _within(self, bound: Bound) -> bool:
        return reachable(self.limits, numbered(self.declared, bound))

    def _takes(self, bound: Bound, first: AcceptedSizes) -> bool:
        """Does every value have some entries at these sizes, as at ``first``? Not asked where those leave one empty."""
        if first.hollow:
            return True
        if self._least(bound)[0] <= 0:
            return False
        numbers = numbered(self.declared, bound)
        # Whoever knows all sizes by now need not walk the graph.
        if all(isinstance(substitute(dim, numbers), int) for dim in self._makers):
            return True
        try:
            return not self._hollow(infer_values(self.model, bound, self.symbolic.records, self.symbolic))
        except (Misfit, ModelError):
            # A runtime refuses such sizes, which does no harm.
            return True

    def _least(self, bound: Bound) -> tuple[int, ir.Node | None]:
        """The smallest of the open sizes that follow from these of the inputs, and the node that gives it."""
        numbers = numbered(self.declared, bound)
        sizes = ((substitute(dim, numbers), node) for dim, node in self._makers.items())
        return min(((s, n) for s, n in sizes if isinstance(s, int)), key=lambda found: found[0], default=(1, None))

    def _hollow(self, known: Known) -> bool:
        """Is a value empty that is not so at any size?"""
        made = (value for node in self.model.graph for value in node.outputs)
        return any(0 in (known.shapes.get(v) or ()) and 0 not in (self.symbolic.shapes.get(v) or ()) for v in made)

    @cached_property
    def _makers(self) -> dict[Dim, ir.Node | None]:
        """Each open size that values of the graph have, with the first node that gives it, None for those of inputs.

        These are few, however large the graph.
        """
        found: dict[Dim, ir.Node | None] = {dim: None for shape in self.declared.values() for dim in shape}
        for node in self.model.graph:
            for value in node.outputs:
                for dim in self.symbolic.shapes.get(value) or ():
                    found.setdefault(dim, node)
        return {dim: node for dim, node in found.items() if isinstance(dim, Size)}

    def _fitting(self, candidates: Iterable[CandidateSizes], problems: list[str]) -> Iterator[AcceptedSizes]:
        """Sizes that the graph accepts, each once; why it refuses others.

        A candidate that fits is followed by smaller ones, for whoever finds it too large. Those that leave nothing of
        a value come behind all others: a layer shows nothing there, and kernels of runtimes divide by sizes.
        """
        seen: list[Bound] = []
        hollow: list[Bound] = []
        for candidate in candidates:
            for factor in SHRINK:
                found = self.binding.candidates([candidate if factor == 1 else candidate.shrunk(factor)])
                tried = [bound for bound in found if bound not in seen]
                seen += tried
                # Sizes that were tried before are no failure: smaller ones may be new.
                fits = not tried
                for bound in tried:
                    try:
                        fit = self._fit(bound)
                    except (Misfit, ModelError) as error:
                        problems.append(str(error))
                        continue
                    fits = True
                    if fit is None:
                        hollow.append(bound)
                    else:
                        yield fit
                if not fits:
                    break
        for bound in hollow:
            try:
                known = infer_values(self.model, bound, self.symbolic.records, self.symbolic)
            except Misfit as misfit:
                problems.append(str(misfit))
            else:
                yield AcceptedSizes(bound, known, cost(known), hollow=True)

    def _fit(self, bound: Bound) -> AcceptedSizes | None:
        """What the graph is at these sizes; None where they leave nothing of a value.

        Raises:
            Misfit: the graph refuses them; a size comes to less than zero, say, as a kernel is longer than the signal.
            ModelError: a value is larger than any that is believed.
        """
        size, node = self._least(bound)
        if size < 0:
            where = "an input would have" if node is None else f"node {node.name!r} ({node.op_type}) would give"
            raise Misfit(f"{where} a size of {size}")
        if size == 0:
            return None
        known = infer_values(self.model, bound, self.symbolic.records, self.symbolic)
        return None if self._hollow(known) else AcceptedSizes(bound, known, cost(known))


@dataclass(frozen=True)
class AcceptedSizes:
    """Sizes that a graph accepts.

    Attributes:
        bound: shapes of its inputs.
        known: all shapes at these.
        cost: of its values.
        hollow: an open size comes to 0 there.
    """

    bound: Bound
    known: Known
    cost: Cost
    hollow: bool = False


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


def value_elements(symbolic: Known, numbers: Mapping[str, Dim]) -> Iterator[int | None]:
    """Elements of values that nodes make, with these numbers for symbols; None where they do not follow from them."""
    made = Counter(dims for value, dims in symbolic.shapes.items() if value.producer() is not None)
    # Few shapes are different ones, however large the graph.
    for dims, times in made.items():
        size = None if dims is None else size_product([substitute(dim, numbers) for dim in dims])
        yield size * times if isinstance(size, int) else None


def cost(known: Known) -> Cost:
    """What the values of a walk with numbers cost."""
    # Inputs and weights are there anyway; what counts is what a run makes.
    shapes = [s for v, s in known.shapes.items() if s is not None and v.producer() is not None]
    sizes = [size for size in map(size_product, shapes) if isinstance(size, int)]
    return Cost(max(sizes, default=0), sum(sizes))
