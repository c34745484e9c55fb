"""What ONNX Runtime adds to a file or overlooks in it when it loads one, done to the parsed message.

A file that lacks an operator set, holds a weight twice or returns a map breaks the letter of ONNX and runs all the
same; it is brought into the form that the rest of the program knows before it is judged. Tried with ONNX Runtime 1.31.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any, Final

import onnx

from compressor.errors import ModelError
from compressor.graph.form.unfuse import FUSED
from compressor.graph.ir.nodes import MICROSOFT
from compressor.graph.ir.walk import Body, bodies, quoted

MICROSOFT_DOMAINS: Final = (MICROSOFT, f"{MICROSOFT}.experimental", f"{MICROSOFT}.nchwc")
"""Domains of ONNX Runtime itself, each at version 1, imported or not."""
ONNX_DOMAINS: Final = ("ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training")
"""Domains of ONNX that are taken at their newest version where a file does not import them. The default domain is none
of them: what its operators mean would depend on the version of whoever reads the file."""


def complete(model: onnx.ModelProto) -> bool:
    """Bring a message into the form that the checks expect, in place.

    The default domain, also known as ``ai.onnx``, is spelt as the empty string. Operator sets that ONNX Runtime knows
    without being told are imported where they are used, and its own have version 1. A value that is listed twice, such
    as an input that is an output, has one type and shape. Of initializers of one name the last one stays, as in ONNX
    Runtime, and those without a name, which nothing can read, go. So do names of left-out inputs at the end of a node.
    Outputs without a name that an operator cannot leave out get one. A local function that is called like an operator
    goes, as ONNX Runtime runs the operator.

    Returns:
        Whether ONNX Runtime must not be given the file as it is: its fusion of LayerNormalization reads what stands
        behind an empty name at the end, and of an output that has no name it makes no room for what the kernel
        writes; the process dies of either.
    """
    _spell_default_domain(model)
    _import_known_domains(model)
    for body in bodies(model):
        if isinstance(body, onnx.GraphProto):
            _drop_repeated_initializers(body)
            _declare_outputs_alike(body)
    # Every node, not those up to the first that had some.
    versions = {entry.domain: entry.version for entry in model.opset_import}
    _drop_functions_of_operators(model, versions)
    left_out = sum(_drop_left_out(node, versions) for body in bodies(model) for node in body.node)
    return left_out + _name_outputs(model) > 0


def _drop_left_out(node: onnx.NodeProto, versions: Mapping[str, int]) -> bool:
    """Drop empty names at the end of the inputs, which say the same as no names; were there any?

    Not those that an operator counts among the inputs that it must have, as Loop does its condition.
    """
    if not node.input or node.input[-1]:
        return False
    schema = _schema(node, versions)
    count, least = len(node.input), 0 if schema is None else schema.min_input
    while len(node.input) > least and not node.input[-1]:
        node.input.pop()
    return len(node.input) < count


def _name_outputs(model: onnx.ModelProto) -> int:
    """Name the outputs that are there whether something reads them or not; returns how many had no name."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    nodes = [node for body in bodies(model) for node in body.node]
    unnamed = [(node, place) for node in nodes for place, name in enumerate(node.output) if not name]
    unnamed = [(node, place) for node, place in unnamed if not _optional(node, place, versions)]
    if not unnamed:
        return 0
    taken = {name for body in bodies(model) for name in _names(body)}
    free = (name for number in count() if (name := f"unread_{number}") not in taken)
    for node, place in unnamed:
        node.output[place] = next(free)
    return len(unnamed)


def _optional(node: onnx.NodeProto, place: int, versions: Mapping[str, int]) -> bool:
    """May the operator leave this output out? One that ONNX does not know is not judged."""
    schema = _schema(node, versions)
    if schema is None:
        return True
    outputs = schema.outputs
    # The last one may be variadic, and then stands for all that come after it.
    return (
        not outputs or outputs[min(place, len(outputs) - 1)].option == onnx.defs.OpSchema.FormalParameterOption.Optional
    )


def _schema(node: onnx.NodeProto, versions: Mapping[str, int]) -> onnx.defs.OpSchema | None:
    """The definition of an operator; None where ONNX has none."""
    try:
        return onnx.defs.get_schema(node.op_type, versions.get(node.domain, 1), node.domain)
    except onnx.defs.SchemaError:
        return None


def _drop_functions_of_operators(model: onnx.ModelProto, versions: Mapping[str, int]) -> None:
    # What ONNX Runtime has kernels for and ONNX has no definition of.
    kept = [
        function
        for function in model.functions
        if (function.domain, function.name) not in FUSED
        and not onnx.defs.has(function.name, versions.get(function.domain, 1), function.domain)
    ]
    if len(kept) < len(model.functions):
        # The kept messages are copied out before the field is emptied.
        kept = [onnx.FunctionProto.FromString(function.SerializeToString()) for function in kept]
        del model.functions[:]
        model.functions.extend(kept)


def _names(body: Body) -> Iterable[str]:
    """Every name of a value that a body may refer to."""
    for node in body.node:
        yield from node.input
        yield from node.output
    if isinstance(body, onnx.GraphProto):
        yield from (value.name for value in (*body.input, *body.output, *body.initializer))
    else:
        yield from (*body.input, *body.output)


def _spell_default_domain(model: onnx.ModelProto) -> None:
    named: list[Any] = [*model.opset_import, *model.functions]
    for function in model.functions:
        named += function.opset_import
    for body in bodies(model):
        named += body.node
    for item in named:
        if item.domain == "ai.onnx":
            item.domain = ""


def _import_known_domains(model: onnx.ModelProto) -> None:
    """Add the imports that ONNX Runtime adds, and take its own domains at the version that they have."""
    for entry in model.opset_import:
        if entry.domain in MICROSOFT_DOMAINS:
            entry.version = 1
    missing = {node.domain for body in bodies(model) for node in body.node}
    missing -= {entry.domain for entry in model.opset_import}
    for domain in sorted(missing):
        if domain in MICROSOFT_DOMAINS:
            model.opset_import.add(domain=domain, version=1)
        elif domain in ONNX_DOMAINS:
            newest = max(s.since_version for s in onnx.defs.get_all_schemas() if s.domain == domain)
            model.opset_import.add(domain=domain, version=newest)


def _declare_outputs_alike(graph: onnx.GraphProto) -> None:
    """Where a value is listed more than once, ONNX Runtime goes by what is said first: of an input, where it is one."""
    first = {value.name: value for value in graph.input}
    for value in graph.output:
        if (known := first.setdefault(value.name, value)) is not value:
            value.type.CopyFrom(known.type)


def _drop_repeated_initializers(graph: onnx.GraphProto) -> None:
    last = {tensor.name: index for index, tensor in enumerate(graph.initializer) if tensor.name}
    if len(last) == len(graph.initializer):
        return
    # The kept messages are copied out before the field is emptied.
    kept = [graph.initializer[index] for index in sorted(last.values())]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def set_maps_aside(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """Take the types that the model in memory cannot represent off the values of a message, in place.

    Returns:
        Types of the outputs of the main graph by name, to be written again by
        :func:`compressor.graph.disk.stream.plan_files`.

    Raises:
        ModelError: an input of the main graph is a map, which nothing here could feed.
    """
    outputs: dict[str, onnx.TypeProto] = {}
    # The main graph comes first.
    for position, body in enumerate(bodies(model)):
        for value in _typed(body):
            if not _holds_map(value.type):
                continue
            if position == 0 and value in body.input:
                raise ModelError(f"input {quoted(value.name)} is a map; feed the model a tensor in its place")
            if position == 0:
                outputs[value.name] = onnx.TypeProto()
                outputs[value.name].CopyFrom(value.type)
            value.ClearField("type")
    return {name: outputs[name] for name in (value.name for value in model.graph.output) if name in outputs}


def _typed(body: Body) -> Iterable[onnx.ValueInfoProto]:
    yield from body.value_info
    if isinstance(body, onnx.GraphProto):
        yield from body.input
        yield from body.output


def _holds_map(kind: onnx.TypeProto) -> bool:
    # A map may be an element of a sequence, and that of an optional.
    while (field := kind.WhichOneof("value")) in ("sequence_type", "optional_type"):
        kind = getattr(kind, field).elem_type
    return bool(field == "map_type")
