"""Sizes that a caller chooses are what they were, followed as symbols: a bound may lie beyond any size that is run."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.errors import ModelError, tool_fault
from compressor.graph.ir.movement import Movement
from compressor.graph.sizes.dims import Dim, Size, substitute, symbols
from compressor.graph.sizes.inference import infer_values
from compressor.graph.sizes.known import Known
from compressor.operators.table import operator_of

SYMBOLS_TRIED = (5, 521, 10**9 + 7)
"""What each symbol is in turn, a little more for each further one: where two sizes are equal there, they are equal."""
_COUNTS = frozenset({ir.AttributeType.INT, ir.AttributeType.INTS})


def demand_open_sizes(cut: ChannelMask, small: ir.Model) -> None:
    """Holds shapes of the smaller model against those of the original, along axes on which nothing goes.

    Asked only where a repair put something in, or changed a whole number. What is not followed is for the runs.

    Args:
        cut: what went, of the model that was analysed.
        small: what is left of it.

    Raises:
        ProofFailed: a size that a caller chooses became another, or numbers were set to zero that no cut took.
    """
    shapes, names = cut.coupling.shapes, {str(node.name) for node in cut.coupling.graph}
    chosen = {name for shape in shapes.declared.values() for dim in shape for name in symbols(dim)}
    put_in = [node for node in small.graph if str(node.name) not in names]
    zeros = [node for node in put_in if operator_of(node).movement is Movement.ZEROS]
    # Where no size is a caller's, runs see all of them.
    if not zeros and not (chosen and _may_differ(cut.coupling.graph, small.graph)):
        return
    try:
        known = infer_values(small, shapes.declared, shapes.records)
    except ModelError:
        return
    for node in zeros:
        if _sets_zeros(node, known):
            raise tool_fault(f"node {node.name!r} ({node.op_type}) was put in and changes more than channels")
    originals = {str(value.name): value for node in cut.coupling.graph for value in node.outputs}
    for node in small.graph:
        for value in node.outputs:
            old, after = originals.get(str(value.name)), known.shapes.get(value)
            before = None if old is None else shapes.dims(old)
            if before is None or after is None or len(before) != len(after):
                continue
            cut_along = {axis for mask in cut.factors(old) for axis, size in enumerate(mask.shape) if size > 1}
            for axis, (one, two) in enumerate(zip(before, after, strict=True)):
                if axis not in cut_along and not _agree(one, two, chosen):
                    raise tool_fault(
                        f"axis {axis} of {value.name!r} ({node.op_type}) has {two} entries in the smaller model, has "
                        f"{one} in the original"
                    )


def _may_differ(before: ir.Graph, after: ir.Graph) -> bool:
    """Was a node put in, or a whole number changed?"""
    twins = {str(node.name): node for node in before}
    for name, value in after.initializers.items():
        new, old = value.const_value, before.initializers.get(name)
        if new is not None and not new.dtype.is_floating_point() and (old is None or old.const_value is not new):
            return True
    return any((twin := twins.get(str(node.name))) is None or _counts(node) != _counts(twin) for node in after)


def _counts(node: ir.Node) -> Mapping[str, object]:
    """Attributes that hold whole numbers, by name."""
    return {name: attribute.value for name, attribute in node.attributes.items() if attribute.type in _COUNTS}


def _sets_zeros(node: ir.Node, known: Known) -> bool:
    """Does a node that adds zeros put them in the place of what it reads, rather than beside it?"""
    before = None if node.inputs[0] is None else known.shapes.get(node.inputs[0])
    return before is not None and before == known.shapes.get(node.outputs[0])


def _agree(one: Dim, two: Dim, chosen: Collection[str]) -> bool:
    """Are two sizes the same whatever the caller chooses? What depends on data cannot be told, and counts as equal."""
    if one == two or not isinstance(one, Size) or not symbols(one) | symbols(two) <= set(chosen):
        return True
    names = sorted(symbols(one) | symbols(two))
    for number in SYMBOLS_TRIED:
        sizes: dict[str, Dim] = {name: number + 2 * place for place, name in enumerate(names)}
        found = [substitute(size, sizes) for size in (one, two)]
        if all(isinstance(size, int) for size in found) and found[0] != found[1]:
            return False
    return True
