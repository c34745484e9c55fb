"""Whether two models are called alike: names, types and declared shapes of inputs and outputs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx_ir as ir

from compressor.errors import ProofFailed, UsageError, tool_fault
from compressor.graph.disk.joined import joined_of, split
from compressor.graph.ir.opsets import FREE_WEIGHTS
from compressor.runtime.stored import Runs


def _defaults(model: ir.Model) -> list[str]:
    return [str(v.name) for v in model.graph.inputs if v.is_initializer()] if model.ir_version >= FREE_WEIGHTS else []


def lost_defaults(before: ir.Model, after: ir.Model) -> list[str]:
    """A sentence where inputs that had a default are none in the result: weights that lost channels, went, or are kept
    in another form."""
    left = _defaults(after)
    lost = [name for name in _defaults(before) if name not in left]
    if not lost:
        return []
    some = ", ".join(map(repr, lost[:3])) + (" ..." if len(lost) > 3 else "")
    return [
        "weights that were inputs with a default can no longer be given by callers, as they were cut or are stored in "
        f"another form: {some}"
    ]


def demand_declared(model: ir.Model, runs: Runs, names: Collection[str]) -> None:
    """Raises ProofFailed where outputs of these names are declared with sizes other than those that runs gave."""
    for value in model.graph.outputs:
        if value.name not in names or value.shape is None:
            continue
        for row in runs.outputs:
            shape = row[list(runs.names).index(str(value.name))].shape
            if len(shape) != len(value.shape) or any(
                isinstance(dim, int) and dim != size for dim, size in zip(value.shape, shape, strict=True)
            ):
                raise tool_fault(f"output {value.name!r} is declared as {value.shape} and gives {list(shape)}")


def _sizes(value: ir.Value, *, declared: bool) -> tuple[str, ...] | int | None:
    """What the file declares of the shape of an input or output, or the number of axes alone."""
    if value.shape is None:
        return None
    return tuple(map(_size, value.shape)) if declared else len(value.shape)


def _size(dim: int | ir.SymbolicDim) -> str:
    # A negative size stands for an open one (docs/decisions/0008), so both ways of writing it have to compare equal.
    return str(dim) if isinstance(dim, int) and dim >= 0 else str(getattr(dim, "value", None) or None)


def demand_same_interfaces(before: ir.Model, after: ir.Model, free: Collection[str] = ()) -> None:
    """As :func:`demand_same_interface`, and of each file of a joined model; what they hand on may have other sizes."""
    demand_same_interface(before, after, free)
    joined = joined_of(before)
    whole = {str(value.name) for value in (*before.graph.inputs, *before.graph.outputs)}
    for part, smaller in zip(joined.parts, split(after), strict=True) if joined is not None else ():
        names = {**part.inputs, **part.outputs}
        demand_same_interface(
            part.model, smaller, [own for own, name in names.items() if name in free or name not in whole]
        )


def demand_same_interface(before: ir.Model, after: ir.Model, free: Collection[str] = ()) -> None:
    """Raises ProofFailed unless inputs and outputs have the same names, types and shapes.

    Inputs with a default in the file stay such; not weights that lost channels, which nobody can override any more.

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

    lost = [name for name in _defaults(before) if name in after.graph.initializers and name not in _defaults(after)]
    # A weight that lost channels cannot be set from outside any more.
    lost = [n for n in lost if after.graph.initializers[n].shape == before.graph.initializers[n].shape]
    if lost:
        raise ProofFailed(f"input {lost[0]!r}, which has a default, is none in the result; nothing was written")
    if [v.name for v in bound(before)] != [v.name for v in bound(after)]:
        raise ProofFailed("the result has other inputs or outputs than the original; nothing was written")
    for one, two in zip(bound(before), bound(after), strict=True):
        if signature(one, one) != signature(two, one):
            raise ProofFailed(
                f"{one.name!r} was {one.dtype} {one.shape} and is {two.dtype} {two.shape} in the result; nothing was "
                "written"
            )


def interface_difference(
    a: ir.Model, b: ir.Model, titles: tuple[str, str], kinds: Sequence[str] = ("input", "output")
) -> str | None:
    """The first difference, in a clause; None where what is fed to one fits the other.

    Order does not count. Floating-point types may differ, so that a float16 model can be held against its original;
    open dimensions agree with any.

    Args:
        a: the model that is named first, such as the original.
        b: the model that is held against it.
        titles: what they are called, such as their files.
        kinds: ``input`` and ``output``, as far as they have to agree.
    """
    for kind in kinds:
        ours, theirs = (_ends(model, kind) for model in (a, b))
        if set(ours) != set(theirs):
            lists = [", ".join(sorted(found)) or "none" for found in (ours, theirs)]
            return f"the models have different {kind}s: {titles[0]} has {lists[0]}, {titles[1]} has {lists[1]}"
        for name, one in ours.items():
            two = theirs[name]
            if not _same_type(one.dtype, two.dtype):
                return f"{kind} {name!r} is {_type(one)} in {titles[0]} and {_type(two)} in {titles[1]}"
            if not _agree(one.shape, two.shape):
                return f"{kind} {name!r} has shape {_shape(one)} in {titles[0]} and {_shape(two)} in {titles[1]}"
    return None


def demand_teachable(model: ir.Model, teacher: ir.Model, titles: tuple[str, str]) -> None:
    """Raises UsageError unless a model can imitate its teacher: both take and give the same."""
    found = interface_difference(model, teacher, titles)
    if found is not None:
        raise UsageError(f"{found}; give the model that {titles[0]} was made from as --teacher")


def _ends(model: ir.Model, kind: str) -> dict[str, ir.Value]:
    """Inputs that have to be fed, or outputs, by name."""
    # Old files list their weights among the inputs; those do not count.
    values = model.graph.outputs if kind == "output" else [v for v in model.graph.inputs if not v.is_initializer()]
    return {str(value.name): value for value in values}


def _same_type(one: ir.DataType | None, two: ir.DataType | None) -> bool:
    if one is None or two is None or one == two:
        return True
    return one.is_floating_point() and two.is_floating_point()


def _agree(one: ir.Shape | None, two: ir.Shape | None) -> bool:
    if one is None or two is None:
        return True
    pairs = list(zip(one, two, strict=False))
    return len(one) == len(two) and all(x == y for x, y in pairs if isinstance(x, int) and isinstance(y, int))


def _type(value: ir.Value) -> str:
    return "of unknown type" if value.dtype is None else value.dtype.name.lower()


def _shape(value: ir.Value) -> str:
    return "unknown" if value.shape is None else "[" + ", ".join(str(d) for d in value.shape) + "]"
