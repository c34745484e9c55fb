"""Resampling (ONNX Resize-19, Upsample-9): torch's kernels where they do the same, else one axis after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch

from compressor.core.arrays import Floats
from compressor.graph.ir.opsets import place_of
from compressor.torch_ops.site import Function, FunctionMaker, NestedNumbers, Site, positive

Tensor = torch.Tensor
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Manner:
    """How to resample: the attributes of Resize."""

    mode: str
    coordinates: str
    rounding: str
    cubic: float
    antialias: bool
    exclude_outside: bool
    extrapolation: float

    @staticmethod
    def of(site: Site) -> _Manner:
        """As the node says; operator set 10 and Upsample know asymmetric coordinates only, and no region."""
        old = place_of(site.op_type, "roi", site.opset) is None
        return _Manner(
            site.get("mode", "nearest"),
            "asymmetric" if old else site.get("coordinate_transformation_mode", "half_pixel"),
            "floor" if old else site.get("nearest_mode", "round_prefer_floor"),
            site.get("cubic_coeff_a", -0.75),
            bool(site.get("antialias", 0)),
            bool(site.get("exclude_outside", 0)),
            site.get("extrapolation_value", 0.0),
        )


@dataclass(frozen=True)
class _Axis:
    """One axis to resample: its sizes, its scale and the part of it that is looked at."""

    size: int
    out: int
    scale: float
    start: float = 0.0
    end: float = 1.0

    def sources(self, coordinates: str) -> Floats:
        """For each place of the output the coordinate in the input."""
        y = np.arange(self.out, dtype=np.float64)
        # What the scale says and what is made differ where the product is no whole number.
        last, length = self.size - 1, self.scale * self.size
        if coordinates == "align_corners":
            return y * last / (length - 1) if length != 1 else np.zeros_like(y)
        if coordinates == "asymmetric":
            return y / self.scale
        if coordinates == "tf_crop_and_resize":
            if length == 1:
                return np.full_like(y, (self.end - self.start) * last / 2 + self.start * last)
            return y * ((self.end - self.start) * last / (length - 1)) + self.start * last
        # An output of one position has a coordinate of its own in this mode.
        if coordinates == "pytorch_half_pixel" and length == 1:
            return np.full_like(y, -0.5)
        shift = self.size / 2 * (1 - self.out / length) if coordinates == "half_pixel_symmetric" else 0.0
        return np.asarray(shift + (y + 0.5) / self.scale - 0.5)


def _linear(distance: Floats) -> Floats:
    return np.asarray(np.maximum(1 - np.abs(distance), 0.0))


def _cubic(a: float, distance: Floats) -> Floats:
    """Keys' convolution kernel."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


# Each step of training comes with the same sizes.
@lru_cache(maxsize=64)
def _taps(manner: _Manner, axis: _Axis) -> tuple[Places, Floats]:
    """For each place of the output the places of the input that it reads, and their weights."""
    source = axis.sources(manner.coordinates)
    if manner.mode == "nearest":
        return _nearest(source, manner.rounding).clip(0, axis.size - 1)[:, None], np.ones((axis.out, 1))
    kernel: Callable[[Floats], Floats] = _linear
    reach = 1
    if manner.mode == "cubic":
        kernel, reach = lambda d: _cubic(manner.cubic, d), 2
    # Shrinking widens the kernel, so that every position of the input counts.
    squeeze = min(axis.scale, 1.0) if manner.antialias else 1.0
    width = int(np.ceil(reach / squeeze))
    first = np.floor(source).astype(np.int64) - width
    places = first[:, None] + np.arange(2 * width + 2)
    weights = kernel((places - source[:, None]) * squeeze)
    if manner.antialias:
        weights = weights / weights.sum(1, keepdims=True)
    # After weights are shared out to positions outside: these are dropped, and the rest is made to sum to one.
    if manner.exclude_outside:
        weights = np.where((places < 0) | (places >= axis.size), 0.0, weights)
        weights = weights / weights.sum(1, keepdims=True)
    # Columns that are zero everywhere would cost a pass over the tensor each.
    used = np.flatnonzero((weights != 0).any(0))
    # Positions outside repeat the edge.
    return places[:, used].clip(0, axis.size - 1), weights[:, used]


def _nearest(source: Floats, rounding: str) -> Places:
    rounded = {
        "floor": np.floor(source),
        "ceil": np.ceil(source),
        "round_prefer_ceil": np.floor(source + 0.5),
        "round_prefer_floor": np.ceil(source - 0.5),
    }[rounding]
    return rounded.astype(np.int64)


def _resample(x: Tensor, dim: int, manner: _Manner, axis: _Axis) -> Tensor:
    places, weights = _taps(manner, axis)
    shape = [-1 if k == dim else 1 for k in range(x.dim())]
    total: Tensor | None = None
    for k in range(places.shape[1]):
        part = x.index_select(dim, torch.from_numpy(places[:, k].copy()).to(x.device))
        if manner.mode != "nearest":
            part = part * torch.from_numpy(weights[:, k]).to(x.device, x.dtype).reshape(shape)
        total = part if total is None else total + part
    assert total is not None
    if manner.coordinates != "tf_crop_and_resize":
        return total
    source = axis.sources(manner.coordinates)
    # Cropping may look beyond the image, where a number of the node's stands.
    outside = torch.from_numpy((source < 0) | (source > axis.size - 1)).to(x.device).reshape(shape)
    return torch.where(outside, torch.full_like(total, manner.extrapolation), total)


@dataclass(frozen=True)
class _Wanted:
    """Reads what a node wants: the region, scales or sizes, for all axes or some."""

    regions: Callable[[Tensor | None], NestedNumbers | None]
    scales: Callable[[Tensor | None], NestedNumbers | None]
    sizes: Callable[[Tensor | None], NestedNumbers | None]
    axes: Sequence[int] | None
    policy: str

    def read(self, shape: Sequence[int], given: Sequence[Tensor | None]) -> dict[int, _Axis]:
        """The axes that change, by number."""
        region, scales, sizes = self.regions(given[0]), self.scales(given[1]), self.sizes(given[2])
        axes = [positive(a, len(shape)) for a in self.axes] if self.axes is not None else range(len(shape))
        count = len(axes)
        if sizes:
            scales = [n / shape[a] for n, a in zip(sizes, axes, strict=True)]
            if self.policy != "stretch":
                one = min(scales) if self.policy == "not_larger" else max(scales)
                # One scale for all axes, sizes rounded half up.
                scales, sizes = [one] * count, [int(one * shape[a] + 0.5) for a in axes]
        else:
            # In single precision, as ONNX Runtime computes it: 10 times 0.7 is 7 there.
            sizes = [int(np.float32(s) * np.float32(shape[a])) for s, a in zip(scales or [], axes, strict=True)]
        span = region if region else [0.0] * count + [1.0] * count
        found = {}
        for k, axis in enumerate(axes):
            one_axis = _Axis(shape[axis], sizes[k], (scales or [])[k], span[k], span[k + count])
            # An axis that stays as it is need not be touched.
            if (one_axis.out, one_axis.start, one_axis.end) != (one_axis.size, 0.0, 1.0) or one_axis.scale != 1:
                found[axis] = one_axis
        return found


def _resize(site: Site) -> Function:
    manner = _Manner.of(site)
    first = place_of(site.op_type, "scales", site.opset) or 1
    none = lambda _=None: None  # noqa: E731
    wanted = _Wanted(
        site.reader(1) if first == 2 and manner.coordinates == "tf_crop_and_resize" else none,
        site.reader(first, "scales"),
        site.reader(3) if first == 2 else none,
        site.get("axes"),
        site.get("keep_aspect_ratio_policy", "stretch"),
    )

    def run(x: Tensor, *given: Tensor | None) -> Tensor:
        tensors = (*([None] * (2 - first)), *given, None, None, None)[:3]
        changed = wanted.read(x.shape, tensors)
        kernel = _kernel(manner, x, changed)
        if kernel is not None:
            return kernel
        # Integers are interpolated as floats, and cut off at the end.
        exact = x.is_floating_point() or manner.mode == "nearest"
        found = x if exact else x.to(torch.float64)
        for dim, axis in changed.items():
            found = _resample(found, dim, manner, axis)
        return found if exact else found.to(x.dtype)

    return run


def _kernel(manner: _Manner, x: Tensor, changed: Mapping[int, _Axis]) -> Tensor | None:
    """The result by a kernel of torch; None where none does the same."""
    rank = x.dim() - 2
    if not 1 <= rank <= 3 or any(dim < 2 for dim in changed) or not x.is_floating_point() or manner.antialias:
        return None
    whole = [changed.get(dim, _Axis(x.shape[dim], x.shape[dim], 1.0)) for dim in range(2, x.dim())]
    sizes, scales = [a.out for a in whole], [a.scale for a in whole]
    ops = torch.ops.aten
    if manner.mode == "nearest":
        # Torch's nearest is that of these two attributes.
        if (manner.coordinates, manner.rounding) != ("asymmetric", "floor"):
            return None
        nearest = (ops.upsample_nearest1d, ops.upsample_nearest2d, ops.upsample_nearest3d)[rank - 1]
        return _tensor(nearest(x, sizes, *scales))
    corners = manner.coordinates == "align_corners"
    # Both mean the same unless the output has one position.
    halves = manner.coordinates == "half_pixel" or (manner.coordinates == "pytorch_half_pixel" and 1 not in sizes)
    if not (corners or halves) or manner.exclude_outside:
        return None
    # Torch derives the scale from the sizes here; another one cannot be told to it.
    if corners and any(a.out == 1 or a.out != a.scale * a.size for a in whole):
        return None
    if manner.mode == "linear":
        linear = (ops.upsample_linear1d, ops.upsample_bilinear2d, ops.upsample_trilinear3d)[rank - 1]
        return _tensor(linear(x, sizes, corners, *scales))
    # Torch has this coefficient built in.
    if manner.mode == "cubic" and rank == 2 and manner.cubic == -0.75:
        return _tensor(ops.upsample_bicubic2d(x, sizes, corners, *scales))
    return None


def _tensor(value: object) -> Tensor:
    assert isinstance(value, Tensor)
    return value


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType({"Resize": _resize, "Upsample": _resize})
