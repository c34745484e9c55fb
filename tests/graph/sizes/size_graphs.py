"""Random graphs of shape arithmetic: sizes are read, computed with, and used to shape something again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 6
TOP = 40
"""Largest number that arithmetic on sizes is kept below, so that what is made of it stays small."""


class SizeGraph:
    """Builds one graph with input ``x`` of shape [N, T, 6]; every value that is made is an output.

    Args:
        seed: of all choices.
        steps: operations after the first.
    """

    def __init__(self, seed: int, steps: int = 10) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.numbers: list[str] = []
        self.tensors = ["x"]  # of rank 3
        self._count = 0
        self.read()
        self.read()
        numbers = [self.read, self.arithmetic, self.arithmetic, self.joined, self.compared, self.cast]
        for _ in range(steps):
            self.any_of([*numbers, self.shape])
        self.shape()

    def model(self) -> onnx.ModelProto:
        """The graph as a model."""
        made = [n.output[0] for n in self.nodes]
        outputs = [onnx.ValueInfoProto(name=name) for name in dict.fromkeys([*self.tensors[1:], *self.numbers])]
        assert made
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "T", CHANNELS])
        kept = [helper.make_node("Identity", [v.name], [f"{v.name}.out"]) for v in outputs]
        infos = [
            helper.make_tensor_value_info(
                f"{v.name}.out", TensorProto.FLOAT if v.name in self.tensors else TensorProto.INT64, None
            )
            for v in outputs
        ]
        graph = helper.make_graph([*self.nodes, *kept], "sizes", [x], infos, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

    # ---- building blocks ---------------------------------------------------------------------------------------

    def any_of(self, choices: list[Callable[[], None]]) -> None:
        choices[self.rng.integers(len(choices))]()

    def name(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def constant(self, array: object, dtype: type = np.int64) -> str:
        name = self.name()
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def node(self, op: str, *inputs: str, **attributes: object) -> str:
        name = self.name()
        self.nodes.append(helper.make_node(op, list(inputs), [name], name, **attributes))
        return name

    def number(self) -> str:
        return str(self.rng.choice(self.numbers))

    def tensor(self) -> str:
        return self.tensors[int(self.rng.integers(len(self.tensors)))]

    def small(self, low: int = 0, high: int = 9) -> str:
        return self.constant([int(self.rng.integers(low, high))])

    def keep(self, number: str) -> None:
        """A number within bounds joins the others."""
        self.numbers.append(self.node("Min", self.node("Max", number, self.constant([0])), self.constant([TOP])))

    # ---- numbers -----------------------------------------------------------------------------------------------

    def read(self) -> None:
        shape, axis = self.node("Shape", self.tensor()), int(self.rng.integers(3))
        if self.rng.random() < 0.5:
            self.numbers.append(self.node("Gather", shape, self.constant([axis])))
        else:
            self.numbers.append(self.node("Slice", shape, self.constant([axis]), self.constant([axis + 1])))

    def arithmetic(self) -> None:
        op = str(self.rng.choice(["Add", "Sub", "Mul", "Div", "Mod", "Min", "Max"]))
        other = self.small(1) if op in ("Div", "Mod") or self.rng.random() < 0.6 else self.number()
        self.keep(self.node(op, self.number(), other))

    def joined(self) -> None:
        several = self.node("Concat", self.number(), self.small(1), self.number(), axis=0)
        op = str(self.rng.choice(["ReduceProd", "ReduceMin", "ReduceMax", "Gather"]))
        if op == "Gather":
            self.keep(self.node("Gather", several, self.constant([int(self.rng.integers(3))])))
        else:
            self.keep(self.node(op, several, keepdims=1))

    def compared(self) -> None:
        op = str(self.rng.choice(["Equal", "Greater", "Less"]))
        holds = self.node(op, self.number(), self.small(0, 40) if self.rng.random() < 0.7 else self.number())
        self.keep(self.node("Where", holds, self.number(), self.small()))

    def cast(self) -> None:
        real = self.node("Cast", self.number(), to=TensorProto.FLOAT)
        factor = float(self.rng.choice([0.5, 2.0, 0.25, 1.5, 4.0]))
        scaled = self.node(str(self.rng.choice(["Mul", "Div"])), real, self.constant([factor], np.float32))
        rounded = self.node(str(self.rng.choice(["Floor", "Ceil", "Identity"])), scaled)
        self.keep(self.node("Cast", rounded, to=TensorProto.INT64))

    # ---- tensors of rank 3 -------------------------------------------------------------------------------------

    def shape(self) -> None:
        self.any_of([self.expand, self.range, self.slice, self.reshape, self.pad, self.window, self.join, self.tile])

    def expand(self) -> None:
        to = self.node("Concat", self.number(), self.small(1, 4), self.number(), axis=0)
        self.tensors.append(self.node("Expand", self.constant([1.5], np.float32), to))

    def range(self) -> None:
        one, zero = self.constant(int(self.rng.integers(1, 4))), self.constant(int(self.rng.integers(0, 3)))
        count = self.node("Range", zero, self.node("Squeeze", self.number()), one)
        real = self.node("Cast", count, to=TensorProto.FLOAT)
        self.tensors.append(self.node("Unsqueeze", real, self.constant([0, 2])))

    def slice(self) -> None:
        axis = int(self.rng.integers(3))
        start = self.constant([int(self.rng.integers(-3, 3))]) if self.rng.random() < 0.6 else self.number()
        end = self.number() if self.rng.random() < 0.6 else self.constant([int(self.rng.choice([-1, 3, 8, 2**31 - 1]))])
        steps = self.constant([int(self.rng.choice([1, 1, 2]))])
        self.tensors.append(self.node("Slice", self.tensor(), start, end, self.constant([axis]), steps))

    def reshape(self) -> None:
        source = self.tensor()
        sizes = self.node("Shape", source)
        parts = [self.node("Gather", sizes, self.constant([k])) for k in range(3)]
        form = int(self.rng.integers(4))
        if form == 0:
            to = self.node("Concat", self.node("Mul", parts[0], parts[1]), parts[2], self.constant([1]), axis=0)
        elif form == 1:
            to = self.node("Concat", parts[0], self.constant([-1]), parts[2], axis=0)
        elif form == 2:
            to = self.node("Concat", parts[1], parts[0], self.constant([-1]), axis=0)
        else:
            to = self.constant([0, -1, 2])
        self.tensors.append(self.node("Reshape", source, to))

    def pad(self) -> None:
        before = self.node("Concat", self.constant([0]), self.small(0, 3), self.constant([0]), axis=0)
        after = self.node("Concat", self.constant([0]), self.number(), self.constant([0]), axis=0)
        self.tensors.append(self.node("Pad", self.tensor(), self.node("Concat", before, after, axis=0)))

    def window(self) -> None:
        steps, kernel = int(self.rng.choice([1, 2, 3, 32])), int(self.rng.integers(1, 4))
        pads = [kernel // 2] * 2 if kernel > 1 and self.rng.random() < 0.5 else [0, 0]
        attributes = {"kernel_shape": [kernel], "strides": [steps], "pads": pads}
        self.tensors.append(self.node("MaxPool", self.tensor(), **attributes))

    def join(self) -> None:
        source = self.tensor()
        self.tensors.append(self.node("Concat", source, source, axis=int(self.rng.integers(3))))

    def tile(self) -> None:
        few = self.node("Min", self.number(), self.small(1, 4))
        repeats = self.node("Concat", self.small(1, 3), few, self.constant([1]), axis=0)
        self.tensors.append(self.node("Tile", self.tensor(), repeats))
