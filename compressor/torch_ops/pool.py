"""Pooling over windows and over everything (ONNX MaxPool-22, AveragePool-22, LpPool-22, GlobalAveragePool-22)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812 -- the name that torch's own pages use

from compressor.torch_ops.site import Function, FunctionMaker, Site
from compressor.torch_ops.windows import Ints, Windows, flat

Tensor = torch.Tensor

_MAX = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
_AVERAGE = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
_SUM = (F.conv1d, F.conv2d, F.conv3d)


def _fits(windows: Windows, kernel: Ints) -> bool:
    """Can torch pad by itself: equally on both sides, by half the window at most?"""
    begin = windows.begin * (len(kernel) if len(windows.begin) == 1 else 1)
    # The padding of torch is limited to half of the window, and the same on both sides.
    return windows.symmetric and all(0 <= 2 * p <= k for p, k in zip(begin, kernel, strict=True))


def _max_pool(site: Site) -> Function:
    windows, kernel = Windows.of(site), list(site.get("kernel_shape"))
    rank = len(kernel)
    pool = _MAX[rank - 1]
    steps, spread, begin = windows.steps(rank), windows.spread(rank), windows.begin
    if _fits(windows, kernel) and not site.wants(1):

        def direct(x: Tensor) -> Tensor:
            # Torch pools floats only; bytes are exact in float32.
            if not x.is_floating_point():
                return direct(x.float()).to(x.dtype)
            return pool(x, kernel, steps, begin, spread, windows.ceil_mode)

        return direct

    def padded(x: Tensor) -> object:
        pads = windows.filled(x.shape[2:], kernel, windows.paddings(x.shape[2:], kernel))
        wide = x if x.is_floating_point() else x.to(torch.float32)
        # Padding must never be a maximum.
        wide = F.pad(wide, flat(pads), value=float("-inf"))
        if not site.wants(1):
            return pool(wide, kernel, steps, 0, spread).to(x.dtype)
        found, places = pool(wide, kernel, steps, 0, spread, return_indices=True)
        return found.to(x.dtype), _places(places, x.shape, wide.shape, pads, bool(site.get("storage_order", 0)))

    return padded


def _places(
    places: Tensor, shape: Sequence[int], padded: Sequence[int], pads: Sequence[tuple[int, int]], columns: bool
) -> Tensor:
    """Places counted within one padded channel, as places counted over the whole input."""
    sizes = list(shape[2:])
    coordinates: list[Tensor] = []
    for size, (before, _) in zip(reversed(padded[2:]), reversed(pads), strict=True):
        coordinates.insert(0, places % size - before)
        places = places // size
    order = range(len(sizes)) if not columns else reversed(range(len(sizes)))
    inside = torch.zeros_like(places)
    for axis in order:
        inside = inside * sizes[axis] + coordinates[axis]
    channel = torch.arange(prod(shape[:2]), device=places.device) * prod(sizes)
    return inside + channel.reshape(*shape[:2], *[1] * len(sizes))


def _sums(x: Tensor, kernel: Ints, steps: Ints, spread: Ints) -> Tensor:
    """The sum over each window, channel by channel."""
    # A convolution with ones, because torch's own average knows no dilation.
    one = x.new_ones(1, 1, *kernel)
    merged = x.reshape(x.shape[0] * x.shape[1], 1, *x.shape[2:])
    total = _SUM[len(kernel) - 1](merged, one, stride=steps, dilation=spread)
    return total.reshape(*x.shape[:2], *total.shape[2:])


def _average_pool(site: Site) -> Function:
    windows, kernel = Windows.of(site), list(site.get("kernel_shape"))
    whole = bool(site.get("count_include_pad", 0))
    rank = len(kernel)
    pool = _AVERAGE[rank - 1]
    steps, spread, begin = windows.steps(rank), windows.spread(rank), windows.begin
    if _fits(windows, kernel) and set(spread) == {1}:
        return lambda x: pool(x, kernel, steps, begin, windows.ceil_mode, whole)

    def padded(x: Tensor) -> Tensor:
        pads = windows.paddings(x.shape[2:], kernel)
        filled = windows.filled(x.shape[2:], kernel, pads)
        total = _sums(F.pad(x, flat(filled)), kernel, steps, spread)
        counted = x.new_ones(1, 1, *x.shape[2:])
        if whole:
            # Paddings count as positions here, but not what ``ceil_mode`` adds behind them.
            counted = F.pad(counted, flat(pads), value=1.0)
            filled = [(0, b - pb) for (_, b), (_, pb) in zip(filled, pads, strict=True)]
        return total / _sums(F.pad(counted, flat(filled)), kernel, steps, spread)

    return padded


def _lp_pool(site: Site) -> Function:
    windows, kernel, p = Windows.of(site), list(site.get("kernel_shape")), site.get("p", 2)
    steps, spread = windows.steps(len(kernel)), windows.spread(len(kernel))

    def run(x: Tensor) -> Tensor:
        pads = windows.filled(x.shape[2:], kernel, windows.paddings(x.shape[2:], kernel))
        powers = F.pad(x.abs().pow(p), flat(pads))
        return _sums(powers, kernel, steps, spread).pow(1 / p)

    return run


def _spatial(x: Tensor) -> Ints:
    return list(range(2, x.dim()))


def _global_average(_: Site) -> Function:
    return lambda x: x.mean(_spatial(x), keepdim=True)


def _global_max(_: Site) -> Function:
    return lambda x: x.amax(_spatial(x), keepdim=True)


def _global_lp(site: Site) -> Function:
    p = site.get("p", 2)
    return lambda x: torch.linalg.vector_norm(x, p, _spatial(x), keepdim=True)


def _max_unpool(site: Site) -> Function:
    """Puts each value back where MaxPool found it; an output shape only makes the canvas larger."""
    kernel = site.get("kernel_shape")
    windows, sizes = Windows.of(site), site.reader(2)

    def run(x: Tensor, places: Tensor, wanted: Tensor | None = None) -> Tensor:
        rank = len(kernel)
        pads = windows.paddings(x.shape[2:], kernel)
        natural = [
            (n - 1) * s - a - b + k
            for n, s, (a, b), k in zip(x.shape[2:], windows.steps(rank), pads, kernel, strict=True)
        ]
        shape = [*x.shape[:2], *natural]
        # Places count over the whole input, so the canvas is flat.
        flat_values = x.new_zeros(prod(shape)).scatter(0, places.reshape(-1), x.reshape(-1))
        canvas = flat_values.reshape(shape)
        asked = sizes(wanted)
        if asked is None:
            return canvas
        return F.pad(canvas, flat([(0, want - have) for want, have in zip(asked[2:], natural, strict=True)]))

    return run


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType(
    {
        "AveragePool": _average_pool,
        "GlobalAveragePool": _global_average,
        "GlobalLpPool": _global_lp,
        "GlobalMaxPool": _global_max,
        "LpPool": _lp_pool,
        "MaxPool": _max_pool,
        "MaxUnpool": _max_unpool,
    }
)
