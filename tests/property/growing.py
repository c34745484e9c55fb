"""Growing a graph block by block, each one run in ONNX Runtime as soon as it is written.

A block that kills its signal would hide every later mistake, so it is taken back; one that only shrinks or
swells it is followed by a constant factor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .builder import Value, reads
from .operators import Builder


class DeadEndError(Exception):
    """A block cannot be appended where it was asked for."""


Feed = dict[str, NDArray[Any]]
Fits = Callable[[Builder, Value], bool]
VOCABULARY = 12
DRAWS = 2
BATCH_OF_DRAWS = 3
RMS = (0.3, 3.0)


def always(_: Builder, __: Value) -> bool:
    return True


@dataclass(frozen=True)
class Block:
    """One entry of the catalogue: a value in, a value out, and where it may stand."""

    name: str
    build: Callable[[Builder, Value], Value]
    weight: float = 1.0
    opset: int = 11
    fits: Fits = always

    def allowed(self, b: Builder, x: Value) -> bool:
        return b.opset >= self.opset and self.fits(b, x)


def session(model: onnx.ModelProto, *, optimise: bool = False) -> Any:
    """A single-threaded CPU session."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def random_feed(inputs: Iterable[onnx.ValueInfoProto], rng: np.random.Generator, batch: int = BATCH_OF_DRAWS) -> Feed:
    """Normal floats, or token numbers below VOCABULARY, for every input; symbolic sizes become `batch`."""
    feed: Feed = {}
    for info in inputs:
        tensor = info.type.tensor_type
        shape = [dim.dim_value or batch for dim in tensor.shape.dim]
        if tensor.elem_type == TensorProto.INT64:
            feed[info.name] = rng.integers(0, VOCABULARY, shape)
        else:
            feed[info.name] = rng.normal(size=shape).astype(np.float32)
    return feed


@dataclass
class Net:
    """A graph under construction together with what it computes on a few random inputs."""

    b: Builder
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    known: list[Feed] = field(default_factory=lambda: [{} for _ in range(DRAWS)])
    used: list[str] = field(default_factory=list)

    def input(self, name: str, *shape: int, tokens: bool = False) -> Value:
        """Declare a graph input: floats, or token numbers below VOCABULARY."""
        value = Value(name, shape)
        info = self.b.info(value, TensorProto.INT64 if tokens else TensorProto.FLOAT)
        self.inputs.append(info)
        for feed in self.known:
            feed.update(random_feed([info], self.b.rng))
        return value

    def grow(self, block: Block, x: Value) -> Value | None:
        """Append a block; None, and nothing appended, where its output carries no signal."""
        mark = self.b.mark()
        y = block.build(self.b, x)
        values = self._run(mark[0], y)
        rows = np.concatenate(values).astype(np.float64)
        size = float(np.sqrt(np.mean(np.square(rows))))
        spread = float(np.std(rows, axis=0).mean())
        if not np.isfinite(size) or size < 1e-4 or spread < 0.05 * size:
            self.b.rewind(mark)
            return None
        if not RMS[0] < size < RMS[1]:
            factor = np.float32(1 / size)
            y = self.b.op("Mul", y, self.b.scalar(factor), shape=y.shape)
            values = [value * factor for value in values]
        for feed, value in zip(self.known, values, strict=True):
            feed[y.name] = value
        self.used.append(block.name)
        self.b.memory.append(y)
        return y

    def require(self, block: Block, x: Value) -> Value:
        """Append a block, drawn again while its output carries no signal.

        Raises:
            DeadEndError: the block may not stand here, or never gave a signal.
        """
        if not block.allowed(self.b, x):
            raise DeadEndError(f"{block.name} may not follow {x.shape}")
        for _ in range(10):
            y = self.grow(block, x)
            if y is not None:
                return y
        raise DeadEndError(f"{block.name} after {x.shape} gave no signal")

    def _run(self, since: int, y: Value) -> list[NDArray[Any]]:
        """Run the nodes from `since` on, for every draw, and hold y to its declared shape."""
        values = [run[0] for run in self.measure(since, [self.b.info(y)])]
        batch = self.b.batch or BATCH_OF_DRAWS
        declared = tuple(size if size > 0 else -size * batch for size in y.shape)
        last = self.b.nodes[-1].op_type
        assert values[0].shape == declared, f"{last}: {values[0].shape}, declared {declared}"
        return values

    def measure(self, since: int, wanted: Sequence[onnx.ValueInfoProto]) -> list[list[NDArray[Any]]]:
        """What the nodes from `since` on give, for every draw."""
        nodes = self.b.nodes[since:]
        read = dict.fromkeys(reads(nodes))
        fed = [name for name in read if name in self.known[0]]
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in self.known[0].items()
            if name in read
        ]
        arrays = {name: self.b.arrays[name] for name in read if name in self.b.arrays}
        tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
        graph = helper.make_graph(nodes, "part", inputs, wanted, tensors)
        runner = session(self.b.wrap(graph))
        return [runner.run(None, {name: feed[name] for name in fed}) for feed in self.known]
