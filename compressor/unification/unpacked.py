"""What ONNX Runtime makes of packed weights: the check that it is what was packed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.errors import tool_fault
from compressor.graph.ir.exporter_metadata import OWN_PREFIX
from compressor.runtime.stored import run_once
from compressor.unification.unified import Unified


def demand_unpacked(result: ir.Model, unified: Iterable[Unified]) -> None:
    """Every weight is unpacked to its bits, and satisfies its constraint.

    Raises:
        ProofFailed: one is not, with the runtime's optimisation or without.
    """
    layers = {u.layer.name: u for u in unified}
    # Folded in advance or computed at run time, unpacking goes through different kernels.
    for optimise in (False, True):
        for name, weight in unpacked(result, list(layers), optimise=optimise).items():
            own = layers[name]
            # Bytes and not numbers, as -0 equals 0.
            if weight.tobytes() != own.weight.tobytes():
                raise tool_fault(f"weight {name!r} is not unpacked to the bits that were packed")
            if not own.satisfied(weight):
                raise tool_fault(f"weight {name!r} does not satisfy its constraint")


def unpacked(model: ir.Model, names: Sequence[str], *, optimise: bool) -> dict[str, Array]:
    """The weights of these names, plain or packed, as ONNX Runtime on the CPU computes them from a written file.

    Args:
        model: not changed.
        names: of initializers, or of values that are computed from initializers alone.
        optimise: graph optimisations on, so that they are folded when the model is loaded.

    Raises:
        ModelError: ONNX Runtime refuses the nodes.
    """
    copy = model.clone()
    graph = copy.graph
    values = {str(v.name): v for v in [*graph.initializers.values(), *(o for n in graph for o in n.outputs)]}
    chosen, types = [values[name] for name in names], {}
    graph.inputs.clear()
    graph.outputs.clear()
    for index, value in enumerate(chosen):
        dtype = value.dtype or ir.DataType.FLOAT
        types[names[index]] = dtype.numpy()
        # bfloat16 cannot leave the runtime; float32 holds it exactly. A node of its own, as an output may not be a
        # constant.
        wide = ir.DataType.FLOAT if dtype == ir.DataType.BFLOAT16 else dtype
        node = ir.node("Cast", [value], attributes={"to": int(wide)}, name=f"{OWN_PREFIX}seen.{index}")
        node.outputs[0].name = f"{OWN_PREFIX}seen.{index}"
        node.outputs[0].type, node.outputs[0].shape = ir.TensorType(wide), value.shape
        graph.append(node)
        graph.outputs.append(node.outputs[0])
    # Not onnx-ir's pass, which keeps what the bodies of removed nodes read.
    needed = _behind(graph.outputs)
    graph.remove([node for node in graph if node not in needed])
    graph.initializers.clear()
    for value in {v for node in graph for v in node.inputs if v is not None and v.const_value is not None}:
        graph.register_initializer(value)
    arrays = run_once(copy, [{}], "cpu", optimise=optimise).outputs[0]
    return {name: np.asarray(a).astype(types[name]) for name, a in zip(names, arrays, strict=True)}


def _behind(values: Sequence[ir.Value]) -> set[ir.Node]:
    """Every node that some of these values are computed by."""
    found: set[ir.Node] = set()
    left = [value.producer() for value in values]
    while left:
        node = left.pop()
        if node is not None and node not in found:
            found.add(node)
            left += [value.producer() for value in node.inputs if value is not None]
    return found
