"""Convolutions of one to three spatial axes (ONNX Conv-22, ConvTranspose-22 and the integer forms)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812 -- the name that torch's own pages use

from compressor.torch_ops.quant import requantise
from compressor.torch_ops.site import Function, FunctionMaker, Site
from compressor.torch_ops.windows import Windows, flat

Tensor = torch.Tensor
CONVOLVE: Mapping[int, Callable[..., Tensor]] = MappingProxyType({3: F.conv1d, 4: F.conv2d, 5: F.conv3d})
"""By the number of axes; on the CPU mixed precision knows these functions, and not the general one."""
TRANSPOSED: Mapping[int, Callable[..., Tensor]] = MappingProxyType(
    {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d}
)


def _conv(site: Site) -> Function:
    windows, group = Windows.of(site), site.get("group", 1)
    strides, dilations = windows.strides or [1], windows.dilations or [1]
    begin = windows.begin

    def direct(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        return CONVOLVE[x.dim()](x, w, b, strides, begin, dilations, group)

    def padded(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        pads = windows.paddings(x.shape[2:], w.shape[2:])
        # Torch pads both sides alike; anything else is padded before.
        if any(a != b for a, b in pads):
            x, pads = F.pad(x, flat(pads)), [(0, 0)] * len(pads)
        return CONVOLVE[x.dim()](x, w, b, strides, [before for before, _ in pads], dilations, group)

    return direct if windows.symmetric else padded


def _conv_transpose(site: Site) -> Function:
    windows, group = Windows.of(site), site.get("group", 1)
    strides, dilations = windows.strides or [1], windows.dilations or [1]
    extra, wanted = site.get("output_padding", []), site.get("output_shape")
    begin = windows.begin
    # Torch refuses negative paddings.
    simple = windows.symmetric and wanted is None and min(begin) >= 0

    def direct(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        return TRANSPOSED[x.dim()](x, w, b, strides, begin, extra or 0, group, dilations)

    def cropped(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        """The whole product, of which the paddings say what to cut off; negative ones add zeros."""
        rank = x.dim() - 2
        whole = TRANSPOSED[x.dim()](x, w, None, strides, 0, extra or 0, group, dilations)
        sizes = wanted[-rank:] if wanted is not None else None
        pads = _transposed_pads(windows, x.shape[2:], whole.shape[2:], sizes)
        whole = F.pad(whole, [-n for n in flat(pads)])
        # The bias comes last: places that negative paddings add have nothing else in them.
        return whole if b is None else whole + b.reshape(-1, *[1] * rank)

    return direct if simple else cropped


def _transposed_pads(
    windows: Windows, sizes: Sequence[int], whole: Sequence[int], wanted: Sequence[int] | None
) -> list[tuple[int, int]]:
    """What is cut off before and after each axis of the whole product."""
    rank = len(sizes)
    if wanted is None:
        if windows.auto in ("NOTSET", "VALID"):
            # Explicit paddings do not depend on the kernel.
            return windows.paddings(sizes, [1] * rank)
        # With SAME the output is the input times the stride.
        wanted = [size * stride for size, stride in zip(sizes, windows.steps(rank), strict=True)]
    totals = [have - want for have, want in zip(whole, wanted, strict=True)]
    if windows.auto == "SAME_UPPER":
        return [(total // 2, total - total // 2) for total in totals]
    # The odd one lies before with everything but SAME_UPPER, also where ``output_shape`` alone is given.
    return [(total - total // 2, total // 2) for total in totals]


def _conv_integer(site: Site) -> Function:
    """Exact by way of float64, which holds every sum of products of bytes."""
    convolve = _conv(site)

    def run(x: Tensor, w: Tensor, x_zero: Tensor | None = None, w_zero: Tensor | None = None) -> Tensor:
        left, right = x.double(), w.double()
        if x_zero is not None:
            left = left - x_zero.double()
        if w_zero is not None:
            right = right - w_zero.double().reshape(-1, *[1] * (w.dim() - 1))
        found: Tensor = convolve(left, right).to(torch.int32)
        return found

    return run


def _qlinear_conv(site: Site) -> Function:
    convolve = _conv_integer(site)

    def run(*given: Tensor) -> Tensor:
        x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = given[:8]
        total = convolve(x, w, x_zero, w_zero)
        column = [-1] + [1] * (x.dim() - 2)
        if len(given) > 8 and given[8] is not None:
            total = total + given[8].reshape(column)
        # In float64, so that rounding to the grid is decided by the operands alone.
        scale = x_scale.double() * w_scale.double().reshape(column) / y_scale.double()
        return requantise(total * scale, y_zero)

    return run


def _causal(site: Site) -> Function:
    """Depthwise over one axis, looking back only; what it saw last is the state (CausalConvWithState-27)."""
    act = site.get("activation", "none")

    def run(x: Tensor, w: Tensor, b: Tensor | None = None, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        taps = w.shape[2]
        seen = F.pad(x, [taps - 1, 0]) if past is None else torch.cat([past, x], 2)
        y = F.conv1d(seen, w, b, groups=x.shape[1])
        return (F.silu(y) if act in ("silu", "swish") else y), seen[:, :, seen.shape[2] - taps + 1 :]

    # The state is what the next call needs to look back on: one position less than there are taps.
    return run


def _col2im(site: Site) -> Function:
    """Sums overlapping blocks into an image of any rank: the transpose of taking them out (Col2Im-18)."""
    windows = Windows.of(site)
    sizes, blocks = site.reader(1), site.reader(2)

    def run(x: Tensor, image: Tensor | None, block: Tensor | None) -> Tensor:
        out, taps = sizes(image) or [], blocks(block) or []
        rank, count = len(out), 1
        for n in taps:
            count *= n
        channels = x.shape[1] // count
        pads = windows.paddings(out, taps)
        steps, spread = windows.steps(rank), windows.spread(rank)
        total = x.new_zeros(x.shape[0], channels, *(n + a + b for n, (a, b) in zip(out, pads, strict=True)))
        fits = [
            (n + a + b - d * (t - 1) - 1) // s + 1
            for n, (a, b), t, s, d in zip(out, pads, taps, steps, spread, strict=True)
        ]
        parts = x.reshape(x.shape[0], channels, count, *fits)
        for index in range(count):
            rest, place = index, [slice(None), slice(None)]
            # The number of a tap taken apart, the last axis running fastest.
            for axis in reversed(range(rank)):
                start = rest % taps[axis] * spread[axis]
                rest //= taps[axis]
                place.insert(2, slice(start, start + (fits[axis] - 1) * steps[axis] + 1, steps[axis]))
            # Tap by tap: slices of one tap do not overlap, so that plain addition is right.
            total[tuple(place)] += parts[:, :, index]
        return F.pad(total, [-n for n in flat(pads)])

    return run


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType(
    {
        "CausalConvWithState": _causal,
        "Col2Im": _col2im,
        "Conv": _conv,
        "ConvInteger": _conv_integer,
        "ConvTranspose": _conv_transpose,
        "QLinearConv": _qlinear_conv,
    }
)
