"""Operators that look through windows or grids over spatial axes: channels pass through untouched."""

from __future__ import annotations

import onnx_ir as ir

from compressor.channels.coupling import Coupling, Unexplained
from compressor.graph.ir.nodes import optional_input
from compressor.operators.operator import Operator, required
from compressor.operators.propagate import carry
from compressor.operators.repair import Repairer
from compressor.operators.signature import Call

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
    if any(v.uses() or v.is_graph_output() for v in call.node.outputs[1:]):
        raise Unexplained("its indices count over all channels")
    return _pool(call)


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
    Operator("MaxPool", signature=_max_pool, constants=carry),
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
