"""Fresh weights for a trained network, each by the initialisation that its layer's kind calls for.

Kernels and matrices are normal with variance ``gain / fan_in``, where the gain is 2 if a rectifier follows (He et al.,
arXiv 1502.01852, eq. 10) and 1 otherwise (LeCun et al., Efficient BackProp, 1998). A layer whose result is added to
another is divided by the root of the number of such sums, so that a residual stream does not grow with depth (as in
Fixup, arXiv 1901.09321, but for the exponent). Scales of normalisations are one, shifts and biases and running means
zero, running variances one. Gates of a recurrent layer have the fan-in of their inputs and hidden states together, as
they sum both. Other vectors keep what they hold, other matrices (tables) become normal with their own root mean square.
"""

from __future__ import annotations

import zlib

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import Unexplained
from compressor.core.arrays import Array
from compressor.operators.table import adds, operator_of
from compressor.operators.weight import weight_axes

RECTIFIERS = 2.0
SATURATING = 1.0
"""Variance times fan-in that keeps the size of signals: a rectifier halves their mean square (arXiv 1502.01852), and a
function that is straight around zero does not (Glorot and Bengio 2010)."""


def reinitialised(model: ir.Model, seed: int) -> ir.Model:
    """A copy of a model with fresh weights; nodes, names and shapes stay.

    Args:
        model: not changed; weights that are computed or packed in integers stay as they are.
        seed: the same gives the same weights, whatever else is in the file.
    """
    copy = model.clone()
    # Only sums of two activations: adding a bias does not make a residual stream grow.
    sums = sum(adds(node) and all(v is not None and not v.is_initializer() for v in node.inputs) for node in copy.graph)
    for name, value in copy.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or value.dtype is None or not value.dtype.is_floating_point():
            continue
        old = tensor.numpy()
        # Seeded by name too, so that one more weight in the file does not change those after it.
        fresh = _fresh(value, old, sums, np.random.default_rng([seed, zlib.crc32(name.encode())]))
        if fresh is not None:
            value.const_value = ir.tensor(np.ascontiguousarray(fresh).astype(old.dtype), name=name)
    return copy


def _fresh(value: ir.Value, old: Array, sums: int, rng: np.random.Generator) -> Array | None:
    # The first use that says what the weight is decides; tied weights are read in the same way mostly.
    for node, index in value.uses():
        operator = operator_of(node)
        if operator.normalises is not None or operator.statistics:
            # Statistics are mean and variance in this order (operators/operator.py).
            ones = index in operator.scale or index in operator.statistics[1:]
            zeros = index == operator.bias or index in operator.statistics[:1]
            return np.ones_like(old) if ones else np.zeros_like(old) if zeros else None
        if operator.has_kernel and index in operator.factors and old.ndim > 1:
            try:
                # Filters as a matrix: one row an output channel, and a column for each input and tap, which is the
                # fan-in.
                fan_in = weight_axes(operator, node, index, old.shape).filters(old).shape[1]
            except Unexplained:
                return None
            gain, addends = _followed(node.outputs[0])
            deviation = (gain / max(fan_in, 1)) ** 0.5 / (max(sums, 1) ** 0.5 if addends else 1.0)
            return rng.normal(0.0, deviation, old.shape)
        if operator.recurrent and index != operator.bias:
            gates = _gates(node)
            deviation = (SATURATING / max(sum(gates.values()), 1)) ** 0.5
            # A first state and peepholes are no matrices of gates.
            return rng.normal(0.0, deviation, old.shape) if index in gates else None
        if (operator.has_kernel or operator.recurrent) and index == operator.bias:
            return np.zeros_like(old)
        if adds(node) and old.size == max(old.shape, default=1) and _multiplied(node.inputs[1 - index]):
            return np.zeros_like(old)  # the bias of a product that has no input for one
    # Tables of embeddings have no fan-in; their scale is what the rest of the network was built for.
    if old.ndim > 1 and min(old.shape) > 1 and np.isfinite(old).all():
        return rng.normal(0.0, float(np.sqrt(np.mean(np.square(old, dtype=np.float64)))), old.shape)
    return None


def _gates(node: ir.Node) -> dict[int, int]:
    """Inputs of a recurrent operator that hold the weights of its gates -> columns of each.

    What a gate reads are its inputs and its hidden states side by side, so that its fan-in is the sum.
    """
    states = operator_of(node).states
    # The first input is what goes through time.
    values = {k: v for k, v in enumerate(node.inputs) if k and v is not None and k not in states}
    sizes = {k: v.const_value.shape.numpy() for k, v in values.items() if v.const_value is not None}
    # Directions x gates x what they read; biases and peepholes have an axis less.
    return {k: shape[2] for k, shape in sizes.items() if len(shape) == 3}


def _multiplied(value: ir.Value | None) -> bool:
    """Does it come of a layer's kernel?"""
    node = None if value is None else value.producer()
    return node is not None and operator_of(node).has_kernel


def _followed(value: ir.Value) -> tuple[float, bool]:
    """The gain of what follows a layer, and whether its result is added to another one."""
    gain = SATURATING
    for node, _ in value.uses():
        operator = operator_of(node)
        # A normalisation and a bias hand the variance on; what counts is the activation behind them.
        if operator.normalises is not None or (adds(node) and any(v.is_initializer() for v in node.inputs if v)):
            return _followed(node.outputs[0])
        if adds(node):
            return RECTIFIERS, True
        # A gate saturates and does not halve the variance as a rectifier does.
        if operator.activation and operator.synflow != "gate":
            gain = RECTIFIERS
    return gain, False
