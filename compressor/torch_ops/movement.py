"""Operators that move entries and compute nothing (ONNX Reshape-25, Transpose-25, Pad-25, Slice-13 ...)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 -- the name that torch's own pages use

from compressor.torch_ops.site import Function, FunctionMaker, NestedNumbers, Site, positive

Tensor = torch.Tensor


def _reshape(site: Site) -> Function:
    """A size of 0 copies the input's, unless ``allowzero`` is set."""
    literal = bool(site.get("allowzero", 0))
    read = site.reader(1, "shape")
    fixed = read(None) if site.constant(1) is not None or "shape" in site.attributes else None
    if fixed is not None and (literal or 0 not in fixed):
        return lambda x, _=None: x.reshape(fixed)

    def run(x: Tensor, given: Tensor | None = None) -> Tensor:
        sizes = read(given) or []
        if not literal and 0 in sizes:
            sizes = [x.shape[k] if size == 0 else size for k, size in enumerate(sizes)]
        # Torch cannot tell what -1 stands for where there are no elements.
        if -1 in sizes and 0 in x.shape:
            sizes = [0 if size == -1 else size for size in sizes]
        return x.reshape(sizes)

    return run


def _transpose(site: Site) -> Function:
    order = site.get("perm")
    if order is None:
        return lambda x: x.permute(*reversed(range(x.dim())))
    return lambda x: x.permute(order)


def _flatten(site: Site) -> Function:
    axis = site.get("axis", 1)

    def run(x: Tensor) -> Tensor:
        first = positive(axis, x.dim())
        return x.reshape(prod(x.shape[:first]), prod(x.shape[first:]))

    return run


def _squeeze(site: Site) -> Function:
    read = site.reader(1, "axes")

    def run(x: Tensor, given: Tensor | None = None) -> Tensor:
        axes = read(given)
        return x.squeeze() if axes is None else x.squeeze(axes)

    return run


def _unsqueeze(site: Site) -> Function:
    read = site.reader(1, "axes")

    def run(x: Tensor, given: Tensor | None = None) -> Tensor:
        axes = read(given) or []
        rank = x.dim() + len(axes)
        for axis in sorted(positive(a, rank) for a in axes):
            x = x.unsqueeze(axis)
        return x

    return run


def _concat(site: Site) -> Function:
    axis = site.get("axis", 1)
    return lambda *parts: torch.cat(parts, axis)


def _split(site: Site) -> Function:
    """By the sizes given, else into equal parts of which the last may be smaller."""
    axis, count = site.get("axis", 0), site.get("num_outputs") or len(site.wanted)
    read = site.reader(1, "split")

    def run(x: Tensor, given: Tensor | None = None) -> tuple[Tensor, ...]:
        sizes = read(given)
        if sizes is None:
            # As even as possible, rounded up, so that the last part is the smaller one.
            size, rest = -(-x.shape[axis] // count), x.shape[axis]
            sizes = [max(min(size, rest - k * size), 0) for k in range(count)]
        return torch.split(x, sizes, axis)

    return run


def _expand(site: Site) -> Function:
    """Broadcasts both ways: a size of 1 in the shape keeps the input's."""
    read = site.reader(1)

    def run(x: Tensor, given: Tensor | None) -> Tensor:
        wanted = read(given) or []
        shape = [1] * (x.dim() - len(wanted)) + wanted
        offset = len(shape) - x.dim()
        # Torch's -1 keeps a size; a 1 in the shape does not shrink what is wider.
        return x.expand([-1 if k >= offset and size == 1 else size for k, size in enumerate(shape)])

    return run


def _tile(site: Site) -> Function:
    read = site.reader(1)

    def run(x: Tensor, given: Tensor | None, *_: Tensor) -> Tensor:
        return x.repeat(read(given) or [])

    return run


def _slice(site: Site) -> Function:
    """Python's own rules for starts, ends and steps."""
    readers = [site.reader(i, k) for i, k in ((1, "starts"), (2, "ends"), (3, "axes"), (4, "steps"))]

    def run(x: Tensor, *given: Tensor | None) -> Tensor:
        tensors = (*given, None, None, None, None)
        starts, ends, axes, steps = (read(t) for read, t in zip(readers, tensors, strict=False))
        starts, ends = starts or [], ends or []
        for k, axis in enumerate(axes if axes is not None else range(len(starts))):
            x = cut(x, axis, slice(starts[k], ends[k], 1 if steps is None else steps[k]))
        return x

    return run


def cut(x: Tensor, axis: int, span: slice) -> Tensor:
    """A slice along one axis; torch knows no negative steps, so these run over the flipped axis."""
    size = x.shape[axis]
    places = range(*span.indices(size))
    if places.step < 0:
        x = x.flip(axis)
        # The same places, counted from the other end.
        places = range(size - 1 - places.start, size - 1 - places.stop, -places.step)
    if len(places) == size:
        return x
    if places.step == 1:
        return x.narrow(axis, min(places.start, size), len(places))
    index = [slice(None)] * x.dim()
    index[axis] = slice(places.start, max(places.stop, places.start), places.step)
    return x[tuple(index)]


def _pad(site: Site) -> Function:
    """Constant, edge, reflecting or wrapping; negative paddings crop. From version 18 on axes may be named."""
    mode = site.get("mode", "constant") or "constant"
    read, axes_of = site.reader(1, "pads"), site.reader(3)
    fixed = site.reader(2, "value")

    def run(x: Tensor, given: Tensor | None = None, value: Tensor | None = None, named: Tensor | None = None) -> Tensor:
        pads, axes = read(given) or [], axes_of(named)
        both = _by_axis(pads, axes, x.dim())
        if mode == "constant":
            fill = (fixed(value) or [0])[0]
            # Torch wants the last axis first.
            flat = [n for pair in reversed(both) for n in pair]
            return F.pad(x, flat, value=fill)
        return _pad_by_place(x, both, mode)

    return run


def _by_axis(pads: NestedNumbers, axes: Sequence[int] | None, rank: int) -> list[tuple[int, int]]:
    both = [(0, 0)] * rank
    half = len(pads) // 2
    for k, axis in enumerate(axes if axes is not None else range(half)):
        both[axis] = (pads[k], pads[k + half])
    return both


def _pad_by_place(x: Tensor, both: Sequence[tuple[int, int]], mode: str) -> Tensor:
    """Numpy says which place each entry comes from; crops come first."""
    for axis, (before, after) in enumerate(both):
        if (before, after) == (0, 0):
            continue
        # Crops first: torch and numpy pad by what is there, which must be the cropped part.
        x = cut(x, axis, slice(max(-before, 0), x.shape[axis] + min(after, 0)))
        where = np.pad(np.arange(x.shape[axis]), (max(before, 0), max(after, 0)), mode=mode)  # type: ignore[call-overload]
        x = x.index_select(axis, torch.from_numpy(where).to(x.device))
    return x


def _depth_to_space(site: Site) -> Function:
    block, columns = site.get("blocksize"), site.get("mode", "DCR") == "CRD"

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        inner = c // block**2
        if columns:
            parts = x.reshape(n, inner, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
        else:
            parts = x.reshape(n, block, block, inner, h, w).permute(0, 3, 4, 1, 5, 2)
        return parts.reshape(n, inner, h * block, w * block)

    return run


def _space_to_depth(site: Site) -> Function:
    block, columns = site.get("blocksize"), site.get("mode", "DCR") == "CRD"

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = x.reshape(n, c, h // block, block, w // block, block)
        order = (0, 1, 3, 5, 2, 4) if columns else (0, 3, 5, 1, 2, 4)
        return parts.permute(order).reshape(n, c * block**2, h // block, w // block)

    return run


def _center(site: Site) -> Function:
    """Crops or pads with zeros so that the middle stays in the middle (CenterCropPad-18)."""
    read, named = site.reader(1), site.get("axes")

    def run(x: Tensor, given: Tensor | None) -> Tensor:
        sizes = read(given) or []
        for axis, want in zip(named if named is not None else range(x.dim()), sizes, strict=True):
            have = x.shape[axis]
            if want <= have:
                x = x.narrow(axis, (have - want) // 2, want)
            else:
                before = (want - have) // 2
                pads = [0, 0] * (x.dim() - 1 - positive(axis, x.dim())) + [before, want - have - before]
                x = F.pad(x, pads)
        return x

    return run


def _reverse_sequence(site: Site) -> Function:
    time, batch = site.get("time_axis", 0), site.get("batch_axis", 1)

    def run(x: Tensor, lengths: Tensor) -> Tensor:
        moved = x.movedim((time, batch), (0, 1))
        step = torch.arange(moved.shape[0], device=x.device)[:, None]
        places = torch.where(step < lengths, lengths - 1 - step, step)
        rows = torch.arange(moved.shape[1], device=x.device)
        return moved[places, rows].movedim((0, 1), (time, batch))

    return run


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType(
    {
        "CenterCropPad": _center,
        "Concat": _concat,
        "DepthToSpace": _depth_to_space,
        "Expand": _expand,
        "Flatten": _flatten,
        "Pad": _pad,
        "Reshape": _reshape,
        "ReverseSequence": _reverse_sequence,
        "Slice": _slice,
        "SpaceToDepth": _space_to_depth,
        "Split": _split,
        "Squeeze": _squeeze,
        "Tile": _tile,
        "Transpose": _transpose,
        "Unsqueeze": _unsqueeze,
    }
)
