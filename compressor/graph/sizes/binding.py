"""Sizes for symbolic dimensions: the user's where given, else sizes that real networks accept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

import onnx_ir as ir

from compressor.config.section import did_you_mean
from compressor.errors import ModelError, OutOfMemory, UsageError
from compressor.graph.sizes.dims import OPEN, UNKNOWN, Dim, Size, parse, solve_symbol, substitute, symbol, symbols
from compressor.graph.sizes.shape_rules import DimShape

Shape = tuple[int, ...]
Bound = dict[str, Shape]
Declared = dict[str, DimShape]


@dataclass(frozen=True)
class Given:
    """What the user said: shapes by input name, sizes by symbolic dimension."""

    shapes: Mapping[str, Shape]
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class CandidateSizes:
    """Sizes to try: for the first axis, for the spatial axes of images, and for other axes in turn."""

    batch: int
    image: tuple[int, int]
    others: tuple[int, ...]

    def shrunk(self, factor: int) -> CandidateSizes:
        """Smaller sizes, and one sample at the last; the sides of images stay different where they were."""
        return replace(
            self,
            batch=1 if factor == SHRINK[-1] else self.batch,
            image=(max(1, self.image[0] // factor), max(1, self.image[1] // factor)),
            others=tuple(max(1, size // factor) for size in self.others),
        )


# Distinct odd primes first, because a 1 or an equal pair hides which axis is which; then what real networks ask for:
# square images, sides divisible by 32, one size for all, a batch of one, a mask longer than past and sequence together.
FIRST_SIZES = (
    CandidateSizes(3, (96, 160), (13, 17, 19, 23)),
    CandidateSizes(3, (224, 224), (16, 16, 16, 16)),
    CandidateSizes(1, (224, 224), (13, 17, 19, 23)),
    CandidateSizes(1, (224, 224), (16, 16, 16, 16)),
    CandidateSizes(1, (256, 256), (32, 32, 32, 32)),
    CandidateSizes(1, (32, 32), (64, 64, 64, 64)),
    CandidateSizes(1, (224, 224), (64, 5, 7, 11)),
    CandidateSizes(1, (1, 1), (1, 1, 1, 1)),
    # Kernels and strides of signals need thousands.
    CandidateSizes(1, (512, 512), (1024, 1024, 1024, 1024)),
    CandidateSizes(1, (1024, 1024), (16000, 16000, 16000, 16000)),
)
SECOND = (
    CandidateSizes(2, (160, 224), (29, 31, 37, 41)),
    CandidateSizes(2, (256, 256), (32, 32, 32, 32)),
    CandidateSizes(1, (256, 256), (29, 31, 37, 41)),
    CandidateSizes(1, (64, 64), (128, 128, 128, 128)),
    CandidateSizes(1, (640, 640), (1280, 1280, 1280, 1280)),
    CandidateSizes(1, (1280, 1280), (20000, 20000, 20000, 20000)),
)
SMALL_SIZES = tuple(CandidateSizes(1, (size, size + 1), (size, size + 1) * 2) for size in (2, 4, 8, 16, 32))
"""Smallest first: below bounds that sizes of images and texts mostly exceed."""
FAR_SIZES = (
    CandidateSizes(11, (320, 256), (200, 150, 120, 180)),
    CandidateSizes(11, (192, 128), (64, 100, 70, 90)),
    CandidateSizes(1, (320, 256), (200, 150, 120, 180)),
    CandidateSizes(1, (192, 128), (64, 100, 70, 90)),
)
"""Far from both: what holds by chance between 13 and 41 (less than a stride, than a bound), or for a batch of 2 and 3,
does not hold here."""
VALUE_LIMIT = 1 << 32
"""Elements of the largest value of a graph that is worked on at all: 16 GiB of float32."""
SHRINK = (1, 2, 4, 8)
"""By how much a candidate is divided, in turn, while the values of a graph have too many elements."""


def declared(graph: ir.Graph, given: Given, *, labels: bool = False) -> Declared:
    """The shape of each input, open dimensions as symbols; names that spell out a sum are that sum.

    Args:
        graph: the graph.
        given: what the user said.
        labels: such names are symbols of their own, too.

    Raises:
        UsageError: the user named an input or dimension that is not there, or gave sizes that contradict the file or
            each other.
        OutOfMemory: the sizes that the user gave make an input of more than ``VALUE_LIMIT`` elements.
        ModelError: an input declares no shape and none was given.
    """
    _check(graph, given)
    named = {key for value in graph.inputs for axis, dim in enumerate(value.shape or ()) if (key := _key(value, axis))}
    plain = frozenset() if labels else named
    found: Declared = {}
    for value in graph.inputs:
        name = str(value.name)
        if value.shape is None and name not in given.shapes:
            raise ModelError(f"input {name!r} declares no shape; give one with --input-shape {name}:1,3,224,224")
        rank = len(given.shapes[name] if value.shape is None else value.shape)
        keys = [_key(value, axis) for axis in range(rank)]
        found[name] = tuple(_declared(value, axis, key, plain) for axis, key in enumerate(keys))
    return found


def is_open(dim: int | ir.SymbolicDim) -> bool:
    """May the caller choose the size? A negative number says so too, as in ONNX Runtime."""
    return not isinstance(dim, int) or dim < 0


PLACEHOLDERS = frozenset({"-1", "any", "dim", "dynamic", "none", "null", "undefined", "unk", "unknown"})
"""What converters write for an open dimension where they know no name: no promise that two of them are equal."""


def _key(value: ir.Value, axis: int) -> str:
    """What the symbol of an open dimension is called, empty for a fixed one; one without a name is called by place."""
    dim = None if value.shape is None else value.shape[axis]
    if isinstance(dim, int) and dim >= 0:
        return ""
    name = dim.value if isinstance(dim, ir.SymbolicDim) else None
    promised = name and name[0] not in OPEN + UNKNOWN and name.lower() not in PLACEHOLDERS
    return str(name) if promised else f"{value.name}#{axis}"


def _declared(value: ir.Value, axis: int, key: str, plain: Iterable[str]) -> Dim:
    if not key:
        assert value.shape is not None
        return int(str(value.shape[axis]))
    return parse(key, plain) or symbol(key)


def numbered(declared: Mapping[str, DimShape], inputs: Mapping[str, Shape]) -> dict[str, Dim]:
    """What the symbols of the inputs' shapes stand for at these shapes."""
    sizes: dict[str, Dim] = {}
    for name, shape in declared.items():
        numbers = zip(shape, inputs.get(name, ()), strict=False)
        sizes.update((size.text, number) for size, number in numbers if isinstance(size, Size))
    return sizes


def batch(graph: ir.Graph, bound: Bound) -> int:
    """The batch size, made up or given: that of the inputs whose first dimension the file leaves open.

    At least 1, as costs of a run are shared out among its samples: those of a run without any are nothing anyway.
    """
    open_first = [v for v in graph.inputs if v.shape is not None and len(v.shape) and is_open(v.shape[0])]
    sizes = {bound[str(v.name)][0] for v in open_first}
    return max(1, sizes.pop()) if len(sizes) == 1 else 1


def fitted(bound: Bound, graph: ir.Graph) -> Bound:
    """``bound`` for the inputs of ``graph`` alone, with the sizes that these fix."""
    fixed = {str(v.name): [None if is_open(d) else int(str(d)) for d in v.shape or ()] for v in graph.inputs}
    return {
        name: tuple(s if d is None else d for s, d in zip(shape, fixed[name] or shape, strict=True))
        for name, shape in bound.items()
        if name in fixed
    }


def _named(value: ir.Value, axis: int) -> str:
    dim = None if value.shape is None else value.shape[axis]
    # Dimensions without a name have none in common.
    return (dim.value or "") if isinstance(dim, ir.SymbolicDim) else ""


def _check(graph: ir.Graph, given: Given) -> None:
    """Refuses what the user said and the inputs contradict (UsageError), or no memory holds (OutOfMemory)."""
    inputs = {str(v.name): v for v in graph.inputs}
    for name, shape in given.shapes.items():
        if name not in inputs:
            raise UsageError(
                f"the model has no input {name!r}{did_you_mean(name, inputs)} (its inputs: {', '.join(sorted(inputs))})"
            )
        wanted = inputs[name].shape
        if wanted is None:
            continue
        if len(shape) != len(wanted):
            raise UsageError(f"input {name!r} has {len(wanted)} dimensions, the shape given has {len(shape)}")
        for axis, (size, dim) in enumerate(zip(shape, wanted, strict=True)):
            if not is_open(dim) and dim != size:
                raise UsageError(f"input {name!r} fixes dimension {axis} to {dim}, the shape given says {size}")
    named = {str(d.value) for v in graph.inputs for d in v.shape or () if isinstance(d, ir.SymbolicDim) and d.value}
    for name in given.sizes:
        if name not in named:
            known = ", ".join(sorted(named)) or "none"
            raise UsageError(
                f"the model has no symbolic dimension {name!r}{did_you_mean(name, named)} (its inputs have: {known})"
            )
    _check_agreement(graph, given)
    _check_room(graph, given)


def _check_room(graph: ir.Graph, given: Given) -> None:
    """Refuses sizes given by the user that make an input of too many elements; raises OutOfMemory."""
    for value in graph.inputs if given.shapes or given.sizes else ():
        shape = given.shapes.get(str(value.name)) or _with_given(value, given)
        if prod(shape) > VALUE_LIMIT:
            raise OutOfMemory(
                f"input {str(value.name)!r} of shape {list(shape)} has {prod(shape)} elements, and at most "
                f"{VALUE_LIMIT} are worked on; give smaller sizes with --input-shape or --dim"
            )


def _with_given(value: ir.Value, given: Given) -> Shape:
    """The shape of an input as far as it is known, 1 for sizes that nobody gave."""
    dims = value.shape or ()
    return tuple(
        given.sizes.get(_named(value, axis), 1) if is_open(dim) else int(str(dim)) for axis, dim in enumerate(dims)
    )


def _check_agreement(graph: ir.Graph, given: Given) -> None:
    """A dimension that several inputs share has one size, whoever gives it; raises UsageError where there are two."""
    said = {name: (size, f"--dim {name}={size}") for name, size in given.sizes.items()}
    for value in graph.inputs:
        shape = given.shapes.get(str(value.name), ())
        for axis, size in enumerate(shape):
            name = _named(value, axis)
            # Axes without a name meet under the empty one and are not compared.
            before, words = said.setdefault(name, (size, f"--input-shape {value.name}:{','.join(map(str, shape))}"))
            if name and before != size:
                raise UsageError(
                    f"{words} makes the dimension {name!r} {before}, and --input-shape "
                    f"{value.name}:{','.join(map(str, shape))} makes it {size}; give it one size"
                )


# ---- numbers for symbols ---------------------------------------------------------------------------------------


class Binding:
    """Numbers for the symbols of a graph's inputs.

    Args:
        graph: the graph.
        sizes: the shape of each input, as :func:`declared` gives it.
        given: what the user said.
        equations: pairs of sizes that must be equal for the graph to run.
    """

    def __init__(self, graph: ir.Graph, sizes: Declared, given: Given, equations: Iterable[tuple[Dim, Dim]]) -> None:
        self._graph, self._sizes, self._given = graph, sizes, given
        self._equations = list(equations)
        self._fixed = _solved({}, self._said())
        self._solved = _solved(self._fixed, self._equations)

    @property
    def given(self) -> bool:
        """Did the user say any size?"""
        return bool(self._given.shapes or self._given.sizes)

    def _said(self) -> Iterator[tuple[Dim, Dim]]:
        """What the user said, as equations."""
        for value in self._graph.inputs:
            shape = self._sizes[str(value.name)]
            yield from zip(shape, self._given.shapes.get(str(value.name), ()), strict=False)
            for axis, size in enumerate(shape):
                if (said := self._given.sizes.get(_named(value, axis))) is not None:
                    yield size, said

    def candidates(self, tried: Iterable[CandidateSizes]) -> Iterator[Bound]:
        """Input shapes to try, each once: with the equations of the graph, then without; empty ones last."""
        seen: list[Bound] = []
        for candidate in tried:
            # An equation may come from a part of the graph that never runs, so sizes are also tried without them.
            found = [self._bound(candidate, solved) for solved in (self._solved, self._fixed)]
            # Nothing is computed that could be compared, and ONNX Runtime joins an empty value to any other.
            for bound in sorted((b for b in found if b is not None), key=_empty):
                if bound not in seen:
                    seen.append(bound)
                    yield bound

    def _bound(self, candidate: CandidateSizes, solved: Mapping[str, Dim]) -> Bound | None:
        """Shapes of the inputs; None where a size would be negative, or no number."""
        numbers: dict[str, Dim] = {}
        spare = iter(candidate.others * (1 + sum(map(len, self._sizes.values()))))
        for shape in self._sizes.values():
            for axis, size in enumerate(shape):
                for name in sorted(symbols(size) - numbers.keys() - solved.keys()):
                    numbers[name] = candidate.batch if axis == 0 else _side(candidate, shape, axis) or next(spare)
        # A solution may depend on symbols that no input has alone.
        for name, size in solved.items():
            for other in sorted(symbols(size) - numbers.keys()):
                numbers[other] = next(spare)
            numbers[name] = substitute(size, numbers)
        found: Bound = {}
        for value in self._graph.inputs:
            shape = tuple(substitute(size, numbers) for size in self._sizes[str(value.name)])
            known = tuple(size for size in shape if isinstance(size, int) and size >= 0)
            found[str(value.name)] = self._given.shapes.get(str(value.name), known)
            if len(known) < len(shape):
                return None
        return found

    def wanted(self) -> Iterator[CandidateSizes]:
        """Sizes for each equation that holds no symbol alone: one for all its symbols, where one meets it."""
        for one, two in self._equations:
            size = _common_size(substitute(one - two, self._solved))
            if size is not None:
                yield CandidateSizes(FIRST_SIZES[0].batch, (size, size), (size,) * len(FIRST_SIZES[0].others))

    def open_names(self) -> str:
        """Every open dimension once, with an input that has it."""
        found: dict[str, str] = {}
        for value in self._graph.inputs:
            for axis, size in enumerate(self._sizes[str(value.name)]):
                if isinstance(size, Size):
                    found.setdefault(size.text, f"{_named(value, axis) or f'axis {axis}'} of {value.name}")
        return ", ".join(found.values())

    def emptied(self, bound: Bound) -> Bound | None:
        """``bound`` with empty pasts: sizes that the graph adds to another one and that only caches have.

        None where there are no such sizes.
        """
        shapes = list(self._sizes.values())
        known = [*self._solved.values(), *(d for shape in shapes for d in shape)]
        summed = set[str]().union(*map(symbols, filter(_summed, known)))
        # Lengths of whole-number inputs are those of token ids, which are never empty, and neither are images.
        ids = [v for v in self._graph.inputs if v.dtype is not None and not v.dtype.is_floating_point()]
        plain = {d.text for v in ids for d in self._sizes[str(v.name)] if isinstance(d, Size)}
        for shape in shapes:
            # Heads of a cache may be open by name, and follow from the graph.
            left = tuple(substitute(dim, self._solved) for dim in shape)
            plain = plain.union(*(symbols(dim) for axis, dim in enumerate(shape) if _spatial(left, axis)))
        pasts = dict.fromkeys(summed - plain, 0)
        return self._with(bound, pasts) if pasts else None

    def _with(self, bound: Bound, numbers: Mapping[str, int]) -> Bound:
        known: dict[str, Dim] = {}
        for name, shape in self._sizes.items():
            known.update({d.text: n for d, n in zip(shape, bound[name], strict=True) if isinstance(d, Size)})
        known.update(numbers)
        known.update({name: substitute(size, known) for name, size in self._solved.items() if name not in numbers})
        made = {name: tuple(substitute(d, known) for d in shape) for name, shape in self._sizes.items()}
        return {name: tuple(d if isinstance(d, int) else 1 for d in shape) for name, shape in made.items()}


def _summed(size: Dim) -> bool:
    return isinstance(size, Size) and len(size.terms) > 1


def _common_size(gap: Dim) -> int | None:
    """The largest number that makes ``gap`` zero if all its symbols stand for it, by bisection; None where none does.

    Sizes inside grow with those of inputs, so that the largest is what wastes nothing to rounding.
    """
    names = symbols(gap)
    low, high = 1, max(FIRST_SIZES[-1].others)
    if not names or (end := substitute(gap, dict.fromkeys(names, high))) == 0 or not isinstance(end, int):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        there = substitute(gap, dict.fromkeys(names, middle))
        # On the far side of the root the sign is that of the end.
        beyond = isinstance(there, int) and there * end > 0
        low, high = (low, middle - 1) if beyond else (middle, high)
    return low if substitute(gap, dict.fromkeys(names, low)) == 0 else None


def _empty(bound: Bound) -> bool:
    return any(0 in shape for shape in bound.values())


def _side(candidate: CandidateSizes, shape: DimShape, axis: int) -> int | None:
    """The size of an axis of an image; None for one of anything else."""
    return candidate.image[axis % 2] if _spatial(shape, axis) else None


def _spatial(shape: DimShape, axis: int) -> bool:
    """Is this an axis of an image, though perhaps that of channels?

    An image or a volume has several open sides; a cache of four axes, or text in heads, has one.
    """
    return len(shape) in (4, 5) and axis > 0 and sum(isinstance(size, Size) for size in shape[1:]) > 1


def _solved(solutions: Mapping[str, Dim], equations: Iterable[tuple[Dim, Dim]]) -> dict[str, Dim]:
    """Symbols and what they stand for where the equations hold; one that says nothing of a symbol is passed over."""
    found = dict(solutions)
    for one, two in equations:
        solution = solve_symbol(substitute(one, found), substitute(two, found))
        if solution is not None:
            # Put into the earlier solutions too, so that none depends on a symbol that is solved.
            found = {name: substitute(size, dict([solution])) for name, size in found.items()} | dict([solution])
    return found
