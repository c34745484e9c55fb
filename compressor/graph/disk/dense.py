"""Sparse tensors of a file as dense ones, which is what ONNX Runtime makes of them when it loads the file."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from compressor.errors import ModelError
from compressor.graph.ir.walk import Body, bodies, quoted
from compressor.graph.tensors.external import MAX_NESTED_BYTES, check_tensor, declared_tensor, embed


def make_dense(model: onnx.ModelProto, own: Path) -> set[Path]:
    """Turn sparse initializers, and sparse values of Constant, into dense ones, in place.

    They follow the dense initializers, as of two of one name ONNX Runtime takes the sparse one.

    Args:
        model: the parsed file; what it holds is checked here.
        own: the model file, in whose folder external data lies.

    Returns:
        The external files that they lay in.

    Raises:
        ModelError: a sparse tensor is not sound, or all together are larger than ``MAX_NESTED_BYTES``.
    """
    files: set[Path] = set()
    room = MAX_NESTED_BYTES
    for body in bodies(model):
        for sparse, target in _replace_sparse(body):
            name = f"sparse tensor {quoted(sparse.values.name)}"
            shape = onnx.TensorProto(data_type=sparse.values.data_type, dims=sparse.dims)
            dtype, count = declared_tensor(shape, name)
            if dtype == ir.DataType.STRING:
                raise ModelError(f"{name} holds text; store it as a dense one")
            room -= (count * dtype.bitwidth + 7) // 8
            if room < 0:
                raise ModelError(f"{name} needs more than 2 GiB, with those before it, as a dense one; leave it out")
            for part in (sparse.values, sparse.indices):
                files |= check_tensor(part, own)
                embed(part, own, MAX_NESTED_BYTES)
            target.CopyFrom(_dense(sparse, name))
    return files


def _replace_sparse(body: Body) -> Iterator[tuple[onnx.SparseTensorProto, onnx.TensorProto]]:
    """The sparse tensors of one body, and the empty dense ones that take their places."""
    if isinstance(body, onnx.GraphProto):
        for sparse in body.sparse_initializer:
            yield sparse, body.initializer.add()
        del body.sparse_initializer[:]
    for node in body.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "sparse_value" and attribute.HasField("sparse_tensor"):
                yield attribute.sparse_tensor, attribute.t
                attribute.ClearField("sparse_tensor")
                attribute.name, attribute.type = "value", onnx.AttributeProto.TENSOR


def _dense(sparse: onnx.SparseTensorProto, name: str) -> onnx.TensorProto:
    """The tensor whole: zeros, and the values at their places, of which each has one number or one for each axis."""
    values, places = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    shape = tuple(sparse.dims)
    if places.dtype.kind != "i" or values.ndim != 1 or places.shape not in (values.shape, (*values.shape, len(shape))):
        raise ModelError(
            f"{name} has {values.shape} values at {places.shape} places of {places.dtype}; export it again"
        )
    sizes = np.array(shape if places.ndim > 1 else [prod(shape)])
    places = places.reshape(len(values), len(sizes))
    if ((places < 0) | (places >= sizes)).any():
        raise ModelError(f"{name} has values outside of its shape {shape}; export it again")
    whole = np.zeros(sizes, values.dtype)
    # Of two values at one place the last one stays, as in ONNX Runtime.
    whole[tuple(places.T)] = values
    return numpy_helper.from_array(whole.reshape(shape), sparse.values.name)
