"""Operators that look through windows or grids over spatial axes: channels pass through untouched."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from compressor.channels.coupling import Coupling, Unexplained
from compressor.graph.ir.nodes import optional_input
from compressor.operators.operator import Operator, required
from compressor.operators.propagate import carry
from compressor.operators.repair import Repairer
from compressor.operators.signature import Call

POOL, UNPOOL = "MaxPool", "MaxUnpool"
WINDOW = "n c [*s] -> n c [*p]"


def _pool(call: Call) -> str:
    """Along an axis where the window has one position, and stands on each, every position is by itself."""
    kernel = call.node.attributes.get_ints("kernel_shape", ())
    before, after = call.shape(0)[2:], (call.outputs[0] or ())[2:]
    strides = call.node.attributes.get_ints("strides", ()) or [1] * len(kernel)
    # Padding would make the result longer.
    alone = [size == step == 1 and before[k : k + 1] == after[k : k + 1]
             for k, (size, step) in enumerate(zip(kernel, strides, strict=True))]  # fmt: skip
    if not any(alone):
        return WINDOW
    data, result = ([f"a{k}" if one else f"[{star}{k}]" for k, one in enumerate(alone)] for star in "sp")
    return f"n c {' '.join(data)} -> n c {' '.join(result)}"


def _max_pool(call: Call) -> str:
    """Indices count over all channels: only what puts values back by them may read them, as it counts the same."""
    for indices in call.node.outputs[1:]:
        if indices.is_graph_output() or any((node.op_type, at) != (UNPOOL, 1) for node, at in indices.uses()):
            raise Unexplained("its indices count over all channels")
        if indices.uses():
            return "n c [*s] -> n c [*p], n c [*p]"
    return _pool(call)


def _unpool_of_its_pool(node: ir.Node, coupling: Coupling, combine: Callable[[], None]) -> None:
    """Indices that count other channels, or over another space, put values elsewhere once channels are gone."""
    pool = required(node, 1).producer()
    if pool is None or pool.op_type != POOL:
        raise Unexplained("its indices come from no MaxPool beside it")
    if (target := optional_input(node, 2)) is not None:
        coupling.const(target, "its output shape")
    before, after = coupling.shape(pool.inputs[0]), coupling.shape(node.outputs[0])
    if before[1:] != after[1:]:
        raise Unexplained(f"puts values into {list(after[1:])} that were found in {list(before[1:])}")
    combine()


def _repair_max_unpool(node: ir.Node, repairer: Repairer) -> None:
    """The size of the output names every axis: the channel entry follows that of the input."""
    target = optional_input(node, 2)
    if target is None or not repairer.changed(node.inputs[0], 1):
        return
    size = repairer.coupling.const(target, "its output shape").copy()
    size[1] = repairer.after(node.inputs[0])[1]
    repairer.set_input(node, 2, size)


def _resize(node: ir.Node, coupling: Coupling) -> None:
    """Axes whose size does not change keep their labels; the others are resampled."""
    value = required(node, 0)
    before, after = coupling.shape(value), coupling.shape(node.outputs[0])
    changed = {k for k, (a, b) in enumerate(zip(before, after, strict=True)) if a != b}
    # This mode crops as well, so an axis of the same size may be resampled all the same.
    if node.attributes.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        changed = set(range(2, len(before)))
    # A size that varies may be the same here and another elsewhere.
    spatial = {k for k, dynamic in enumerate(coupling.shapes.dynamic(value)) if dynamic and k >= 2}
    coupling.label(node.outputs[0], coupling.restrict(node, value, changed | spatial, "Resize resamples it"))


def _repair_resize(node: ir.Node, repairer: Repairer) -> None:
    """``sizes`` names every axis: the channel entry follows."""
    if optional_input(node, 3) is not None:
        axes = node.attributes.get_ints("axes", ())
        repairer.set_shape(node, 3, list(axes) or None)


OPERATORS = (
    Operator(POOL, signature=_max_pool, constants=carry),
    Operator(
        UNPOOL,
        signature="n c [*s], n c [*s], [r]? -> n c [*p]",
        around=_unpool_of_its_pool,
        repaired=_repair_max_unpool,
        host=(2,),
    ),
    *(Operator(name, signature=_pool, keeps_zero=True) for name in ("AveragePool", "LpPool")),
    *(
        Operator(name, signature=WINDOW, keeps_zero=True)
        for name in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
    ),
    Operator("Resize", labels=_resize, repaired=_repair_resize, keeps_zero=True, host=(1, 2, 3), resamples=True),
    Operator("Upsample", labels=_resize, keeps_zero=True, host=(1,), resamples=True),
    Operator("Col2Im", signature="n (c [k]) [l] -> n c [*p]", keeps_zero=True, host=(1, 2)),
    Operator("GridSample", signature="n c [*s], n [*p] [u] -> n c [*q]", keeps_zero=True),
    Operator("RoiAlign", signature="n c [*s], [r] [u], [r] -> [r] c [*p]", keeps_zero=True, settings=(1, 2)),
    Operator("MaxRoiPool", signature="n c [*s], [r] [u] -> [r] c [*p]", keeps_zero=True),
)
