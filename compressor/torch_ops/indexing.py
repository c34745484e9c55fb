"""Operators that read or write at places given by indices (ONNX Gather-13, ScatterND-18, OneHot-11 ...)."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812 -- the name that torch's own pages use

from compressor.torch_ops.site import Function, FunctionMaker, Site, plain, positive

Tensor = torch.Tensor

_REDUCTIONS: Mapping[str, str] = MappingProxyType({"add": "sum", "mul": "prod", "max": "amax", "min": "amin"})


def _from_start(index: Tensor, size: int) -> Tensor:
    """Negative indices count from the end."""
    index = index if index.dtype == torch.int64 else index.to(torch.int64)
    return torch.where(index < 0, index + size, index)


def _gather(site: Site) -> Function:
    axis = site.get("axis", 0)
    fixed = site.constant(1)
    if fixed is not None and fixed.dim() == 0:
        # A view; no index has to be on the device.
        place = int(fixed)
        return lambda x, _: x.select(axis, place)
    # Indices that are known not to be negative need no correction in every run.
    known = fixed is not None and bool((fixed >= 0).all())

    def run(x: Tensor, index: Tensor) -> Tensor:
        if known:
            index = index if index.dtype in (torch.int64, torch.int32) else index.to(torch.int64)
        else:
            index = _from_start(index, x.shape[axis])
        if x.dim() == 2 and axis == 0:
            return F.embedding(index, x)
        if index.dim() == 1:
            return x.index_select(axis, index)
        first = positive(axis, x.dim())
        shape = (*x.shape[:first], *index.shape, *x.shape[first + 1 :])
        return x.index_select(first, index.reshape(-1)).reshape(shape)

    return run


def _gather_elements(site: Site) -> Function:
    axis = site.get("axis", 0)
    return lambda x, index: torch.gather(x, axis, _from_start(index, x.shape[axis]))


def _places(index: Tensor, sizes: torch.Size) -> Tensor:
    """Index tuples along the last axis as places in the flattened axes that they count over."""
    place = torch.zeros(index.shape[:-1], dtype=torch.int64, device=index.device)
    for k in range(index.shape[-1]):
        place = place * sizes[k] + _from_start(index[..., k], sizes[k])
    return place


def _gather_nd(site: Site) -> Function:
    batch = site.get("batch_dims", 0)

    def run(x: Tensor, index: Tensor) -> Tensor:
        depth = index.shape[-1]
        inner, rest = x.shape[batch : batch + depth], x.shape[batch + depth :]
        place = _places(index, inner)
        # Batches are laid one after the other, so that one index_select serves all.
        outer = prod(x.shape[:batch])
        base = torch.arange(outer, device=x.device) * prod(inner)
        place = place.reshape(outer, -1) + base[:, None]
        found = x.reshape(outer * prod(inner), *rest).index_select(0, place.reshape(-1))
        return found.reshape(*index.shape[:-1], *rest)

    return run


def _scatter_elements(site: Site) -> Function:
    axis, how = site.get("axis", 0), site.get("reduction", "none")

    def run(x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
        index = _from_start(index, x.shape[axis])
        if how == "none":
            return x.scatter(axis, index, updates)
        if how == "add":
            return x.scatter_add(axis, index, updates)
        return x.scatter_reduce(axis, index, updates, _REDUCTIONS[how])

    return run


def _scatter_nd(site: Site) -> Function:
    how = site.get("reduction", "none")

    def run(x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
        depth = index.shape[-1]
        sizes, rest = x.shape[:depth], x.shape[depth:]
        place = _places(index, sizes).reshape(-1)
        flat = x.reshape(prod(sizes), prod(rest))
        values = updates.reshape(place.shape[0], prod(rest))
        if how == "none":
            return flat.index_copy(0, place, values).reshape(x.shape)
        if how == "add":
            return flat.index_add(0, place, values).reshape(x.shape)
        where = place[:, None].expand_as(values)
        return flat.scatter_reduce(0, where, values, _REDUCTIONS[how]).reshape(x.shape)

    return run


def _tensor_scatter(site: Site) -> Function:
    """Writes a piece of each sequence into its cache (TensorScatter-24)."""
    axis, circular = site.get("axis", -2), site.get("mode", "linear") == "circular"

    def run(cache: Tensor, update: Tensor, starts: Tensor | None = None) -> Tensor:
        where = positive(axis, cache.dim())
        steps = torch.arange(update.shape[where], device=cache.device)
        places = steps + (starts[:, None] if starts is not None else 0)
        places = places.expand(cache.shape[0], -1)
        places = places % cache.shape[where] if circular else places
        shape = [cache.shape[0], *[1] * (cache.dim() - 1)]
        shape[where] = update.shape[where]
        return cache.scatter(where, places.reshape(shape).expand_as(update), update)

    return run


def _one_hot(site: Site) -> Function:
    axis = site.get("axis", -1)
    read = site.reader(1)

    def run(index: Tensor, depth: Tensor | None, values: Tensor) -> Tensor:
        count = int((read(depth) or [0])[0])
        index = index.to(torch.int64)
        place = torch.where(index < 0, index + count, index).unsqueeze(axis)
        shape = [1] * place.dim()
        shape[axis] = count
        classes = torch.arange(count, device=index.device).reshape(shape)
        return torch.where(place == classes, values[1], values[0])

    return run


def _non_zero(x: Tensor) -> Tensor:
    # A scalar has no axes to count along, so the result has no rows, and one column if it is not zero.
    return torch.nonzero(x).t() if x.dim() else torch.nonzero(x.reshape(1))[:, :0].t()


def _compress(site: Site) -> Function:
    axis = site.get("axis")

    def run(x: Tensor, condition: Tensor) -> Tensor:
        places = torch.nonzero(condition).reshape(-1)
        return x.reshape(-1)[places] if axis is None else x.index_select(axis, places)

    return run


def _unique(site: Site) -> Function:
    """Distinct entries or slices, with first places, places in the result, and counts."""
    axis, ordered = site.get("axis"), bool(site.get("sorted", 1))

    def run(x: Tensor) -> tuple[Tensor, ...]:
        if axis is None:
            x = x.reshape(-1)
        along = 0 if axis is None else axis
        # Without history; entries are taken from x by place below, which hands on gradients.
        _, inverse, counts = torch.unique(x.detach(), return_inverse=True, return_counts=True, dim=along)
        places = torch.arange(inverse.shape[0], device=x.device)
        # Of equal entries the first place counts, and torch's function does not tell it.
        first = torch.full_like(counts, inverse.shape[0]).scatter_reduce(0, inverse, places, "amin")
        # Unsorted means by first appearance.
        if not ordered:
            order = torch.argsort(first)
            first, inverse, counts = first[order], torch.argsort(order)[inverse], counts[order]
        return x.index_select(along, first), first, inverse, counts

    return run


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType(
    {
        "Compress": _compress,
        "Gather": _gather,
        "GatherElements": _gather_elements,
        "GatherND": _gather_nd,
        "NonZero": plain(_non_zero),
        "OneHot": _one_hot,
        "Scatter": _scatter_elements,
        "ScatterElements": _scatter_elements,
        "ScatterND": _scatter_nd,
        "TensorScatter": _tensor_scatter,
        "Unique": _unique,
    }
)
