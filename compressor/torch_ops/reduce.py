"""Reductions and running sums (ONNX ReduceSum-13, ReduceMean-18, ArgMax-13, CumSum-14, TopK-24 ...)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from compressor.torch_ops.site import Function, FunctionMaker, Site, positive

Tensor = torch.Tensor
Reduction = Callable[[Tensor, list[int], bool], Tensor]


def _reduction(function: Reduction) -> FunctionMaker:
    """Axes are an attribute, or from operator set 13 (ReduceSum) or 18 on an input; none means all or nothing."""

    def make(site: Site) -> Function:
        keep, idle = bool(site.get("keepdims", 1)), bool(site.get("noop_with_empty_axes", 0))
        read = site.reader(1, "axes")

        def run(x: Tensor, given: Tensor | None = None) -> Tensor:
            axes = read(given)
            if not axes:
                if idle:
                    # Reducing a new axis of one keeps every entry and still takes its square or absolute value.
                    return function(x.unsqueeze(0), [0], False)
                axes = list(range(x.dim()))
            # A scalar has no axis to reduce.
            return function(x, axes, keep).to(x.dtype) if axes else function(x.unsqueeze(0), [0], False)

        return run

    return make


def _floating(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.to(torch.float64)


def _extreme(largest: bool) -> Reduction:
    function = torch.amax if largest else torch.amin

    def run(x: Tensor, axes: list[int], keep: bool) -> Tensor:
        # Torch refuses the extreme of nothing; the standard has the least, or largest, number there.
        if all(x.shape[axis] for axis in axes):
            return function(x, axes, keepdim=keep)
        if x.is_floating_point():
            worst = float("-inf") if largest else float("inf")
        elif x.dtype == torch.bool:
            worst = not largest
        else:
            worst = torch.iinfo(x.dtype).min if largest else torch.iinfo(x.dtype).max
        return torch.full_like(x.sum(axes, keepdim=keep), worst, dtype=x.dtype)

    return run


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((positive(a, x.dim()) for a in axes), reverse=True):
        # From the last axis on, so that the numbers of the others stay right when axes go.
        x = x.prod(axis, keepdim=keep)
    return x


def _sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.sum(axes, keepdim=keep)


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.mean(axes, keepdim=keep) if x.is_floating_point() else _floating(x).mean(axes, keepdim=keep)


def _l1(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.abs().sum(axes, keepdim=keep)


def _l2(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(_floating(x), 2, axes, keepdim=keep)
    return norm


def _squares(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.square().sum(axes, keepdim=keep)


def _log_sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _floating(x).sum(axes, keepdim=keep).log()


def _log_sum_exp(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return torch.logsumexp(_floating(x), axes, keepdim=keep)


def _arg(function: Callable[..., Tensor]) -> FunctionMaker:
    def make(site: Site) -> Function:
        axis, keep = site.get("axis", 0), bool(site.get("keepdims", 1))
        last = bool(site.get("select_last_index", 0))

        def run(x: Tensor) -> Tensor:
            if last:
                # The first of equal ones in the flipped axis is the last one.
                return torch.rsub(function(x.flip(axis), dim=axis, keepdim=keep), x.shape[axis] - 1)
            return function(x, dim=axis, keepdim=keep)

        return run

    return make


def _cumulative(function: Callable[..., Tensor], neutral: int) -> FunctionMaker:
    def make(site: Site) -> Function:
        reverse, exclusive = bool(site.get("reverse", 0)), bool(site.get("exclusive", 0))
        read = site.reader(1)

        def run(x: Tensor, given: Tensor | None = None) -> Tensor:
            axis = (read(given) or [0])[0]
            x = x.flip(axis) if reverse else x
            if exclusive:
                first = torch.full_like(x.narrow(axis, 0, 1), neutral)
                x = torch.cat([first, x.narrow(axis, 0, x.shape[axis] - 1)], axis)
            total = function(x, axis).to(x.dtype)
            return total.flip(axis) if reverse else total

        return run

    return make


def _top_k(site: Site) -> Function:
    """Of equal entries the first comes first, which a stable sort keeps and torch's own top-k does not."""
    axis, largest = site.get("axis", -1), bool(site.get("largest", 1))
    read = site.reader(1, "k")

    def run(x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        count = (read(given) or [0])[0]
        values, places = torch.sort(x, dim=axis, descending=largest, stable=True)
        return values.narrow(axis, 0, count), places.narrow(axis, 0, count)

    return run


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType(
    {
        "ArgMax": _arg(torch.argmax),
        "ArgMin": _arg(torch.argmin),
        "CumProd": _cumulative(torch.cumprod, 1),
        "CumSum": _cumulative(torch.cumsum, 0),
        "ReduceL1": _reduction(_l1),
        "ReduceL2": _reduction(_l2),
        "ReduceLogSum": _reduction(_log_sum),
        "ReduceLogSumExp": _reduction(_log_sum_exp),
        "ReduceMax": _reduction(_extreme(True)),
        "ReduceMean": _reduction(_mean),
        "ReduceMin": _reduction(_extreme(False)),
        "ReduceProd": _reduction(_product),
        "ReduceSum": _reduction(_sum),
        "ReduceSumSquare": _reduction(_squares),
        "TopK": _top_k,
    }
)
