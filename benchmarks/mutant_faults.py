"""Faults for :mod:`benchmarks.proof_mutants`: each replaces one function of the program by one that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from mutant_edits import (
    Fault,
    Make,
    after,
    alike,
    attribute,
    before,
    bias_lost,
    complement,
    edited,
    entries,
    file_changed,
    flipped,
    in_place,
    inputs_swapped,
    moved_by_one,
    nothing,
    on_axis,
    one_entry,
    rolled_output,
    skipped,
    square_transposed,
    swapped,
    unlabelled,
    weight,
    weights_of,
    without,
)

from compressor.channels import channel_mask, labels, plan
from compressor.graph.disk import files, stream
from compressor.graph.form import clean, normalise, unfuse
from compressor.graph.sizes import inference, shapes
from compressor.operators import repair
from compressor.operators.table import RULES
from compressor.pruning.cut import analysis, apply, surgery
from compressor.steps.prune import recover

RECOVERING = "recovering"
"""The phase whose faults need a recovery."""


def _reading() -> list[Fault]:
    edits: dict[str, Callable[[ir.Model], None]] = {
        "one entry of the first weight": weight(0, one_entry),
        "one entry of the last weight": weight(-1, one_entry),
        "a weight upside down": weight(0, lambda a: a[::-1]),
        "the last weight upside down": weight(-1, lambda a: a[::-1]),
        "square weights by columns": lambda m: (
            [weight(k, square_transposed)(m) for k in range(len(weights_of(m)))] and None
        ),
        "two weights of one shape change places": swapped,
        "a weight in half precision": weight(0, lambda a: a.astype(np.float16).astype(a.dtype)),
        "padding is lost": attribute(None, "pads", lambda _: None),
        "perm is lost": attribute("Transpose", "perm", lambda _: None),
        "alpha is lost": attribute(None, "alpha", lambda _: None),
        "epsilon ten times as large": attribute(None, "epsilon", lambda e: 10 * e),
        "transB is lost": attribute("Gemm", "transB", lambda _: None),
        "biases are lost": bias_lost,
        "operands of Sub and Div change places": inputs_swapped("Sub", "Div"),
    }
    return [Fault("reading", name, files, "load_model", edited(edit)) for name, edit in edits.items()]


def _preparing() -> list[Fault]:
    normal: dict[str, Callable[[ir.Model], None]] = {
        "a weight is doubled": weight(1, lambda a: 2 * a),
        "axes of Softmax and Concat": attribute("Softmax", "axis", lambda _: 1),
        "operands of Concat change places": inputs_swapped("Concat"),
        "initializers of one shape are one": alike,
        "groups are lost": attribute("Conv", "group", lambda _: None),
        "gates are taken for identities": skipped("Sigmoid", "Softmax"),
    }
    simple: dict[str, Callable[[ir.Model], None]] = {
        "activations are taken for identities": skipped("Relu", "LeakyRelu", "Tanh"),
        "a weight is rounded": weight(0, lambda a: np.round(a, 2)),
        "initializers of one shape are one": alike,
        "strides are lost": attribute(None, "strides", lambda _: None),
        "Transpose is taken for an identity": skipped("Transpose"),
        "Dropout and what follows it": skipped("Dropout", "Relu"),
    }
    found = [Fault("normalising", name, analysis, "normalise", edited(edit)) for name, edit in normal.items()]
    found += [
        Fault("normalising", "copies of shared constants are zero", normalise, "_copied", _zero_copy),
        Fault("normalising", "fused: mean without its square", unfuse, "_normalise", _unnormalised),
        Fault(
            "normalising", "fused: GELU is a ReLU", unfuse, "_gelu", lambda _: lambda parts, x: parts.add("Relu", [x])
        ),
        Fault("normalising", "fused: scale and bias are lost", unfuse, "_scale", lambda _: lambda *a: a[1]),
    ]
    found += [Fault("folding", name, clean, "simplify", edited(edit)) for name, edit in simple.items()]
    return [
        *found,
        Fault(
            "folding",
            "constants are one too large",
            inference,
            "evaluate_settled",
            after(lambda r: r and [a + 1 for a in r]),
        ),
        Fault(
            "folding",
            "constants are a little too large",
            inference,
            "evaluate_settled",
            after(lambda r: r and [a * a.dtype.type(1.01) if a.dtype.kind == "f" else a for a in r]),
        ),
        Fault("folding", "every size is static", shapes.Shapes, "const", _all_static),
        Fault("folding", "every dimension is static", shapes.Shapes, "dynamic", after(lambda r: [False] * len(r))),
        Fault("folding", "equal by shape alone", clean, "tidy", edited(alike)),
        Fault("folding", "a weight is rounded in the end", clean, "tidy", edited(weight(-1, lambda a: np.round(a, 2)))),
    ]


def _zero_copy(honest: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(value: ir.Value, tensor: Any, name: str) -> ir.Value:
        return honest(value, ir.tensor(0 * tensor.numpy(), name=name), name)  # type: ignore[no-any-return]

    return wrong


def _unnormalised(honest: Callable[..., Any]) -> Callable[..., Any]:
    return lambda parts, x, axis, epsilon: honest(parts, x, axis, 100 * epsilon)


def _all_static(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, value: None if value is None else self.sample(value)


def _coupling() -> list[Fault]:
    rolled = ("Concat", "Split", "Slice", "Transpose", "Reshape", "Gather", "Relu", "Conv", "Pad", "MatMul", "Squeeze")
    bare = (
        "Conv",
        "MatMul",
        "Add",
        "BatchNormalization",
        "Mul",
        "Relu",
        "Concat",
        "Reshape",
        "LayerNormalization",
        "LSTM",
    )
    found = [
        Fault("coupling", f"labels behind {op} are off by one", RULES["", op], "couple", rolled_output) for op in rolled
    ]
    found += [Fault("coupling", f"no labels behind {op}", RULES["", op], "couple", unlabelled) for op in bare]
    return [
        *found,
        Fault("coupling", "nothing is frozen", labels.Units, "freeze", lambda _: lambda *_a: False),
        Fault("coupling", "nothing merges along axes", labels.Units, "merge_along", lambda _: lambda *_a: False),
        Fault("coupling", "rows need not be as long as each other", channel_mask.ChannelMask, "check", nothing),
    ]


def _cutting() -> list[Fault]:
    def ruin(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[-1:] = 0
        return array

    changes: dict[str, Make] = {
        "rows are off by one": on_axis(0, 1, lambda a: np.roll(a, 1, 0)),
        "columns are off by one": on_axis(1, 2, lambda a: np.roll(a, 1, 0)),
        "biases are off by one": lambda h: lambda a, *r: np.roll(h(a, *r), 1) if a.ndim == 1 else h(a, *r),
        "rows come in reverse": on_axis(0, 2, lambda a: a[::-1]),
        "columns come in reverse": on_axis(1, 2, lambda a: a[::-1]),
        "the last row is zero": on_axis(0, 1, ruin),
        "the last column is zero": on_axis(1, 2, ruin),
        "weights in half precision": after(
            lambda a: a.astype(np.float16).astype(a.dtype) if a.dtype.kind == "f" else a
        ),
        "weights a little too large": after(lambda a: a * np.asarray(1.001, a.dtype) if a.dtype.kind == "f" else a),
        "what should go stays": complement,
        "the first two rows change places": on_axis(0, 1, lambda a: a[[1, 0, *range(2, len(a))]] if len(a) > 1 else a),
    }
    found = [Fault("cutting", name, surgery, "compact", make) for name, make in changes.items()]
    return [
        *found,
        Fault("cutting", "weights are spoilt in memory", surgery, "remove", in_place),
        Fault("cutting", "kept positions are off by one", channel_mask.ChannelMask, "keep", moved_by_one),
        Fault(
            "cutting",
            "masks are off by one",
            channel_mask.ChannelMask,
            "mask",
            after(lambda m: m if m is None else np.roll(m, 1, max(range(m.ndim), key=lambda a: m.shape[a]))),
        ),
        Fault("cutting", "kernels of the reference are not zeroed", surgery, "_is_kernel", after(lambda _: False)),
    ]


def _repairing() -> list[Fault]:
    ops = ("Conv", "Reshape", "Slice", "Split", "Gather", "Pad", "LSTM", "GRU", "DequantizeLinear")
    found = [Fault("repairing", f"{op} is not repaired", RULES["", op], "repair", nothing) for op in ops]
    return [
        *found,
        Fault(
            "repairing",
            "a Slice starts one later",
            repair.Repairer,
            "slice_axis",
            before(lambda s, n, a, p: (s, n, a, p - p.min())),
        ),
        Fault(
            "repairing",
            "a Slice in the other direction",
            repair.Repairer,
            "slice_axis",
            before(lambda s, n, a, p: (s, n, a, p[::-1])),
        ),
        Fault(
            "repairing",
            "new positions are off by one",
            repair.Repairer,
            "renumber",
            after(lambda p: np.maximum(p - 1, 0)),
        ),
        Fault("repairing", "positions in reverse", repair.Repairer, "follow", after(lambda p: p[::-1])),
        Fault(
            "repairing",
            "settings in reverse",
            repair.Repairer,
            "set_input",
            before(lambda s, n, i, a: (s, n, i, np.ascontiguousarray(a[::-1]))),
        ),
        Fault("repairing", "sizes read at run time stay", repair.Repairer, "rescale", nothing),
        Fault("repairing", "sizes as they were", repair.Repairer, "after", lambda _: lambda self, v: self.before(v)),
    ]


def _replaying() -> list[Fault]:
    return [
        Fault("plan replay", "every index plus one", apply, "units_of", entries(1)),
        Fault("plan replay", "every index minus one", apply, "units_of", entries(-1)),
        Fault("plan replay", "the last index is lost", apply, "units_of", without(slice(None, -1))),
        Fault("plan replay", "the first index is lost", apply, "units_of", without(slice(1, None))),
        Fault(
            "plan replay",
            "only the first group",
            apply,
            "units_of",
            before(lambda p, c: (plan.PruningPlan(p.removals[:1], p.policy), c)),
        ),
        Fault("plan replay", "every index plus one where it is read", plan, "_removal", after(_shifted_entry)),
    ]


def _shifted_entry(found: plan.Removal) -> plan.Removal:
    return plan.Removal(found.group, found.initializer, found.axes, tuple(max(0, i - 1) for i in found.indices))


def _writing() -> list[Fault]:
    bytes_of: dict[str, Callable[[bytearray], bytearray]] = {
        "a bit near the end": flipped,
        "the end is lost": lambda content: content[: len(content) * 9 // 10],
        "the last kilobyte is zero": lambda content: content[:-1024] + bytes(min(1024, len(content))),
        "bytes in the middle change places": lambda c: (
            c[: len(c) // 2] + c[len(c) // 2 + 4 :] + c[len(c) // 2 : len(c) // 2 + 4]
        ),
        "a float is another": lambda c: bytearray(bytes(c).replace(bytes(c[-104:-100]), np.float32(3.5).tobytes(), 1)),
    }
    found = [
        Fault("writing", name, stream.FileLayout, "write", file_changed(change)) for name, change in bytes_of.items()
    ]
    models: dict[str, Callable[[ir.Model], None]] = {
        "two weights of one shape change places": swapped,
        "padding is lost": attribute(None, "pads", lambda _: None),
        "alpha is lost": attribute(None, "alpha", lambda _: None),
        "a weight in half precision": weight(0, lambda a: a.astype(np.float16).astype(a.dtype)),
        "an output has another name": _renamed,
        "a size of an output is forgotten": _forgotten,
    }
    for name, edit in models.items():
        found.append(Fault("writing", name, files, "save_models", before(_edited_copies(edit))))
    return found


def _renamed(model: ir.Model) -> None:
    model.graph.outputs[0].name = f"{model.graph.outputs[0].name}.other"


def _forgotten(model: ir.Model) -> None:
    value = model.graph.outputs[0]
    if value.shape is not None:
        value.shape = ir.Shape([*value.shape[:-1], "other"])


def _edited_copies(edit: Callable[[ir.Model], None]) -> Callable[..., Sequence[Any]]:
    def change(models: Mapping[Path, ir.Model], *rest: Any) -> Sequence[Any]:
        copies = {path: model.clone() for path, model in models.items()}
        for copy in copies.values():
            edit(copy)
        return copies, *rest

    return change


def _recovering() -> list[Fault]:
    """Recovery leaves another graph; models are recovered for these."""
    edits: dict[str, Callable[[ir.Model], None]] = {
        "an activation is another": _other_activation,
        "padding is lost": attribute(None, "pads", lambda _: None),
        "operands change places": inputs_swapped("Sub"),
        "an axis is another": attribute(None, "axis", lambda axis: 0 if axis else 1),
    }
    return [Fault(RECOVERING, name, recover.Recovery, "recover", _left_as(edit)) for name, edit in edits.items()]


def _other_activation(model: ir.Model) -> None:
    for node in model.graph.all_nodes():
        if node.op_type in ("Relu", "Tanh", "Sigmoid", "Gelu"):
            node.op_type = "Elu" if node.op_type == "Relu" else "Relu"
            return


def _left_as(edit: Callable[[ir.Model], None]) -> Make:
    """What it leaves is edited, on a copy, as what was proved is another model."""

    def make(honest: Callable[..., Any]) -> Callable[..., Any]:
        def wrong(*a: Any, **k: Any) -> recover.Recovered:
            recovered = honest(*a, **k)
            model = recovered.plain.clone()
            edit(model)
            return replace(recovered, plain=model)

        return wrong

    return make


FAULTS = [
    *_reading(),
    *_preparing(),
    *_coupling(),
    *_cutting(),
    *_repairing(),
    *_replaying(),
    *_recovering(),
    *_writing(),
]
