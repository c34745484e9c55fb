"""Operators as methods: version differences, random but equal spellings, and output shapes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from .builder import INT_MAX, Graph, Shape, Value, broadcast


class Movement(Graph):
    """Operators that move entries or sizes and compute nothing."""

    def any_axis(self, axis: int, rank: int) -> int:
        """The axis counted from the front, or from the back as some exporters do."""
        return axis % rank - (rank if self.chance(self.style.negative_axes) else 0)

    def transpose(self, x: Value, *perm: int) -> Value:
        return self.op("Transpose", x, shape=tuple(x.shape[p] for p in perm), perm=list(perm))

    def swap(self, x: Value) -> Value:
        """Exchange the last two axes."""
        return self.transpose(x, *range(x.rank - 2), x.rank - 1, x.rank - 2)

    def unsqueeze(self, x: Value, axis: int) -> Value:
        shape = (*x.shape[:axis], 1, *x.shape[axis:])
        return self._with_axes("Unsqueeze", x, [self.any_axis(axis, x.rank + 1)], shape, 13)

    def squeeze(self, x: Value, axis: int) -> Value:
        shape = x.shape[:axis] + x.shape[axis + 1 :]
        return self._with_axes("Squeeze", x, [self.any_axis(axis, x.rank)], shape, 13)

    def _with_axes(self, kind: str, x: Value, axes: list[int], shape: Shape, since: int, **more: Any) -> Value:
        if self.opset < since:
            return self.op(kind, x, shape=shape, axes=axes, **more)
        return self.op(kind, x, self.ints(*axes), shape=shape, **more)

    def concat(self, parts: Sequence[Value], axis: int) -> Value:
        first = parts[0].shape
        shape = (*first[:axis], sum(p.shape[axis] for p in parts), *first[axis + 1 :])
        return self.op("Concat", *parts, shape=shape, axis=self.any_axis(axis, len(first)))

    def split(self, x: Value, sizes: Sequence[int], axis: int) -> list[Value]:
        """Split; equal parts are sometimes left to the operator to work out."""
        shapes = [(*x.shape[:axis], size, *x.shape[axis + 1 :]) for size in sizes]
        at = self.any_axis(axis, x.rank)
        if len(set(sizes)) == 1 and self.chance(0.5):
            count = {"num_outputs": len(sizes)} if self.opset >= 18 else {}
            return self.ops("Split", [x], shapes, axis=at, **count)
        if self.opset < 13:
            return self.ops("Split", [x], shapes, axis=at, split=list(sizes))
        return self.ops("Split", [x, self.ints(*sizes)], shapes, axis=at)

    def slice(self, x: Value, axis: int, start: int, end: int, step: int = 1) -> Value:
        """x[start:end:step] along one axis; bounds are sometimes counted from the back or left open."""
        size = x.shape[axis]
        shape = (*x.shape[:axis], len(range(size)[start:end:step]), *x.shape[axis + 1 :])
        if end == size and self.chance(0.5):
            end = INT_MAX
        elif 0 < end < size and self.chance(0.3):
            end -= size
        bounds = [self.ints(start), self.ints(end), self.ints(self.any_axis(axis, x.rank))]
        if step != 1 or self.chance(0.5):
            bounds.append(self.ints(step))
        return self.op("Slice", x, *bounds, shape=shape)

    def reverse(self, x: Value, axis: int) -> Value:
        """Flip one axis with a Slice of step -1."""
        bounds = [self.ints(-1), self.ints(-INT_MAX), self.ints(axis), self.ints(-1)]
        return self.op("Slice", x, *bounds, shape=x.shape)

    def gather(self, x: Value, indices: Any, axis: int) -> Value:
        array = np.asarray(indices, np.int64)
        shape = x.shape[:axis] + array.shape + x.shape[axis + 1 :]
        return self.op("Gather", x, self.const(array), shape=shape, axis=self.any_axis(axis, x.rank))

    def pad(self, x: Value, axis: int, before: int, after: int, mode: str = "constant") -> Value:
        shape = (*x.shape[:axis], x.shape[axis] + before + after, *x.shape[axis + 1 :])
        pads = [0] * (2 * x.rank)
        pads[axis], pads[x.rank + axis] = before, after
        more: list[Value | None] = []
        if mode == "constant" and self.chance(0.5):
            more.append(self.const(np.float32(0)))
        if self.opset >= 18 and self.chance(0.3):
            # All axes, in order: ORT 1.31 fails when it moves a Transpose past a Pad of only some axes.
            more = [*(more or [None]), self.ints(*range(x.rank))]
        return self.op("Pad", x, self.ints(*pads), *more, shape=shape, mode=mode)

    def tile(self, x: Value, axis: int, times: int) -> Value:
        repeats = [times if i == axis else 1 for i in range(x.rank)]
        shape = tuple(size * n for size, n in zip(x.shape, repeats, strict=True))
        return self.op("Tile", x, self.ints(*repeats), shape=shape)

    # run-time shapes
    def size_at(self, x: Value, axis: int, taken: Value | None = None) -> Value:
        """The size of an axis as an int64[1], read at run time."""
        shape = taken or self.op("Shape", x, shape=(x.rank,))
        form = self.pick("gather", "slice", "scalar")
        if form == "gather":
            return self.op("Gather", shape, self.ints(axis), shape=(1,), axis=0)
        if form == "slice":
            return self.slice(shape, 0, axis, axis + 1)
        return self.unsqueeze(self.op("Gather", shape, self.const(np.int64(axis)), shape=(), axis=0), 0)

    def batch_of(self, x: Value, times: int = 1, taken: Value | None = None) -> Value:
        """`times` times the batch size, read off x at run time."""
        axis = next(i for i, size in enumerate(x.shape) if size < 0)
        read, have = self.size_at(x, axis, taken), -x.shape[axis]
        if have == times:
            return read
        if times % have == 0:
            return self.op("Mul", read, self.ints(times // have))
        return self.op("Div", read, self.ints(have // times))

    def _runtime_shape(self, x: Value, shape: Shape) -> Value:
        taken = self.op("Shape", x, shape=(x.rank,))
        parts: list[Value] = []
        for size in shape:
            if size < 0:
                parts.append(self.batch_of(x, -size, taken))
            elif size in x.shape and self.chance(0.5):
                parts.append(self.size_at(x, x.shape.index(size), taken))
            else:
                parts.append(self.ints(size))
        return self.op("Concat", *parts, shape=(len(shape),), axis=0)

    def _constant_shape(self, x: Value, shape: Shape) -> list[int]:
        sizes = list(shape)
        for i, size in enumerate(shape):
            same = i < x.rank and x.shape[i] == size
            if same and (size < 0 or self.chance(0.2)) and self.chance(0.7):
                sizes[i] = 0
            elif size < 0 and self.batch is not None:
                sizes[i] = -size * self.batch
            elif size < 0:
                sizes[i] = -1
        if -1 not in sizes and self.chance(0.3):
            sizes[int(self.rng.integers(len(sizes)))] = -1
        return sizes

    def reshape(self, x: Value, *shape: int) -> Value:
        """Reshape to sizes that are written out, copied (0), left open (-1) or read at run time."""
        assert abs(prod(x.shape)) == abs(prod(shape)), f"{x.shape} to {shape}"
        if any(size < 0 for size in x.shape) and self.chance(self.style.runtime_shapes):
            return self.op("Reshape", x, self._runtime_shape(x, shape), shape=shape)
        return self.op("Reshape", x, self.ints(*self._constant_shape(x, shape)), shape=shape)

    def expand(self, x: Value, shape: Shape, like: Value) -> Value:
        """Expand to a shape whose batch, where x has none yet, is that of `like`."""
        wanted: list[int | None] = []
        for have, size in zip((1,) * (len(shape) - x.rank) + x.shape, shape, strict=True):
            fixed = -size * self.batch if size < 0 and self.batch is not None else size
            wanted.append(1 if size < 0 and have == size else fixed if fixed > 0 else None)
        if None not in wanted:
            return self.op("Expand", x, self.ints(*(size or 0 for size in wanted)), shape=shape)
        parts = [self.batch_of(like) if size is None else self.ints(size) for size in wanted]
        vector = self.op("Concat", *parts, shape=(len(shape),), axis=0) if len(parts) > 1 else parts[0]
        return self.op("Expand", x, vector, shape=shape)


class Builder(Movement):
    """Operators that compute."""

    def reduce(self, kind: str, x: Value, *axes: int, keep: bool = True) -> Value:
        """ReduceMean, ReduceMax ...; axes are an attribute or an input, by version."""
        shape = tuple(1 if i in axes else size for i, size in enumerate(x.shape) if keep or i not in axes)
        listed = [self.any_axis(axis, x.rank) for axis in axes]
        since = 13 if kind == "ReduceSum" else 18
        return self._with_axes(kind, x, listed, shape, since, keepdims=int(keep))

    def matmul(self, a: Value, b: Value) -> Value:
        stack = broadcast(a.shape[:-2], b.shape[:-2])
        return self.op("MatMul", a, b, shape=(*stack, a.shape[-2], b.shape[-1]))

    def softmax(self, x: Value, axis: int) -> Value:
        """Softmax over one axis; before opset 13 the operator flattens all later axes, so move it last."""
        if self.opset >= 13 or axis == x.rank - 1:
            return self.op("Softmax", x, axis=axis if self.opset < 13 else self.any_axis(axis, x.rank))
        perm = [i for i in range(x.rank) if i != axis] + [axis]
        last = self.op("Softmax", self.transpose(x, *perm), axis=x.rank - 1)
        return self.transpose(last, *(int(i) for i in np.argsort(perm)))

    def clip(self, x: Value, low: float | None, high: float | None) -> Value:
        bounds = [None if v is None else self.const(np.float32(v)) for v in (low, high)]
        return self.op("Clip", x, *(bounds[:1] if high is None else bounds), shape=x.shape)

    def conv(
        self,
        x: Value,
        out: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        weight: Value | None = None,
    ) -> Value:
        """A convolution with half padding over any number of spatial axes."""
        rank = x.rank - 2
        inside = x.shape[1] // groups
        kernel = weight.shape[2] if weight else kernel
        pad = dilation * (kernel - 1) // 2
        weight = weight or self.weight(out, inside, *[kernel] * rank, fan_in=inside * kernel**rank)
        spatial = tuple((n + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for n in x.shape[2:])
        attributes = {"group": groups, "pads": [pad] * (2 * rank), "strides": [stride] * rank}
        if dilation != 1 or self.chance(0.5):
            attributes["dilations"] = [dilation] * rank
        if self.chance(0.7):
            attributes["kernel_shape"] = [kernel] * rank
        terms = [x, weight, self.bias(out)] if bias else [x, weight]
        return self.op("Conv", *terms, shape=(x.shape[0], out, *spatial), **attributes)

    def batch_norm(self, x: Value) -> Value:
        """BatchNormalization at inference, with statistics that are nobody's default."""
        n = x.shape[1]
        parameters = [self.uniform(n), self.bias(n), self.normal(n), self.uniform(n, high=2.0)]
        return self.op("BatchNormalization", x, *parameters, shape=x.shape, epsilon=1e-5)

    def linear(self, x: Value, out: int, *, form: str = "", bias: bool = True) -> Value:
        """A linear layer over the last axis, in one of the forms exporters write."""
        forms = ["matmul", "matmul", "transposed"]
        forms += ["einsum"] * (self.opset >= 12) + ["gemm", "gemm"] * (x.rank == 2)
        form = form or self.pick(*forms)
        inside = x.shape[-1]
        shape = (*x.shape[:-1], out)
        if form == "gemm":
            return self.gemm(x, out, bias=bias)
        if form == "matmul":
            y = self.matmul(x, self.weight(inside, out, fan_in=inside))
        elif form == "transposed":
            y = self.matmul(x, self.transpose(self.weight(out, inside, fan_in=inside), 1, 0))
        else:
            letters = "abcd"[: x.rank - 1]
            weight = self.weight(out, inside, fan_in=inside)
            y = self.op("Einsum", x, weight, shape=shape, equation=f"{letters}i,oi->{letters}o")
        if not bias:
            return y
        return self.op("Add", *self.pick((y, self.bias(out)), (self.bias(out), y)), shape=shape)

    def gemm(self, x: Value, out: int, *, bias: bool = True) -> Value:
        """Gemm on (N,C), transposed weight or not, alpha and beta or not."""
        inside, flip = x.shape[1], self.chance(0.7)
        weight = self.weight(*((out, inside) if flip else (inside, out)), fan_in=inside)
        attributes: dict[str, Any] = {"transB": 1} if flip else {}
        if self.chance(0.3):
            attributes |= {"alpha": 1.3, "beta": 0.6}
        terms = [x, weight, self.bias(out)] if bias else [x, weight]
        return self.op("Gemm", *terms, shape=(x.shape[0], out), **attributes)

    def per_channel(self, x: Value, low: float = 0.5, high: float = 1.5) -> Value:
        """A random constant with one entry a channel, shaped to broadcast against x."""
        shape = (x.width,) + (1,) * (x.rank - 1 - x.axis)
        if self.chance(0.5):
            shape = (1,) * (x.rank - len(shape)) + shape
        return self.uniform(*shape, low=low, high=high)

    def scaled_mean(self, x: Value, *axes: int) -> Value:
        """x less its mean over some axes, divided by the root of its variance: a norm in small steps."""
        centred = self.op("Sub", x, self.reduce("ReduceMean", x, *axes))
        power = (self.scalar(2.0), "Pow") if self.chance(0.5) else (centred, "Mul")
        square = self.op(power[1], centred, power[0])
        variance = self.reduce("ReduceMean", square, *axes)
        root = self.op("Sqrt", self.op("Add", variance, self.const(np.float32(1e-5))))
        return self.op("Div", centred, root)
