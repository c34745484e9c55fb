"""Shapes and element types of values inside a model, as they are when ONNX Runtime runs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.runtime.outputs import giving
from compressor.runtime.sessions import opened, run_session

TENSOR = "tensor("
RUNTIME_TYPES: Mapping[str, ir.DataType] = MappingProxyType(
    {
        "float": ir.DataType.FLOAT,
        "double": ir.DataType.DOUBLE,
        "float16": ir.DataType.FLOAT16,
        "bfloat16": ir.DataType.BFLOAT16,
        "bool": ir.DataType.BOOL,
        "string": ir.DataType.STRING,
        **{
            f"{sign}int{bits}": ir.DataType[f"{sign}int{bits}".upper()]
            for sign in ("", "u")
            for bits in (8, 16, 32, 64)
        },
    }
)
"""ONNX Runtime's names of element types."""

Seen = dict[str, tuple[tuple[int, ...], ir.DataType | None]]


def probe(model: ir.Model, names: Sequence[str], feeds: Iterable[Mapping[str, Array]], provider: str) -> list[Seen]:
    """Shape and element type by name, for each of ``feeds``; values that are no tensors are left out.

    Only shapes leave the runtime, so that large values are freed as it goes.

    Args:
        model: not changed; the values are in its main graph.
        names: values that nodes compute.
        feeds: arrays by name of input; names that the model does not have are left out.
        provider: short or full name.

    Raises:
        ModelError: ONNX Runtime refuses the model, or it does not run.
        ProviderUnavailable: the provider is not there.
    """
    # Loaded once without a run, for the types: a Shape node can be put behind tensors only.
    with opened(giving(model, names), provider) as session:
        kinds = {o.name: o.type for o in session.get_outputs() if o.type.startswith(TENSOR)}
    if not kinds:
        return [{} for _ in feeds]
    tensors = list(kinds)
    dtypes = {name: RUNTIME_TYPES.get(kind[len(TENSOR) : -1]) for name, kind in kinds.items()}
    copy = model.clone()
    made = {str(v.name): v for node in copy.graph for v in node.outputs}
    shapes = [_add_shape(made[name], f"{name}.shape{k}", copy.graph) for k, name in enumerate(tensors)]
    with opened(copy, provider) as session:
        runs = [run_session(session, feed, shapes) for feed in feeds]
    return [
        {name: (tuple(map(int, shape)), dtypes[name]) for name, shape in zip(tensors, found, strict=True)}
        for found in runs
    ]


def _add_shape(value: ir.Value, name: str, graph: ir.Graph) -> str:
    node = ir.node("Shape", [value], name=name)
    node.outputs[0].name = name
    node.outputs[0].type = ir.TensorType(ir.DataType.INT64)
    graph.append(node)
    graph.outputs.append(node.outputs[0])
    return name
