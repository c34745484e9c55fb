"""Damage to a model file, as broken exporters, broken disks and hostile people do it: in the message and in its bytes.

Most of it knows nothing of ONNX: it walks the message by the description that protobuf has of it, takes one kind of
field (``NodeProto.input``), then one place that has it, and damages that. So what nobody thought of is damaged as well.
The rest aims at what is known to hurt. Shares nothing with the damage that the tests do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from numpy.typing import NDArray
from onnx import AttributeProto, TensorProto, helper, numpy_helper

Rng = np.random.Generator
Harm = Callable[[onnx.ModelProto, Rng], str]
NUMBERS = (-(2**63), -(2**31), -100, -3, -2, -1, 0, 1, 2, 3, 5, 17, 300, 2**31 - 1, 2**40, 2**63 - 1)
REALS = (0.0, -0.0, -1.0, 1e-42, 1e38, -1e38, float("nan"), float("inf"), float("-inf"))
WEIGHTS = (float("nan"), float("inf"), -float("inf"), 1e-42, 3e38, 0.0, -0.0)
PATHS = ("../../etc/passwd", "/dev/zero", "/etc/passwd", "gone.bin", ".", "", "a\0b", "a/../w.bin", "\\\\host\\w")
MANY = (1, 1, 1, 2, 2, 3)
"""Damages of one file; mostly one, as most files with several are refused for the first."""


def pick(rng: Rng, options: Any) -> Any:
    """One of several; any type, unlike ``rng.choice``."""
    options = list(options)
    return options[int(rng.integers(len(options)))]


TRIES = 20
"""Copies that are damaged, at most, until one gets past the checker of ONNX."""
IMPLAUSIBLE = 0.05
"""Share of copies that are taken as they are."""
BYTES = 0.06
"""Share of files in which bytes are damaged as well."""


# ---- any field of the message ----------------------------------------------------------------------------------------


def places(message: Message, depth: int = 0) -> Iterator[tuple[Message, FieldDescriptor]]:
    """Every field that is set, in every message below ``message``."""
    for field, value in message.ListFields():
        yield message, field
        if field.type == FieldDescriptor.TYPE_MESSAGE and depth < 12:
            for part in value if field.is_repeated else [value]:
                yield from places(part, depth + 1)


def any_field(model: onnx.ModelProto, rng: Rng) -> str:
    """Clears, doubles, swaps or changes one field; each kind of field is as likely as any other."""
    kinds: dict[str, list[tuple[Message, FieldDescriptor]]] = {}
    for message, field in places(model):
        kinds.setdefault(field.full_name, []).append((message, field))
    if not kinds:
        return "nothing left"
    name = pick(rng, sorted(kinds))
    message, field = pick(rng, kinds[name])
    how = _repeated(message, field, rng) if field.is_repeated else _single(message, field, rng)
    return f"{name.removeprefix('onnx.')} {how}"


def _repeated(message: Message, field: FieldDescriptor, rng: Rng) -> str:
    values = getattr(message, field.name)
    at, other = (int(rng.integers(len(values))) for _ in range(2))
    how = pick(rng, ("cleared", "one removed", "one doubled", "two swapped", "one changed", "one changed"))
    if how == "cleared":
        message.ClearField(field.name)
    elif how == "one removed":
        del values[at]
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        if how == "one doubled":
            values.add().CopyFrom(values[at])
        elif how == "two swapped":
            one = type(values[at])()
            one.CopyFrom(values[at])
            values[at].CopyFrom(values[other])
            values[other].CopyFrom(one)
        else:
            how = "one emptied"
            values[at].Clear()
    elif how == "one doubled":
        values.append(values[at])
    elif how == "two swapped":
        values[at], values[other] = values[other], values[at]
    else:
        values[at] = _odd(field, values[at], rng, [v for v in values if v != values[at]])
    return how


def _single(message: Message, field: FieldDescriptor, rng: Rng) -> str:
    if field.type == FieldDescriptor.TYPE_MESSAGE or rng.random() < 0.3:
        message.ClearField(field.name)
        return "cleared"
    new = _odd(field, getattr(message, field.name), rng)
    try:
        setattr(message, field.name, new)
    except (ValueError, UnicodeError):
        message.ClearField(field.name)
        return "cleared"
    return f"set to {new!r:.40}"


def _odd(field: FieldDescriptor, old: Any, rng: Rng, others: Any = ()) -> Any:
    """Another value of the same field."""
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return pick(rng, REALS)
    if field.type in (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_ENUM):
        return pick(rng, range(24))
    if field.type == FieldDescriptor.TYPE_INT64:
        return pick(rng, NUMBERS)
    if field.type == FieldDescriptor.TYPE_UINT64:
        return abs(pick(rng, NUMBERS))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return pick(rng, (old[: len(old) // 2], old + b"\0", b"", old[:-1], b"\xff\xfe", old + old))
    return pick(rng, (*others, "", old + old, old[:-1], old.upper(), "x" * 300, "\n", "é\u202e"))


def array_of(tensor: TensorProto) -> NDArray[Any] | None:
    """The numbers of a weight; None where earlier damage has made them unreadable."""
    try:
        return numpy_helper.to_array(tensor).copy()
    except Exception:  # noqa: BLE001 - onnx raises whatever it meets
        return None


# ---- what is known to hurt -------------------------------------------------------------------------------------------


def _graph(model: onnx.ModelProto, rng: Rng) -> onnx.GraphProto:
    """The main graph, or now and then a body."""
    bodies = [a.g for node in model.graph.node for a in node.attribute if a.type == AttributeProto.GRAPH]
    return pick(rng, bodies) if bodies and rng.random() < 0.4 else model.graph


def _names(graph: onnx.GraphProto) -> list[str]:
    made = [o for node in graph.node for o in node.output]
    return [*made, *(t.name for t in graph.initializer), *(v.name for v in graph.input)]


def cycle(model: onnx.ModelProto, rng: Rng) -> str:
    """An input of an early node becomes an output of a later one, or of itself."""
    nodes = model.graph.node
    if not nodes:
        return "no nodes"
    early = int(rng.integers(len(nodes)))
    late = int(rng.integers(early, len(nodes)))
    if nodes[early].input and nodes[late].output:
        nodes[early].input[int(rng.integers(len(nodes[early].input)))] = pick(rng, nodes[late].output)
    return "a cycle"


def other_input(model: onnx.ModelProto, rng: Rng) -> str:
    """A node reads another value, none, one more or one less."""
    graph = _graph(model, rng)
    readers = [node for node in graph.node if node.input]
    if not readers:
        return "no inputs"
    node = pick(rng, readers)
    how = pick(rng, ("another", "none", "one more", "one less", "one that is not there"))
    at = int(rng.integers(len(node.input)))
    if how == "one more":
        node.input.append(pick(rng, _names(graph)))
    elif how == "one less":
        del node.input[-1]
    else:
        node.input[at] = {"none": "", "another": pick(rng, _names(graph))}.get(how, "not_there")
    return f"{node.op_type} reads {how}"


def other_output(model: onnx.ModelProto, rng: Rng) -> str:
    """A node gives one more result, one less, or one that another node gives already."""
    graph = _graph(model, rng)
    if not graph.node:
        return "no nodes"
    node = pick(rng, graph.node)
    how = pick(rng, ("more", "less", "that of another", "one without a name"))
    if how == "more":
        node.output.append("more")
    elif node.output:
        at = int(rng.integers(len(node.output)))
        if how == "less":
            del node.output[at]
        else:
            node.output[at] = "" if how == "one without a name" else pick(rng, _names(graph))
    return f"{node.op_type} gives {how}"


def other_attribute(model: onnx.ModelProto, rng: Rng) -> str:
    """An attribute of another kind, odd numbers, one of another operator, or a graph where none belongs."""
    nodes = [node for node in _graph(model, rng).node if node.attribute]
    if not nodes:
        return "no attributes"
    node, donor = pick(rng, nodes), pick(rng, nodes)
    old = pick(rng, node.attribute)
    how = pick(rng, ("numbers", "number", "real", "text", "tensor", "graph", "foreign", "reference"))
    if how == "foreign":
        node.attribute.add().CopyFrom(pick(rng, donor.attribute))
    elif how == "reference":
        old.ref_attr_name = "alpha"
    else:
        new: Any = {
            "numbers": [pick(rng, NUMBERS) for _ in range(int(rng.integers(1, 5)))],
            "number": pick(rng, NUMBERS),
            "real": pick(rng, REALS),
            "text": pick(rng, ("SAME_UPPER", "NOTSET", "", "linear", "bijk,bkj->", "...i,ij->ij...")),
            "tensor": numpy_helper.from_array(np.zeros((0, 3), np.float32), "t"),
            "graph": model.graph,
        }[how]
        old.CopyFrom(helper.make_attribute(old.name, new))
    return f"{node.op_type}.{old.name}: {how}"


def other_operator(model: onnx.ModelProto, rng: Rng) -> str:
    """A node becomes another operator that exists, with inputs and attributes that it does not expect."""
    nodes = _graph(model, rng).node
    if not nodes:
        return "no nodes"
    node = pick(rng, nodes)
    known = sorted({schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""})
    old, node.op_type = node.op_type, pick(rng, known)
    return f"{old} becomes {node.op_type}"


def other_weights(model: onnx.ModelProto, rng: Rng) -> str:
    """Odd numbers in a weight: in all of it, in one place, or in one slice along an axis."""
    found = [t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT and t.dims]
    if not found:
        return "no weights"
    tensor, value = pick(rng, found), pick(rng, WEIGHTS)
    array = array_of(tensor)
    if array is None or not array.size:
        return "no numbers"
    where = pick(rng, ("everywhere", "in one place", "in one slice"))
    if where == "everywhere":
        array[...] = value
    elif where == "in one place":
        array.flat[int(rng.integers(array.size))] = value
    else:
        axis = int(rng.integers(array.ndim))
        array[(slice(None),) * axis + (int(rng.integers(array.shape[axis])),)] = value
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return f"weights are {value} {where}"


def other_type(model: onnx.ModelProto, rng: Rng) -> str:
    """A weight keeps its numbers in another type, rightly converted, or has another shape."""
    if not model.graph.initializer:
        return "no weights"
    tensor = pick(rng, model.graph.initializer)
    array = array_of(tensor)
    if array is None or not array.size or array.dtype.kind not in "fiub":
        return "no numbers"
    how = pick(rng, ("float64", "float16", "int32", "bool", "flat", "one axis more", "empty", "scalar"))
    if how in ("float64", "float16", "int32", "bool"):
        with np.errstate(all="ignore"):
            array = array.astype(how)
    else:
        flat = array.reshape(-1)
        array = {"flat": flat, "one axis more": array[None], "empty": flat[:0], "scalar": np.asarray(flat[0])}[how]
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return f"weight becomes {how}"


def other_imports(model: onnx.ModelProto, rng: Rng) -> str:
    """The operator sets: none, another version, one twice, or one that nobody has."""
    how = pick(rng, ("none", "version", "version", "version", "twice", "unknown"))
    if how == "none":
        del model.opset_import[:]
    elif how == "twice":
        model.opset_import.add().CopyFrom(helper.make_opsetid("", int(rng.integers(7, 24))))
    elif how == "unknown":
        model.opset_import.add().CopyFrom(helper.make_opsetid("com.nobody", 1))
    elif model.opset_import:
        model.opset_import[0].version = pick(rng, (-1, 0, 1, 5, 7, 9, 12, 13, 18, 21, 23, 26, 99, 2**40))
    return f"imports: {how}"


def other_signature(model: onnx.ModelProto, rng: Rng) -> str:
    """Inputs and outputs of a graph: missing, more, doubled, odd sizes, other types, none at all."""
    graph = _graph(model, rng)
    ends = pick(rng, (graph.input, graph.output))
    how = pick(rng, ("none", "one less", "one more", "twice", "sizes", "type", "sequence", "letters"))
    if how == "none":
        del ends[:]
    elif how == "one more":
        name = pick(rng, [*_names(graph), "not_there"])
        ends.append(helper.make_tensor_value_info(name, pick(rng, (1, 7, 9, 10)), [2, "N"]))
    elif ends:
        value = pick(rng, ends)
        if how == "one less":
            ends.remove(value)
        elif how == "twice":
            ends.add().CopyFrom(value)
        elif how == "type":
            value.type.tensor_type.elem_type = pick(rng, range(24))
        elif how == "sequence":
            value.type.CopyFrom(helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, None)))
        elif value.type.tensor_type.shape.dim:
            dim = pick(rng, value.type.tensor_type.shape.dim)
            if how == "letters":
                dim.dim_param = pick(rng, ("N", "", "2*N", "N+1", "a b", "-1"))
            else:
                dim.dim_value = pick(rng, NUMBERS)
    return f"signature: {how}"


def external(model: onnx.ModelProto, rng: Rng) -> str:
    """A weight that says it lies in a file elsewhere."""
    if not model.graph.initializer:
        return "no weights"
    tensor = pick(rng, model.graph.initializer)
    path = pick(rng, PATHS)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    wanted = {"location": path, "offset": str(pick(rng, (0, 3, 2**40, -1))), "length": pick(rng, ("16", "-4", "zz"))}
    for key, text in wanted.items():
        if rng.random() < 0.8:
            entry = tensor.external_data.add()
            entry.key, entry.value = key, text
    return f"external data at {path!r}"


def body_broken(model: onnx.ModelProto, rng: Rng) -> str:
    """A body of control flow without outputs or inputs, or with those of another."""
    bodies = [a.g for node in model.graph.node for a in node.attribute if a.type == AttributeProto.GRAPH]
    if not bodies:
        return any_field(model, rng)
    body = pick(rng, bodies)
    how = pick(rng, ("output", "node", "everything"))
    if how == "everything":
        body.Clear()
    else:
        body.ClearField(how)
    return f"a body without {how}"


HARMS: tuple[Harm, ...] = (any_field, any_field, any_field, any_field, cycle, other_input, other_input, other_output,
                           other_attribute, other_attribute, other_operator, other_weights, other_weights, other_type,
                           other_imports, other_signature, other_signature, external, body_broken)  # fmt: skip


def damaged_bytes(content: bytes, rng: Rng) -> tuple[bytes, str]:
    """Bytes flipped, cut off, or moved."""
    how = pick(rng, ("flipped", "flipped", "cut short", "a hole", "zeros"))
    data = bytearray(content)
    at = int(rng.integers(len(data)))
    if how == "flipped":
        # At the start, where the message's structure is dense, or anywhere.
        reach = min(len(data), int(pick(rng, (64, 1000, len(data)))))
        for place in rng.integers(reach, size=int(rng.integers(1, 6))):
            data[place] ^= 1 << int(rng.integers(8))
    elif how == "cut short":
        del data[at:]
    elif how == "a hole":
        del data[at : at + int(rng.integers(1, 50))]
    else:
        data[at : at + 16] = bytes(len(data[at : at + 16]))
    return bytes(data), f"bytes {how}"


def is_plausible(model: onnx.ModelProto) -> bool:
    """Does the damage get past the checker of ONNX? In a child, as inference ends its process over some of it."""
    child = os.fork()
    if child == 0:
        try:
            onnx.checker.check_model(model)
            onnx.shape_inference.infer_shapes(model, strict_mode=True)
        except BaseException:  # noqa: BLE001 - it raises whatever it meets
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 1


def damage(model: onnx.ModelProto, rng: Rng) -> tuple[bytes, list[str]]:
    """The file of a damaged copy, and what was done to it."""
    for _ in range(TRIES):
        copy, done = onnx.ModelProto(), []
        copy.CopyFrom(model)
        for _ in range(pick(rng, MANY)):
            done.append(pick(rng, HARMS)(copy, rng))
        # Most damage is refused at the door, always there: what gets further is tried more often.
        if rng.random() < IMPLAUSIBLE or is_plausible(copy):
            break
    content = copy.SerializePartialToString(deterministic=True)
    if rng.random() < BYTES and content:
        content, said = damaged_bytes(content, rng)
        done.append(said)
    return content, done
