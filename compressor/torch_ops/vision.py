"""Operators that look at images through grids and boxes (ONNX GridSample-22, RoiAlign-22, DeformConv-22 ...)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812 -- the name that torch's own pages use

from compressor.torch_ops.site import Function, FunctionMaker, Site
from compressor.torch_ops.windows import Windows

Tensor = torch.Tensor

_MODES: Mapping[str, str] = MappingProxyType({"linear": "bilinear", "cubic": "bicubic"})


def _grid_sample(site: Site) -> Function:
    mode = site.get("mode", "linear" if site.opset >= 20 else "bilinear")
    mode, padding = _MODES.get(mode, mode), site.get("padding_mode", "zeros")
    corners = bool(site.get("align_corners", 0))
    return lambda x, grid: F.grid_sample(x, grid, mode, padding, corners)


def _affine_grid(site: Site) -> Function:
    corners = bool(site.get("align_corners", 0))
    sizes = site.reader(1)
    return lambda theta, given=None: F.affine_grid(theta, sizes(given) or [], corners)


def _axis_samples(start: Tensor, extent: Tensor, bins: int, per_bin: int) -> Tensor:
    """Coordinates of the samples along one axis of a box, float[bins * per_bin]."""
    steps = torch.arange(bins * per_bin, dtype=start.dtype, device=start.device)
    return start + (steps + 0.5) * extent / (bins * per_bin)


def _corners(place: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two entries around each coordinate with their weights, zero where it lies outside of the map."""
    # Up to one position outside of the map still counts, with the edge in place of what is not there.
    inside = (place >= -1) & (place <= size)
    place = place.clamp(0, size - 1)
    low = place.floor().to(torch.int64)
    high = (low + 1).clamp(max=size - 1)
    share = place - low
    return low, high, (1 - share) * inside, share * inside


def _roi_align(site: Site) -> Function:
    shift = (
        # The attribute came with operator set 16; before, boxes were not shifted.
        0.5 if site.get("coordinate_transformation_mode", "half_pixel") == "half_pixel" and site.opset >= 16 else 0.0
    )
    height, width = site.get("output_height", 1), site.get("output_width", 1)
    ratio, scale, largest = (
        site.get("sampling_ratio", 0),
        site.get("spatial_scale", 1.0),
        site.get("mode", "avg") == "max",
    )

    def one(image: Tensor, box: Tensor, sides: tuple[float, float]) -> Tensor:
        x1, y1, x2, y2 = (box * scale - shift).unbind()
        # Without the shift a box has at least one position.
        extent_y, extent_x = (y2 - y1, x2 - x1) if shift else ((y2 - y1).clamp(min=1), (x2 - x1).clamp(min=1))
        rows, columns = (ratio or max(ceil(side), 1) for side in sides)
        y_low, y_high, y_a, y_b = _corners(_axis_samples(y1, extent_y, height, rows), image.shape[1])
        x_low, x_high, x_a, x_b = _corners(_axis_samples(x1, extent_x, width, columns), image.shape[2])
        parts = [
            image[:, y][:, :, x] * (wy[:, None] * wx)
            for y, wy in ((y_low, y_a), (y_high, y_b))
            for x, wx in ((x_low, x_a), (x_high, x_b))
        ]
        samples = torch.stack(parts).reshape(4, -1, height, rows, width, columns)
        # The standard's maximum is taken over the weighted corners of all samples, not over interpolated values.
        return samples.amax((0, 3, 5)) if largest else samples.sum(0).mean((2, 4))

    def run(x: Tensor, boxes: Tensor, images: Tensor) -> Tensor:
        extents = (boxes[:, 2:] - boxes[:, :2]) * scale
        extents = extents if shift else extents.clamp(min=1)
        # Read at once, as every read from a device waits for it.
        sides = [(h / height, w / width) for w, h in extents.tolist()] if not ratio else [(0.0, 0.0)] * len(boxes)
        made = [one(x[k], box, side) for k, box, side in zip(images.tolist(), boxes, sides, strict=True)]
        return torch.stack(made) if made else x.new_zeros(0, x.shape[1], height, width)

    return run


def _max_roi_pool(site: Site) -> Function:
    """Bins begin and end at whole positions; an empty one is zero (MaxRoiPool-22, after Fast R-CNN)."""
    height, width = site.get("pooled_shape")
    scale = site.get("spatial_scale", 1.0)

    def spans(low: int, high: int, bins: int, limit: int) -> list[slice]:
        extent = max(high - low + 1, 1) / bins
        edges = [(int(k * extent // 1) + low, ceil((k + 1) * extent) + low) for k in range(bins)]
        return [slice(min(max(a, 0), limit), min(max(b, 0), limit)) for a, b in edges]

    def run(x: Tensor, boxes: Tensor) -> Tensor:
        made = []
        for image, *corners in boxes.tolist():
            x1, y1, x2, y2 = (int(v * scale + 0.5) for v in corners)
            source = x[int(image)]
            bins = [
                part.amax((1, 2)) if (part := source[:, rows, columns]).numel() else x.new_zeros(x.shape[1])
                for rows in spans(y1, y2, height, x.shape[2])
                for columns in spans(x1, x2, width, x.shape[3])
            ]
            made.append(torch.stack(bins, 1).reshape(-1, height, width))
        return torch.stack(made) if made else x.new_zeros(0, x.shape[1], height, width)

    return run


def _non_max_suppression(site: Site) -> Function:
    centred = bool(site.get("center_point_box", 0))
    most, overlap, least = (site.reader(k) for k in (2, 3, 4))

    def run(boxes: Tensor, scores: Tensor, *given: Tensor | None) -> Tensor:
        tensors = (*given, None, None, None)
        count, shared = (most(tensors[0]) or [0])[0], (overlap(tensors[1]) or [0.0])[0]
        limits = _Limits(count, shared, (least(tensors[2]) or [None])[0])
        found = []
        for image in range(boxes.shape[0]):
            overlaps = _overlaps(boxes[image].detach().cpu(), centred)
            for kind in range(scores.shape[1]):
                for place in _suppressed(scores[image, kind].detach().cpu(), overlaps, limits):
                    found.append([image, kind, place])
        return torch.tensor(found, dtype=torch.int64, device=boxes.device).reshape(-1, 3)

    return run


def _overlaps(boxes: Tensor, centred: bool) -> Tensor:
    """Intersection over union of all pairs, float[boxes, boxes]."""
    first, second = boxes[:, :2], boxes[:, 2:]
    if centred:
        first, second = first - second / 2, first + second / 2
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    sides = (torch.minimum(high[:, None], high) - torch.maximum(low[:, None], low)).clamp(min=0)
    shared, area = sides.prod(-1), (high - low).prod(-1)
    union = area[:, None] + area - shared
    return torch.where(union > 0, shared / union, torch.zeros_like(union))


@dataclass(frozen=True)
class _Limits:
    """Most boxes of a class, the largest overlap of two that stay, and the score below which none does."""

    count: int
    overlap: float
    score: float | None


def _suppressed(scores: Tensor, overlaps: Tensor, limits: _Limits) -> list[int]:
    """Boxes by falling score, none of which overlaps one taken before it too much."""
    taken: list[int] = []
    # Stable, so that of equal scores the first box wins.
    for place in torch.argsort(scores, descending=True, stable=True).tolist():
        if len(taken) >= limits.count or (limits.score is not None and scores[place] <= limits.score):
            break
        if not taken or bool((overlaps[place, taken] <= limits.overlap).all()):
            taken.append(place)
    return taken


def _deform_conv(site: Site) -> Function:
    """A convolution of two spatial axes whose taps are moved by offsets, and weighted by a mask."""
    windows, group, parts = Windows.of(site), site.get("group", 1), site.get("offset_group", 1)

    def run(x: Tensor, w: Tensor, offset: Tensor, b: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        if x.dim() != 4:
            raise site.refuse(f"has {x.dim() - 2} spatial axes; only two are known here")
        n, (rows, columns) = x.shape[0], w.shape[2:]
        out = offset.shape[2:]
        grid = _tap_grid(windows, (rows, columns), out, x)
        grid = grid + offset.reshape(n, parts, rows * columns, 2, *out).movedim(3, -1)
        size = torch.tensor([x.shape[2], x.shape[3]], dtype=x.dtype, device=x.device)
        # The normal form of grid_sample without aligned corners, x before y.
        normal = ((2 * grid + 1) / size - 1).flip(-1).reshape(n * parts, rows * columns, -1, 2)
        seen = F.grid_sample(x.reshape(n * parts, -1, *x.shape[2:]), normal, "bilinear", "zeros", False)
        seen = seen.reshape(n, parts, -1, rows * columns, *out)
        if mask is not None:
            seen = seen * mask.reshape(n, parts, 1, rows * columns, *out)
        seen = seen.reshape(n, group, -1, *out)
        weights = w.reshape(group, w.shape[0] // group, -1)
        y = torch.einsum("ngkhw,gok->ngohw", seen, weights).reshape(n, -1, *out)
        return y if b is None else y + b.reshape(-1, 1, 1)

    return run


def _tap_grid(windows: Windows, kernel: tuple[int, int], out: torch.Size, x: Tensor) -> Tensor:
    """Where each tap of each window lies in the input, float[taps, rows, columns, 2]."""
    pads = windows.paddings(x.shape[2:], kernel)
    axes = []
    for taps, count, (before, _), step, spread in zip(
        kernel, out, pads, windows.steps(2), windows.spread(2), strict=True
    ):
        tap = torch.arange(taps, dtype=x.dtype, device=x.device) * spread
        axes.append(tap[:, None] + torch.arange(count, dtype=x.dtype, device=x.device) * step - before)
    rows = axes[0][:, None, :, None].expand(kernel[0], kernel[1], *out)
    columns = axes[1][None, :, None, :].expand(kernel[0], kernel[1], *out)
    return torch.stack([rows, columns], -1).reshape(-1, *out, 2)


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType(
    {
        "AffineGrid": _affine_grid,
        "DeformConv": _deform_conv,
        "GridSample": _grid_sample,
        "MaxRoiPool": _max_roi_pool,
        "NonMaxSuppression": _non_max_suppression,
        "RoiAlign": _roi_align,
    }
)
