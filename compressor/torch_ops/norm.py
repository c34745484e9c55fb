"""Normalisation (ONNX BatchNormalization-15, LayerNormalization-17, GroupNormalization-21, RMSNormalization-23 ...)."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812 -- the name that torch's own pages use

from compressor.graph.ir.opsets import softmax_axes
from compressor.torch_ops.site import Function, FunctionMaker, Site, Told, positive

Tensor = torch.Tensor
TO_DEVIATION = 1e-9
"""What MeanVarianceNormalization-13 adds to the deviation; other norms add an attribute, and to the variance."""


def _batch(site: Site) -> Function:
    """With the stored statistics; with those of the batch where training asks for it or the node says so."""
    epsilon, momentum = site.number("epsilon"), site.number("momentum")
    # Before operator set 14 there is no such attribute, and asking for the statistics means training.
    if site.get("training_mode", 0) or (site.opset < 14 and any(site.wanted[1:])):
        return _batch_statistics(epsilon, momentum)
    follow = site.train_statistics

    def run(training: bool, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        mean, var = mean.detach(), var.detach()  # exporters merge equal weights: one may be a parameter too
        # A single value of a channel has no variance, and its mean would make all of them the bias.
        follows = training and follow and x.numel() > x.shape[1]
        # ONNX's momentum is the share of the old statistic, torch's that of the new one.
        return F.batch_norm(x, mean, var, scale, bias, follows, 1 - momentum, epsilon)

    return run


def _batch_statistics(epsilon: float, momentum: float) -> Function:
    def run(_: bool, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, ...]:
        axes = [k for k in range(x.dim()) if k != 1]
        # Not by the function of torch.nn, which refuses a single value of a channel: the standard makes it the bias.
        found = torch.batch_norm(x, scale, bias, None, None, True, 0.0, epsilon, False)
        # The standard blends in the variance without Bessel's correction, which torch would apply.
        batch_var, batch_mean = torch.var_mean(x.detach(), axes, correction=0)
        blend = (momentum * mean + (1 - momentum) * batch_mean, momentum * var + (1 - momentum) * batch_var)
        return found, blend[0], blend[1], batch_mean, batch_var

    return run


def _instance(site: Site) -> Function:
    epsilon = site.number("epsilon")
    return lambda x, scale, bias: _grouped(x, x.shape[1], epsilon, scale, bias)


def _grouped(x: Tensor, groups: int, epsilon: float, scale: Tensor, bias: Tensor) -> Tensor:
    # The kernel refuses a tensor without elements.
    if x.numel() == 0:
        return x
    return F.group_norm(x, groups, scale, bias, epsilon)


def _group(site: Site) -> Function:
    """Scale and bias are one a group in operator set 18 to 20, one a channel from 21 on."""
    groups, epsilon = site.get("num_groups"), site.number("epsilon")

    def run(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        # One for each group: repeated for the channels of the group.
        if scale.shape[0] != x.shape[1]:
            scale, bias = (v.repeat_interleave(x.shape[1] // groups) for v in (scale, bias))
        return _grouped(x, groups, epsilon, scale, bias)

    return run


def _layer(site: Site) -> Function:
    epsilon, start = site.number("epsilon"), site.get("axis", -1)

    def run(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> object:
        shape = x.shape[start:]
        # The kernel takes scales of the normalised shape only, the standard any that broadcast to it.
        if scale.shape == shape and (bias is None or bias.shape == shape):
            found = F.layer_norm(x, shape, scale, bias, epsilon)
        else:
            found = F.layer_norm(x, shape, None, None, epsilon) * scale
            found = found if bias is None else found + bias
        if not any(site.wanted[1:]):
            return found
        axes = list(range(positive(start, x.dim()), x.dim()))
        # Statistics that are handed out are float32 at least.
        variance, mean = torch.var_mean(x.float() if x.dtype.itemsize < 4 else x, axes, correction=0, keepdim=True)
        return found, mean, torch.rsqrt(variance + epsilon)

    return run


def _rms(site: Site) -> Function:
    epsilon, start = site.number("epsilon"), site.get("axis", -1)

    def run(x: Tensor, scale: Tensor) -> Tensor:
        shape = x.shape[start:]
        if scale.shape == shape:
            return F.rms_norm(x, shape, scale, epsilon)
        return F.rms_norm(x, shape, None, epsilon) * scale

    return run


def _local_response(site: Site) -> Function:
    alpha, beta, bias = (site.number(name) for name in ("alpha", "beta", "bias"))
    size = site.get("size")

    def run(x: Tensor) -> Tensor:
        squares = x.square().reshape(x.shape[0], 1, x.shape[1], -1)
        # The standard puts the smaller half before.
        around = F.pad(squares, [0, 0, (size - 1) // 2, size - 1 - (size - 1) // 2])
        total = F.avg_pool2d(around, (size, 1), 1).reshape(x.shape)
        return x / torch.pow(bias + alpha * total, beta)

    return run


def _lp(site: Site) -> Function:
    """Where the norm is zero the result is zero."""
    axis, p = site.get("axis", -1), site.get("p", 2)

    def run(x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, p, axis, keepdim=True)
        return x / torch.where(norm == 0, torch.ones_like(norm), norm)

    return run


def _mean_variance(site: Site) -> Function:
    axes = site.get("axes", [0, 2, 3])

    def run(x: Tensor) -> Tensor:
        centred = x - x.mean(axes, keepdim=True)
        return centred / (centred.square().mean(axes, keepdim=True).sqrt() + TO_DEVIATION)

    return run


def _softmax(function: Function) -> FunctionMaker:
    def make(site: Site) -> Function:
        def run(x: Tensor) -> Tensor:
            axes = softmax_axes(site.get("axis"), x.dim(), site.opset)
            rows = x if len(axes) == 1 else x.reshape(prod(x.shape[: axes.start]), -1)
            made: Tensor = function(rows, axes.start if len(axes) == 1 else 1).reshape(x.shape)
            return made

        return run

    return make


def _hardmax(x: Tensor, axis: int) -> Tensor:
    return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1)


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType(
    {
        "BatchNormalization": Told(_batch, ("training",)),
        "GroupNormalization": _group,
        "Hardmax": _softmax(_hardmax),
        "InstanceNormalization": _instance,
        "LRN": _local_response,
        "LayerNormalization": _layer,
        "LogSoftmax": _softmax(torch.log_softmax),
        "LpNormalization": _lp,
        "MeanVarianceNormalization": _mean_variance,
        "RMSNormalization": _rms,
        "Softmax": _softmax(torch.softmax),
    }
)
