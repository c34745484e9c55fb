"""How values pass between a control-flow node and its bodies (ONNX If-25, Loop-25, Scan-25).

Everybody who follows a graph into its bodies, for shapes or for channels, reads the same description: which value
becomes which, and what it becomes on the way (a slice, a stack of slices, the state of the next iteration).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from compressor.graph.ir.nodes import is_standard

BEFORE_STATE = 2
"""Inputs of a Loop and of its body before the state: how many iterations (which one), and whether to go on."""
SCAN_WITHOUT_BATCH = 9
"""Operator set from which Scan has no batch axis and no sequence lengths."""


@dataclass(frozen=True)
class LoopState:
    """A value that each iteration hands on to the next.

    Attributes:
        before: what the first iteration gets.
        inside: what an iteration gets, an input of the body.
        after: what an iteration makes of it, an output of the body.
        result: what the last iteration makes of it, an output of the node.
    """

    before: ir.Value
    inside: ir.Value
    after: ir.Value
    result: ir.Value


@dataclass(frozen=True)
class Slices:
    """A value of which each iteration gets one slice, or to which each adds one.

    Attributes:
        whole: outside, of all iterations.
        slice: of one iteration, without ``axis``.
        axis: of ``whole``.
    """

    whole: ir.Value
    slice: ir.Value
    axis: int


@dataclass(frozen=True)
class Alternatives:
    """A result that comes from one of several bodies.

    Attributes:
        options: an output of each body.
        result: the output of the node.
    """

    options: tuple[ir.Value, ...]
    result: ir.Value


@dataclass(frozen=True)
class Flow:
    """What passes between a node and its bodies, apart from what the bodies capture.

    Attributes:
        bodies: that are run, in the order of the node's attributes.
        states: handed on from iteration to iteration.
        read: inputs that are taken apart.
        stacked: outputs that are put together.
        choices: results of one of several bodies.
        counters: inputs of a body that the operator makes itself.
        conditions: outputs of a body that decide whether to go on.
    """

    bodies: tuple[ir.Graph, ...]
    states: tuple[LoopState, ...] = ()
    read: tuple[Slices, ...] = ()
    stacked: tuple[Slices, ...] = ()
    choices: tuple[Alternatives, ...] = ()
    counters: tuple[ir.Value, ...] = ()
    conditions: tuple[ir.Value, ...] = ()


def flow_of(node: ir.Node) -> Flow | None:
    """What passes between ``node`` and its bodies; None where it has none, or a form that is not followed.

    A form is not followed where numbers of inputs and outputs do not fit each other: the file is damaged, or written
    for an operator set of which nothing is known here.
    """
    if not is_standard(node):
        return None
    try:
        if node.op_type == "If":
            return _if(node)
        if node.op_type == "Loop":
            return _loop(node)
        if node.op_type == "Scan":
            return _scan(node)
    except (KeyError, ValueError, TypeError, IndexError):
        return None
    return None


def _if(node: ir.Node) -> Flow:
    bodies = tuple(node.attributes[name].as_graph() for name in ("then_branch", "else_branch"))
    rows = zip(node.outputs, *(body.outputs for body in bodies), strict=True)
    return Flow(bodies, choices=tuple(Alternatives(tuple(options), result) for result, *options in rows))


def _loop(node: ir.Node) -> Flow:
    body = node.attributes["body"].as_graph()
    before = [_given(v) for v in node.inputs[BEFORE_STATE:]]
    results = list(node.outputs)
    inside, after = list(body.inputs[BEFORE_STATE:]), list(body.outputs[1:])
    count = len(before)
    # ONNX: final states come before stacked values, and the body's first output is the condition.
    states = zip(before, inside, after[:count], results[:count], strict=True)
    stacked = zip(results[count:], after[count:], strict=True)
    return Flow(
        (body,),
        states=tuple(LoopState(*parts) for parts in states),
        stacked=tuple(Slices(whole, part, 0) for whole, part in stacked),
        counters=tuple(body.inputs[:BEFORE_STATE]),
        conditions=tuple(body.outputs[:1]),
    )


def _scan(node: ir.Node) -> Flow | None:
    body = node.attributes["body"].as_graph()
    if body.opset_imports.get("", SCAN_WITHOUT_BATCH) < SCAN_WITHOUT_BATCH:
        return None
    scanned = node.attributes["num_scan_inputs"].as_int()
    # ONNX: states come before what is scanned, in the node and in the body.
    given, count = [_given(v) for v in node.inputs], len(node.inputs) - scanned
    states = zip(given[:count], body.inputs[:count], body.outputs[:count], node.outputs[:count], strict=True)
    read = zip(given[count:], body.inputs[count:], _axes(node, "scan_input_axes", scanned), strict=True)
    made = len(node.outputs) - count
    axes = _axes(node, "scan_output_axes", made)
    stacked = zip(node.outputs[count:], body.outputs[count:], axes, strict=True)
    return Flow(
        (body,),
        states=tuple(LoopState(*parts) for parts in states),
        read=tuple(Slices(*parts) for parts in read),
        stacked=tuple(Slices(*parts) for parts in stacked),
    )


def _axes(node: ir.Node, name: str, count: int) -> Sequence[int]:
    return node.attributes.get_ints(name, ()) or [0] * count  # ONNX's default


def _given(value: ir.Value | None) -> ir.Value:
    if value is None:
        raise ValueError("a state or scanned input is left out")
    return value


def loop_settings(graph: ir.Graph) -> set[str]:
    """Names of the inputs of ``graph`` that say how often a Loop runs, or whether it starts, also by way of sums."""
    pending = [
        value
        for node in graph.all_nodes()
        if node.op_type == "Loop" and is_standard(node)
        for value in node.inputs[:BEFORE_STATE]
        if value is not None
    ]
    found: dict[ir.Value, None] = {}
    while pending:
        value = pending.pop()
        # A number that is computed from many, as a length is from a mask, says something else of these.
        if value in found or value.shape is None or any(size != 1 for size in value.shape):
            continue
        found[value] = None
        producer = value.producer()
        pending += [v for v in producer.inputs if v is not None] if producer is not None else []
    return {str(value.name) for value in found if value.is_graph_input() and value.graph is graph}


def sliced_shape(shape: Sequence[object], axis: int) -> tuple[object, ...]:
    """``shape`` of a whole, as that of one of its slices."""
    return tuple(size for a, size in enumerate(shape) if a != axis % len(shape))
