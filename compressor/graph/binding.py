"""Concrete sizes for symbolic dimensions: the user's where given, else sizes that real networks accept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from compressor.errors import ModelError

Shape = tuple[int, ...]
Bound = dict[str, Shape]


@dataclass(frozen=True)
class Given:
    """What the user said: shapes by input name, sizes by symbolic dimension."""

    shapes: Mapping[str, Shape]
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class Candidate:
    """Sizes to try: for the first axis, for the spatial axes of images, and for other axes in turn."""

    batch: int
    image: tuple[int, int]
    others: tuple[int, ...]


# Pairs of bindings. Distinct odd primes first, because a 1 or an equal pair hides which axis is which; then what
# real networks ask for: square images, sides divisible by 32, one size for all, a batch of one.
_CANDIDATES = (
    (Candidate(3, (96, 160), (13, 17, 19, 23)), Candidate(2, (160, 224), (29, 31, 37, 41))),
    (Candidate(3, (224, 224), (16, 16, 16, 16)), Candidate(2, (256, 256), (32, 32, 32, 32))),
    (Candidate(1, (224, 224), (13, 17, 19, 23)), Candidate(1, (256, 256), (29, 31, 37, 41))),
    (Candidate(1, (224, 224), (16, 16, 16, 16)), Candidate(1, (224, 224), (16, 16, 16, 16))),
    (Candidate(1, (32, 32), (64, 64, 64, 64)), Candidate(1, (64, 64), (128, 128, 128, 128))),
    (Candidate(1, (1, 1), (1, 1, 1, 1)), Candidate(1, (1, 1), (1, 1, 1, 1))),
)


def bindings(graph: ir.Graph, given: Given) -> Iterator[tuple[Bound, Bound]]:
    """Pairs of input shapes to try, each pair once.

    Raises:
        ModelError: the user named an input or dimension that is not there, or a shape that contradicts the file;
            or an input declares no shape and none was given.
    """
    _check(graph, given)
    seen: list[tuple[Bound, Bound]] = []
    for second in (_doubled(graph, given), given):
        for one, two in _CANDIDATES:
            pair = (_bind(graph, given, one), _bind(graph, second, two))
            if pair not in seen:
                seen.append(pair)
                yield pair


def _doubled(graph: ir.Graph, given: Given) -> Given:
    """Other sizes for the symbolic dimensions that the user gave, to see what in the graph depends on them."""
    declared = {str(v.name): v.shape or () for v in graph.inputs}
    shapes = {
        name: tuple(s if isinstance(d, int) else 2 * s for s, d in zip(shape, declared[name], strict=False)) or shape
        for name, shape in given.shapes.items()
    }
    return Given(shapes, {name: 2 * size for name, size in given.sizes.items()})


def blind(graph: ir.Graph, one: Bound, two: Bound) -> bool:
    """Is some symbolic dimension the same in both bindings, so that comparing them cannot show what depends on it?"""
    return any(
        not isinstance(dim, int) and one[str(v.name)][axis] == two[str(v.name)][axis]
        for v in graph.inputs
        for axis, dim in enumerate(v.shape or ())
    )


def batch(graph: ir.Graph, given: Given, bound: Bound) -> int:
    """The batch size that was made up: that of inputs whose first dimension is symbolic and that nobody gave."""
    sizes = {
        bound[str(v.name)][0]
        for v in graph.inputs
        if v.shape is not None
        and len(v.shape)
        and isinstance(v.shape[0], ir.SymbolicDim)
        and str(v.name) not in given.shapes
        and str(v.shape[0].value) not in given.sizes
    }
    return sizes.pop() if len(sizes) == 1 else 1


def _check(graph: ir.Graph, given: Given) -> None:
    inputs = {str(v.name): v for v in graph.inputs}
    for name, shape in given.shapes.items():
        if name not in inputs:
            raise ModelError(f"the model has no input {name!r}; its inputs are {', '.join(sorted(inputs))}")
        declared = inputs[name].shape
        if declared is None:
            continue
        if len(shape) != len(declared):
            raise ModelError(f"input {name!r} has {len(declared)} dimensions, the shape given has {len(shape)}")
        for axis, (size, dim) in enumerate(zip(shape, declared, strict=True)):
            if isinstance(dim, int) and dim != size:
                raise ModelError(f"input {name!r} fixes dimension {axis} to {dim}, the shape given says {size}")
    symbols = {str(d.value) for v in graph.inputs for d in v.shape or () if isinstance(d, ir.SymbolicDim)}
    for name in given.sizes:
        if name not in symbols:
            raise ModelError(
                f"the model has no symbolic dimension {name!r}; it has {', '.join(sorted(symbols)) or 'none'}"
            )


def _bind(graph: ir.Graph, given: Given, candidate: Candidate) -> Bound:
    symbols = dict(given.sizes)
    for value in graph.inputs:
        for size, dim in zip(given.shapes.get(str(value.name), ()), value.shape or (), strict=False):
            if isinstance(dim, ir.SymbolicDim) and dim.value is not None:
                symbols.setdefault(str(dim.value), size)
    spare = iter(candidate.others * len(graph.inputs))
    bound: Bound = {}
    for value in graph.inputs:
        name = str(value.name)
        if name in given.shapes:
            bound[name] = given.shapes[name]
        elif value.shape is None:
            raise ModelError(f"input {name!r} declares no shape; give one with --input-shape {name}:1,3,224,224")
        else:
            rank = len(value.shape)
            bound[name] = tuple(
                dim if isinstance(dim, int) else _size(dim, (name, axis, rank), symbols, candidate, spare)
                for axis, dim in enumerate(value.shape)
            )
    return bound


def _size(
    dim: ir.SymbolicDim,
    place: tuple[str, int, int],
    symbols: dict[str, int],
    candidate: Candidate,
    spare: Iterator[int],
) -> int:
    """The size of a symbol, made up where it is new; ``place`` is (input, axis, rank)."""
    name, axis, rank = place
    key = str(dim.value) if dim.value is not None else f"{name}#{axis}"
    if key not in symbols:
        image = rank in (4, 5) and axis > 0
        symbols[key] = candidate.batch if axis == 0 else candidate.image[axis % 2] if image else next(spare)
    return symbols[key]
