"""Coefficients as they are stored: one bit each that says which are zero, and the others, as packed weights are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from compressor.config.blocks import BlockShape
from compressor.core.arrays import Array
from compressor.errors import tool_fault
from compressor.graph.ir.edit import constant_array, free_name
from compressor.structures.interspace.composed import stored_as
from compressor.unification.assignment import FREE, PRUNED
from compressor.unification.layout import Blocking, CanonicalAxes
from compressor.unification.packed import Packed, pack_blocks
from compressor.unification.unpack import install
from compressor.unification.unpacked import unpacked

ONE = BlockShape(1, 1, 1)


def with_stored(model: ir.Model, names: Sequence[str], dtype: str) -> ir.Model:
    """A copy in which these initializers are computed from a bitmap and what is no zero, proved to the bit.

    Args:
        model: not changed.
        names: of initializers with zeros, [out, channels, taps] or [out, channels, *kernel].
        dtype: float16 or float32, of what is stored; coefficients that it holds too roughly are stored as float32.

    Raises:
        ModelError: the operator set of the model is too old.
        ProofFailed: a runtime unpacks something else.
    """
    copy = model.clone()
    parts: dict[str, Packed] = {}
    for name in names:
        value = copy.graph.initializers[name]
        array = constant_array(value)
        held = stored_as(array, np.dtype(dtype))
        if held.dtype != array.dtype:
            value = _narrow(copy.graph, value, held)
        parts[str(value.name)] = _packed(held)
    install(copy, {copy.graph.initializers[name]: packed for name, packed in parts.items()})
    demand_bits(copy, parts)
    return copy


def demand_bits(model: ir.Model, parts: dict[str, Packed]) -> None:
    """Raises ProofFailed unless a runtime computes every value to the bits that were packed, optimised or not."""
    for optimise in (False, True):
        for name, found in unpacked(model, list(parts), optimise=optimise).items():
            if found.tobytes() != parts[name].decode().tobytes():
                raise tool_fault(f"coefficients {name!r} are not unpacked to the bits that were packed")


def _packed(array: Array) -> Packed:
    kinds = np.where(array.ravel() != 0, FREE, PRUNED).astype(np.uint8)
    view = CanonicalAxes.of(array.shape, "oi" + "t" * (array.ndim - 2))
    return pack_blocks(array, Blocking(view, ONE), kinds, "float16")


def _narrow(graph: ir.Graph, value: ir.Value, array: Array) -> ir.Value:
    """The initializer in another type, under a name of its own; who reads it reads it in the old type as before."""
    old = value.const_value
    assert old is not None
    name, wide = str(value.name), ir.node("Cast", [value], attributes={"to": int(old.dtype)})
    made = wide.outputs[0]
    first = next(node for node in graph if any(v is value for v in node.inputs))
    value.replace_all_uses_with(made)
    wide.replace_input_with(0, value)
    graph.insert_before(first, wide)
    # The old name stays with what everybody reads, by which a plain kernel is found when it is restored.
    made.type, made.shape = value.type, value.shape
    del graph.initializers[name]
    value.name = free_name(graph, f"{name}.stored")
    made.name, wide.name = name, free_name(graph, f"{name}.wide")
    value.const_value = ir.tensor(np.ascontiguousarray(array), name=value.name)
    value.type = ir.TensorType(value.const_value.dtype)
    graph.register_initializer(value)
    return value
