"""The oracle of the campaign: two files, and what one must give if it is the other without some channels.

It recognises the weights that are left by their values, and sets the others to zero in the original. Where the original
runs something over all channels (a norm, a mean), the ones that are left are recognised by their values too, and it
runs over those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

SIZES = ({"N": 3, "T": 5}, {"N": 2, "T": 7})
CLOSE = 1e-3
"""Largest difference, as a share of an output's range."""
Array = NDArray[Any]


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a file, if anything, and why no values were compared, if none were."""

    wrong: str = ""
    unseen: str = ""


def run(model: onnx.ModelProto, sizes: Mapping[str, int], wanted: Sequence[str] | None = None) -> list[Array]:
    """Outputs on seeded numbers, or the values ``wanted``."""
    if wanted is not None:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        del copy.graph.output[:]
        copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        model = copy
    setup = onnxruntime.SessionOptions()
    setup.intra_op_num_threads, setup.log_severity_level = 1, 4
    setup.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), setup, ["CPUExecutionProvider"])
    (x,) = session.get_inputs()
    shape = [sizes.get(d, 1) if isinstance(d, str) else d for d in x.shape]
    numbers = np.random.default_rng(list(sizes.values())).standard_normal(shape).astype(np.float32)
    return [np.asarray(a) for a in session.run(None, {x.name: numbers})]


def tensors(model: onnx.ModelProto) -> dict[str, Array]:
    """Weights by name."""
    return tensors_of(model.graph)


def tensors_of(graph: onnx.GraphProto) -> dict[str, Array]:
    return {t.name: numpy_helper.to_array(t) for t in graph.initializer}


def positions(whole: Array, part: Array) -> Array | None:
    """Flat position in ``whole`` of each entry of ``part``, by value.

    An empty array where ``part`` holds a value that is new; None where values repeat, so that nothing can be told.
    """
    order = np.argsort(whole, axis=None)
    values = whole.ravel()[order]
    if np.any(np.diff(values) == 0):
        return None
    place = np.clip(np.searchsorted(values, part.ravel()), 0, values.size - 1)
    return order[place] if np.array_equal(values[place], part.ravel()) else order[:0]


def masked(original: onnx.ModelProto, small: onnx.ModelProto) -> tuple[onnx.ModelProto | None, str]:
    """The original with zeros for every weight that is gone, and what is wrong with those that are left.

    None where that cannot be told: weights were folded into others.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(original)
    left, needed = tensors(small), _read_by_outputs(original)
    for tensor in copy.graph.initializer:
        whole = numpy_helper.to_array(tensor)
        if whole.dtype != np.float32 or whole.size < 2 or tensor.name not in needed:
            continue
        part = left.get(tensor.name)
        if part is None:
            return None, ""  # folded into something else
        if part.shape == whole.shape:
            if not np.array_equal(part, whole):
                return None, f"{tensor.name} has other values"
            continue
        found = positions(whole, part)
        if found is None:
            return None, ""
        if not found.size:
            return None, f"{tensor.name} has other values"
        if np.any(np.diff(found) <= 0):
            return None, f"{tensor.name} is in another order"
        flat = np.zeros(whole.size, np.float32)
        flat[found] = part.ravel()
        tensor.CopyFrom(numpy_helper.from_array(flat.reshape(whole.shape), tensor.name))
    return copy, ""


def differ(one: list[Array], two: list[Array]) -> str:
    """What differs between two lists of outputs."""
    for k, (a, b) in enumerate(zip(one, two, strict=True)):
        if a.shape != b.shape:
            return f"output {k} has shape {b.shape}, not {a.shape}"
        finite = np.isfinite(a)
        if not np.array_equal(finite, np.isfinite(b)):
            return f"output {k} is finite elsewhere"
        gap = float(np.abs(a[finite] - b[finite]).max(initial=0.0))
        if gap > CLOSE * max(float(np.abs(a[finite]).max(initial=0.0)), 1e-3):
            return f"output {k} is off by {gap:.2g}"
    return ""


def left_channels(one: Array, two: Array, axis: int) -> list[int] | None:
    """Which channels of ``one`` are those of ``two``, in order, by the nearest values; None if some are none."""
    a, b = (np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1) for x in (one, two))
    if a.shape[1] != b.shape[1] or len(a) < len(b):
        return None
    apart = np.abs(b[:, None] - a[None]).max(axis=2, initial=0.0)
    # The least sum of what the first i are apart from some of the first j, as of two sequences that are aligned.
    least = np.full((len(b) + 1, len(a) + 1), np.inf)
    least[0] = 0.0
    for i in range(1, len(b) + 1):
        for j in range(i, len(a) + 1):
            least[i, j] = min(least[i, j - 1], least[i - 1, j - 1] + apart[i - 1, j - 1])
    found: list[int] = []
    j = len(a)
    for i in range(len(b), 0, -1):
        while least[i, j] == least[i, j - 1]:
            j -= 1
        j -= 1
        found.insert(0, j)
    limit = CLOSE * max(float(np.abs(a).max(initial=0.0)), 1e-3)
    return found if all(apart[i, j] <= limit for i, j in enumerate(found)) else None


def over_left(reference: onnx.ModelProto, small: onnx.ModelProto, sums: Sequence[tuple[str, int]]) -> Verdict:
    """Makes what runs over channels, nodes by name with the axis, run over those that are left; changes the reference.

    Nodes are in the order in which they run, so that what each reads is right once its turn comes.
    """
    for name, axis in sums:
        place = next((k for k, node in enumerate(reference.graph.node) if node.name == name), None)
        if place is None or reference.graph.node[place].output[0] not in _read_by_outputs(reference):
            continue
        node = reference.graph.node[place]
        if not any(node.input[0] in other.output for other in small.graph.node):
            return Verdict(unseen="what is summed over channels has no name in the file")
        one, two = (run(model, SIZES[0], [node.input[0]])[0] for model in (reference, small))
        kept = _by_scale(reference, node) or left_channels(one, two, axis)
        if kept is None:
            return Verdict(f"{node.input[0]} has channels that the original has not")
        if len(kept) < one.shape[axis]:
            _gather(reference.graph, place, kept, axis)
    return Verdict()


def _by_scale(reference: onnx.ModelProto, node: onnx.NodeProto) -> list[int] | None:
    """Channels of a norm whose scale is not zero, which tells those apart that hold the same; None without a scale."""
    scale = tensors(reference).get(node.input[1]) if node.op_type == "LayerNormalization" else None
    return None if scale is None else np.flatnonzero(scale).tolist()


def _read_by_outputs(model: onnx.ModelProto) -> set[str]:
    """Names that the outputs come from."""
    found = {value.name for value in model.graph.output}
    for node in reversed(model.graph.node):
        if found & set(node.output):
            found |= set(node.input)
            for attribute in node.attribute:
                found |= {name for inner in attribute.g.node for name in inner.input}
    return found


def _gather(graph: onnx.GraphProto, place: int, kept: Sequence[int], axis: int) -> None:
    """Lets one node see some channels alone; where it gives as many, they go back to where they were, beside zeros."""
    node = graph.node[place]
    old, source, made = onnx.NodeProto(), node.input[0], node.output[0]
    old.CopyFrom(node)
    weights = tensors_of(graph)
    graph.initializer.append(numpy_helper.from_array(np.asarray(kept, np.int64), f"{made}.kept"))
    before = [helper.make_node("Gather", [source, f"{made}.kept"], [f"{made}.in"], axis=axis)]
    old.input[0] = f"{made}.in"
    after = []
    if old.op_type == "LayerNormalization":
        for k, name in enumerate(old.input[1:], 1):
            graph.initializer.append(numpy_helper.from_array(weights[name][kept], f"{made}.{k}"))
            old.input[k] = f"{made}.{k}"
        back = np.eye(weights[node.input[1]].size, dtype=np.float32)[kept]
        graph.initializer.append(numpy_helper.from_array(back, f"{made}.back"))
        old.output[0] = f"{made}.few"
        after = [helper.make_node("MatMul", [f"{made}.few", f"{made}.back"], [made])]
    nodes = [*graph.node[:place], *before, old, *after, *graph.node[place + 1 :]]
    copies = [onnx.NodeProto.FromString(each.SerializeToString()) for each in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def verdict(
    original: onnx.ModelProto,
    small: onnx.ModelProto,
    sums: Sequence[tuple[str, int]] = (),
    *,
    lossless: bool = False,
    fitted: bool = False,
) -> Verdict:
    """Is the smaller file what is left of the original?

    Args:
        original: the file that was pruned.
        small: what was written.
        sums: nodes of the original that run over channels, with the axis.
        lossless: outputs are to be those of the original.
        fitted: weights were given new values.
    """
    reference, found = (original, Verdict()) if lossless else (None, Verdict(unseen="weights were fitted"))
    if not (fitted or lossless):
        reference, wrong = masked(original, small)
        found = Verdict(wrong, "" if reference is not None or wrong else "a weight was folded into another")
    for sizes in SIZES if not found.wrong else ():
        try:
            outputs = run(small, sizes)
        except Exception as error:  # noqa: BLE001 - whatever the runtime says is the verdict
            return Verdict(f"does not run: {str(error).splitlines()[0][-120:]}")
        shapes = [a.shape for a in run(original, sizes)]
        if shapes != [a.shape for a in outputs]:
            return Verdict(f"shapes {[a.shape for a in outputs]}, not {shapes}")
    if found.wrong or reference is None:
        return found
    if not lossless and (found := over_left(reference, small, sums)) != Verdict():
        return found
    wrong = next((text for s in SIZES if (text := differ(run(reference, s), run(small, s)))), "")
    return Verdict(wrong)
