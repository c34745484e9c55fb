"""Damage to a valid model, as a broken exporter or an attacker would do it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

Rng = np.random.Generator
ODD_NUMBERS = (-5, -1, 0, 1, 2, 3, 7, 100, 2**40)


def _node(model: onnx.ModelProto, rng: Rng) -> onnx.NodeProto:
    return model.graph.node[rng.integers(len(model.graph.node))]


def attribute_value(model: onnx.ModelProto, rng: Rng) -> None:
    node = _node(model, rng)
    if not node.attribute:
        return
    attribute = node.attribute[rng.integers(len(node.attribute))]
    odd = int(rng.choice(ODD_NUMBERS))
    if attribute.type == onnx.AttributeProto.INT:
        attribute.i = odd
    elif attribute.type == onnx.AttributeProto.INTS and attribute.ints:
        attribute.ints[rng.integers(len(attribute.ints))] = odd
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = float(rng.choice([0, -1, np.nan, np.inf]))
    elif attribute.type == onnx.AttributeProto.STRING:
        attribute.s = b"zz"


def attribute_gone(model: onnx.ModelProto, rng: Rng) -> None:
    node = _node(model, rng)
    if node.attribute:
        del node.attribute[rng.integers(len(node.attribute))]


def input_rewired(model: onnx.ModelProto, rng: Rng) -> None:
    node = _node(model, rng)
    names = [i.name for i in model.graph.initializer] + [o for n in model.graph.node for o in n.output] + [""]
    if node.input:
        node.input[rng.integers(len(node.input))] = str(rng.choice(names))


def input_gone(model: onnx.ModelProto, rng: Rng) -> None:
    node = _node(model, rng)
    if len(node.input) > 1:
        del node.input[-1]


def constant_changed(model: onnx.ModelProto, rng: Rng) -> None:
    if not model.graph.initializer:
        return
    tensor = model.graph.initializer[rng.integers(len(model.graph.initializer))]
    array = onnx.numpy_helper.to_array(tensor)
    if array.dtype.kind == "i" and array.size:
        flat = array.copy().reshape(-1)
        flat[rng.integers(flat.size)] = int(rng.choice([-7, -1, 0, 1, 2, 5, 64, 2**30]))
        array = flat.reshape(array.shape)
    elif array.size > 1:
        array = array.reshape(-1) if rng.random() < 0.5 else array[..., None]
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))


def operator_changed(model: onnx.ModelProto, rng: Rng) -> None:
    known = [n.op_type for n in model.graph.node]
    _node(model, rng).op_type = str(rng.choice([*known, "Relu", "Foo", "Conv", "LSTM", "Attention", "Loop"]))


def domain_changed(model: onnx.ModelProto, rng: Rng) -> None:
    _node(model, rng).domain = str(rng.choice(["com.x", ""]))


def opset_changed(model: onnx.ModelProto, rng: Rng) -> None:
    model.opset_import[0].version = int(rng.choice([1, 6, 9, 11, 13, 17, 18, 20, 21, 22, 23, 25]))


def shape_lies(model: onnx.ModelProto, rng: Rng) -> None:
    values = [*model.graph.value_info, *model.graph.input]
    dims = values[rng.integers(len(values))].type.tensor_type.shape.dim
    if dims:
        dims[rng.integers(len(dims))].dim_value = int(rng.choice([0, 1, 2, 3, 5, 1000]))


MUTATIONS: tuple[Callable[[onnx.ModelProto, Rng], None], ...] = (
    attribute_value,
    attribute_gone,
    input_rewired,
    input_gone,
    constant_changed,
    operator_changed,
    domain_changed,
    opset_changed,
    shape_lies,
)


def mutate(model: onnx.ModelProto, rng: Rng) -> None:
    """One to three mutations, in place."""
    for _ in range(rng.integers(1, 4)):
        MUTATIONS[rng.integers(len(MUTATIONS))](model, rng)
