"""Local functions that stay: calls that were inlined are calls again, where what they compute is as it was.

Everything else works on a graph without functions. At the end the nodes behind each result of a call are held against
those that stood there when the graph was prepared, one by one, down to the inputs of the call: where operators,
attributes and constants are the same, the function does the same, whatever became of its inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from compressor.core.formatting import count
from compressor.graph.form.clean import remove_dead
from compressor.graph.ir.captures import graphs_of
from compressor.graph.ir.edit import FreeNames

Identifier = tuple[str, str, str]


class _Differs(Exception):  # noqa: N818 - no error: says why a call stays inlined
    """What is not as it was."""


def keep_functions(model: ir.Model, prepared: ir.Model, source: ir.Model) -> list[str]:
    """Puts calls of local functions back into ``model``, in place.

    A function stays where all its calls in the main graph compute what they did; calls inside bodies of control flow
    stay inlined, and so do functions that contain control flow.

    Args:
        model: made from ``prepared``, in normal form.
        prepared: the graph before anything was changed, in normal form.
        source: the model with its functions; not changed.

    Returns:
        What was inlined and why, in words.
    """
    calls = [node for node in source.graph if node.op_identifier() in source.functions]
    old, new = _by_name(prepared.graph), _by_name(model.graph)
    matches: dict[Identifier, list[tuple[ir.Node, _Match]]] = {}
    reasons: dict[Identifier, str] = {}
    for call in calls:
        try:
            matches.setdefault(call.op_identifier(), []).append((call, _matched(call, old, new)))
        except _Differs as why:
            reasons.setdefault(call.op_identifier(), str(why))
    kept = [name for name in matches if name not in reasons]
    free, replaced = FreeNames(model.graph), dict[ir.Value, ir.Value]()
    for name in kept:
        for call, match in matches[name]:
            replaced |= _put_back(model.graph, call, match, free)
    # Only now, as a call may read what another one gives that was put back later.
    for inlined, result in replaced.items():
        inlined.replace_all_uses_with(result, replace_graph_outputs=True)
    for name in _with_inner(kept, source):
        model.functions[name] = source.functions[name].clone()
        # Cleaning drops imports that no node needs, and a call needs that of its domain.
        model.graph.opset_imports.setdefault(name[0], source.opset_imports.get(name[0], 1))
    model.graph.sort()
    _remove_dead(model)
    return [*_told(reasons, source), *_inside(source, kept)]


def _told(reasons: Mapping[Identifier, str], source: ir.Model) -> list[str]:
    return [f"function {source.functions[name].name!r} is inlined: {why}" for name, why in reasons.items()]


def _inside(source: ir.Model, kept: Iterable[Identifier]) -> list[str]:
    """What is called from bodies of control flow, or only by functions that were inlined."""
    known = {*_with_inner(kept, source), *(node.op_identifier() for node in source.graph)}
    lost = [function.name for name, function in source.functions.items() if name not in known]
    return (
        [f"{count(len(lost), 'function')} that no kept call needs ({', '.join(lost[:3])}) are inlined"] if lost else []
    )


def _by_name(graph: ir.Graph) -> dict[str, ir.Value]:
    return {
        str(v.name): v for v in (*graph.inputs, *graph.initializers.values(), *(o for n in graph for o in n.outputs))
    }


@dataclass
class _Match:
    """What a call reads and gives in the new graph, as far as the walk over its body has come.

    Attributes:
        inputs: by name of the call's input: the value that took its place.
        outputs: in the order of the call's; None for one that nothing needed any more.
        seen: values of the old graph -> of the new one.
    """

    inputs: dict[str, ir.Value] = field(default_factory=dict)
    outputs: list[ir.Value | None] = field(default_factory=list)
    seen: dict[ir.Value, ir.Value] = field(default_factory=dict)


def _matched(call: ir.Node, old: Mapping[str, ir.Value], new: Mapping[str, ir.Value]) -> _Match:
    match = _Match()
    own = {str(value.name) for value in call.inputs if value is not None}
    for output in call.outputs:
        before, after = old.get(str(output.name)), new.get(str(output.name))
        if before is None and (output.uses() or output.is_graph_output()):
            raise _Differs(f"its result {output.name!r} was merged with something else")
        if before is not None and after is None:
            raise _Differs(f"its result {output.name!r} is gone")
        # None stands for a result that nobody reads, and that cleaning took away.
        match.outputs.append(after)
        if before is not None and after is not None:
            if before.producer() is None or after.producer() is None:
                raise _Differs(f"its result {output.name!r} is a constant")
            _compare(before, after, own, match)
    # Inputs that no result follows from were not met on the way back.
    for name in own - match.inputs.keys():
        if name not in new:
            raise _Differs(f"what it read as {name!r} is gone")
        match.inputs[name] = new[name]
    return match


def _compare(before: ir.Value, after: ir.Value, own: set[str], match: _Match) -> None:
    """Walks both graphs backwards side by side, down to the inputs of the call."""
    # Not by recursion, as bodies may be deeper than Python's stack.
    pairs = [(before, after)]
    while pairs:
        one, two = pairs.pop()
        known = match.seen.setdefault(one, two)
        if known is not two:
            raise _Differs(f"{one.name!r} became two values")
        if str(one.name) in own:
            match.inputs[str(one.name)] = two
            continue
        maker, other = one.producer(), two.producer()
        if maker is None or other is None:
            _same_constant(one, two)
            continue
        _same_node(maker, other)
        if one.index() != two.index():
            raise _Differs(f"{one.name!r} is another result of its node")
        for mine, theirs in zip(maker.inputs, other.inputs, strict=True):
            if mine is not None and theirs is not None and mine not in match.seen:
                pairs.append((mine, theirs))
            elif (mine is None) != (theirs is None) or (mine is not None and match.seen[mine] is not theirs):
                raise _Differs(f"node {maker.name!r} reads something else")


def _same_constant(one: ir.Value, two: ir.Value) -> None:
    a, b = one.const_value, two.const_value
    if not (one.is_initializer() and two.is_initializer()) or a is None or b is None:
        raise _Differs(f"its body reads {one.name!r} from outside since it was simplified")
    # By their bytes: NaN is unlike itself, and zeros of both signs would pass for the same.
    if a.dtype != b.dtype or list(a.shape) != list(b.shape) or a.tobytes() != b.tobytes():
        raise _Differs(f"the cut changes {one.name!r} in it")


def _same_node(one: ir.Node, two: ir.Node) -> None:
    if graphs_of(one) or graphs_of(two):
        raise _Differs(f"node {one.name!r} in it holds control flow")
    same = one.op_identifier() == two.op_identifier() and len(one.inputs) == len(two.inputs)
    if not same or _attributes(one) != _attributes(two):
        raise _Differs(f"the cut changes node {one.name!r} in it")


def _attributes(node: ir.Node) -> dict[str, bytes]:
    # As bytes, since attributes may be tensors; deterministic, as protobuf promises no order of the fields of a map.
    return {name: ir.to_proto(value).SerializeToString(deterministic=True) for name, value in node.attributes.items()}


def _put_back(graph: ir.Graph, call: ir.Node, match: _Match, free: FreeNames) -> dict[ir.Value, ir.Value]:
    """Adds a call; returns what its results take the place of."""
    inputs = [None if value is None else match.inputs[str(value.name)] for value in call.inputs]
    made = ir.Node(
        call.domain,
        call.op_type,
        inputs,
        call.attributes.values(),
        overload=call.overload,
        num_outputs=len(match.outputs),
        name=free(call.name or call.op_type),
        metadata_props=dict(call.metadata_props),
    )
    graph.append(made)
    replaced = {}
    for output, value in zip(made.outputs, match.outputs, strict=True):
        if value is None:
            output.name = ""
            continue
        output.type, output.shape = value.type, value.shape
        # The name goes with the result that stays: an output of the model is known by it.
        name, value.name = value.name, free(f"{value.name}.inlined")
        output.name = name
        replaced[value] = output
    return replaced


def _with_inner(kept: Iterable[Identifier], source: ir.Model) -> list[Identifier]:
    """These functions and those that they call."""
    found: dict[Identifier, None] = {}
    todo = list(kept)
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found[name] = None
        todo += [n.op_identifier() for n in source.functions[name].all_nodes() if n.op_identifier() in source.functions]
    return list(found)


def _remove_dead(model: ir.Model) -> None:
    remove_dead(model)
    for name, value in list(model.graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del model.graph.initializers[name]
