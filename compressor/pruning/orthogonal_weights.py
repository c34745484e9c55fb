"""Filters that are left are made orthogonal to each other, so that the network trains well (OrthP, arXiv 2105.05916).

A cut leaves layers whose singular values are spread, and gradients then grow or vanish on their way. Each kernel is
replaced by the nearest matrix of filters that is orthogonal up to a factor: with the filters as rows, the orthogonal
part of the polar decomposition, ``U V'`` of ``W = U S V'``, times what keeps the Frobenius norm. What the network
knew is lost with that in part, which the training that follows has to bring back.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import Unexplained
from compressor.core.arrays import Array
from compressor.operators.table import operator_of
from compressor.operators.weight import WeightAxes, WeightNumbers, weight_axes


def orthogonalised(model: ir.Model) -> ir.Model:
    """A copy of a model whose kernels have semi-orthogonal matrices of filters; all else stays.

    Args:
        model: not changed; kernels that are computed, packed in integers or not finite stay as they are.
    """
    copy = model.clone()
    for name, value in copy.graph.initializers.items():
        tensor, axes = value.const_value, _axes(value)
        if tensor is None or axes is None:
            continue
        old = tensor.numpy()
        if np.isfinite(old).all():
            value.const_value = ir.tensor(polar(old, axes).astype(old.dtype), name=name)
    return copy


def polar(kernel: Array, axes: WeightAxes) -> WeightNumbers:
    """The semi-orthogonal kernel nearest to one, up to a factor that keeps the norm; group by group.

    Args:
        kernel: of any shape, finite.
        axes: how it is read.
    """
    rows = axes.filters(kernel)
    # Groups see different inputs, so that their filters are orthogonal anyway.
    matrices = rows.reshape(axes.groups, -1, rows.shape[1])
    left, _, right = np.linalg.svd(matrices, full_matrices=False)
    norm = np.linalg.norm(matrices, axis=(1, 2), keepdims=True)
    # The norm of U V' is the root of its rank.
    orthogonal = left @ right * norm / min(matrices.shape[1:]) ** 0.5
    return np.ascontiguousarray(axes.kernel(orthogonal.reshape(rows.shape), kernel.shape))


def _axes(value: ir.Value) -> WeightAxes | None:
    """How the first layer that reads a value as its kernel does so; None where none does, or it is no matrix."""
    if value.dtype is None or not value.dtype.is_floating_point() or value.shape is None or len(value.shape) < 2:
        return None
    for node, index in value.uses():
        operator = operator_of(node)
        if operator.has_kernel and index in operator.factors:
            try:
                return weight_axes(operator, node, index, tuple(int(n) for n in value.shape.numpy()))
            except Unexplained:
                return None
    return None
