"""Whether two models are called alike: names, types and declared shapes of inputs and outputs."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from compressor.errors import ProofFailed
from compressor.graph.joined import joined_of, split


def _sizes(value: ir.Value, *, declared: bool) -> tuple[str, ...] | int | None:
    """What the file declares of the shape of an input or output, or the number of axes alone."""
    if value.shape is None:
        return None
    return tuple(map(_size, value.shape)) if declared else len(value.shape)


def _size(dim: int | ir.SymbolicDim) -> str:
    # A negative size stands for an open one (docs/decisions/0008), so both ways of writing it have to compare equal.
    return str(ir.SymbolicDim(None) if isinstance(dim, int) and dim < 0 else dim)


def same_signatures(before: ir.Model, after: ir.Model, free: Collection[str] = ()) -> None:
    """As :func:`same_signature`, and of each file of a joined model; what one hands to another may have other sizes."""
    same_signature(before, after, free)
    joined = joined_of(before)
    whole = {str(value.name) for value in (*before.graph.inputs, *before.graph.outputs)}
    for part, made in zip(joined.parts, split(after), strict=True) if joined is not None else ():
        names = {**part.inputs, **part.outputs}
        same_signature(part.model, made, [own for own, name in names.items() if name in free or name not in whole])


def same_signature(before: ir.Model, after: ir.Model, free: Collection[str] = ()) -> None:
    """Raises ProofFailed unless inputs and outputs have the same names, types and shapes.

    Inputs with a default in the file are left out: a weight that lost channels cannot be overridden any more.

    Args:
        before: the original.
        after: the smaller model.
        free: inputs and outputs that may have other sizes.
    """

    def bound(model: ir.Model) -> list[ir.Value]:
        return [*(v for v in model.graph.inputs if not v.is_initializer()), *model.graph.outputs]

    def signature(value: ir.Value, known: ir.Value) -> tuple[object, ...]:
        # With the file's declared sizes: callers bind to these, even where inference knows better. What the original
        # leaves open nobody can have bound to.
        sizes = None if known.shape is None else _sizes(value, declared=known.name not in free)
        return value.name, None if known.dtype is None else value.dtype, sizes

    if [v.name for v in bound(before)] != [v.name for v in bound(after)]:
        raise ProofFailed("the result has other inputs or outputs than the original; nothing was written")
    for one, two in zip(bound(before), bound(after), strict=True):
        if signature(one, one) != signature(two, one):
            raise ProofFailed(
                f"{one.name!r} was {one.dtype} {one.shape} and is {two.dtype} {two.shape} in the result; nothing was "
                "written"
            )
