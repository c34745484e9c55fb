"""A decoder of any size, with random weights in external data, for measuring what large models cost.

``python benchmarks/big_decoder.py big.onnx --gigabytes 3 --shards 4`` writes it block by block, so that the
generator itself needs little memory. Blocks are those of Llama: RMSNorm, rotary positions left out, causal mask,
gated feed-forward. All weights are drawn anew in each block from a table of random numbers, which is faster than
drawing them and as incompressible where it matters.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 18, 9
TABLE = (1 << 22) + 1
"""Random numbers that weights are made of; odd, so that rows of a weight differ."""
ALIGNMENT = 4096
TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}


@dataclass(frozen=True)
class Shape:
    """What a decoder is made of.

    Attributes:
        layers: blocks.
        width: of the residual stream.
        heads: of attention.
        inner: width of the feed-forward layers.
        vocabulary: rows of the embedding.
    """

    layers: int
    width: int = 2048
    heads: int = 16
    inner: int = 5632
    vocabulary: int = 8192

    @property
    def block(self) -> int:
        """Parameters of a block."""
        return 4 * self.width**2 + 3 * self.width * self.inner

    @property
    def rest(self) -> int:
        """Parameters of the embedding and of the head."""
        return 2 * self.width * self.vocabulary


class Shards:
    """External data as it is written: one file after the other, each of about equal size."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path, self._limit = path, limit
        self._file: BinaryIO | None = None
        self._count = 0

    def __enter__(self) -> Shards:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def put(self, name: str, array: np.ndarray) -> TensorProto:
        """Appends the array; the message that refers to it."""
        file = self._open()
        file.write(bytes(-file.tell() % ALIGNMENT))
        offset = file.tell()
        array.tofile(file)
        tensor = TensorProto(name=name, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(array.dtype))
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", Path(file.name).name), ("offset", offset), ("length", array.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        return tensor

    def _open(self) -> BinaryIO:
        if self._file is None or self._file.tell() >= self._limit:
            if self._file is not None:
                self._file.close()
            self._file = self._path.with_name(f"{self._path.stem}-{self._count:03}.bin").open("wb")
            self._count += 1
        return self._file


class Decoder:
    """The graph, node by node; weights go to the shards as they are made."""

    def __init__(self, shape: Shape, kind: str, shards: Shards) -> None:
        self._shape, self._kind, self._shards = shape, np.dtype(kind), shards
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[TensorProto] = []
        self._table = np.random.default_rng(0).standard_normal(TABLE, np.float32).astype(self._kind)
        self._drawn = 0

    def model(self) -> onnx.ModelProto:
        """The whole decoder."""
        shape = self._shape
        self._constants()
        hidden = self._add("Gather", [self._weight("embedding", shape.vocabulary, shape.width), "tokens"])
        for number in range(shape.layers):
            hidden = self._block(f"layers.{number}", hidden)
        logits = self._linear("head", self._norm("norm", hidden), shape.vocabulary)
        self._nodes.append(helper.make_node("Identity", [logits], ["logits"], name="logits"))
        tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", "sequence"])
        sizes = ["batch", "sequence", shape.vocabulary]
        result = helper.make_tensor_value_info("logits", TYPES[str(self._kind)], sizes)
        graph = helper.make_graph(self._nodes, "decoder", [tokens], [result], self._weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    # ---- parts ----------------------------------------------------------------------------------------------

    def _constants(self) -> None:
        shape = self._shape
        per_head = shape.width // shape.heads
        arrays = {
            "to_heads": np.asarray([0, 0, shape.heads, per_head]),
            "from_heads": np.asarray([0, 0, shape.width]),
            "last": np.asarray([-1]),
            "epsilon": np.asarray(1e-5, self._kind),
            "scale": np.asarray(per_head**-0.5, self._kind),
            "masked": np.asarray(-1e4, self._kind),
            "first": np.asarray(1),
        }
        self._weights += [numpy_helper.from_array(array, name) for name, array in arrays.items()]
        length = self._add("Shape", ["tokens"], start=1, end=2)
        square = self._add("Concat", [length, length], axis=0)
        whole = self._add("Expand", ["masked", square])
        self._mask = self._add("Trilu", [whole, "first"], upper=1)

    def _block(self, name: str, hidden: str) -> str:
        seen = self._norm(f"{name}.norm1", hidden)
        hidden = self._add("Add", [hidden, self._attention(name, seen)])
        seen = self._norm(f"{name}.norm2", hidden)
        gate = self._linear(f"{name}.gate", seen, self._shape.inner)
        gate = self._add("Mul", [gate, self._add("Sigmoid", [gate])])
        gated = self._add("Mul", [gate, self._linear(f"{name}.up", seen, self._shape.inner)])
        return self._add("Add", [hidden, self._linear(f"{name}.down", gated, self._shape.width, self._shape.inner)])

    def _attention(self, name: str, seen: str) -> str:
        def heads(part: str, order: Iterable[int]) -> str:
            split = self._add("Reshape", [self._linear(f"{name}.{part}", seen, self._shape.width), "to_heads"])
            return self._add("Transpose", [split], perm=list(order))

        query, key, value = heads("q", (0, 2, 1, 3)), heads("k", (0, 2, 3, 1)), heads("v", (0, 2, 1, 3))
        scores = self._add("Add", [self._add("Mul", [self._add("MatMul", [query, key]), "scale"]), self._mask])
        mixed = self._add("MatMul", [self._add("Softmax", [scores], axis=-1), value])
        joined = self._add("Reshape", [self._add("Transpose", [mixed], perm=[0, 2, 1, 3]), "from_heads"])
        return self._linear(f"{name}.o", joined, self._shape.width)

    def _norm(self, name: str, hidden: str) -> str:
        square = self._add("ReduceMean", [self._add("Mul", [hidden, hidden]), "last"])
        root = self._add("Sqrt", [self._add("Add", [square, "epsilon"])])
        scale = numpy_helper.from_array(np.ones(self._shape.width, self._kind), f"{name}.scale")
        self._weights.append(scale)
        return self._add("Mul", [self._add("Div", [hidden, root]), scale.name])

    def _linear(self, name: str, value: str, outputs: int, inputs: int | None = None) -> str:
        return self._add("MatMul", [value, self._weight(name, inputs or self._shape.width, outputs)])

    def _weight(self, name: str, rows: int, columns: int) -> str:
        start = (self._drawn * 7919) % TABLE
        self._drawn += 1
        count = rows * columns
        # Rows of the table one after the other, so that no two channels of a weight are the same.
        repeated = np.resize(np.roll(self._table, -start), count).reshape(rows, columns)
        self._weights.append(self._shards.put(f"{name}.weight", repeated * self._kind.type(rows**-0.5)))
        return f"{name}.weight"

    def _add(self, op: str, inputs: Iterable[str], **attributes: object) -> str:
        name = f"{op.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name


def write(path: Path, shape: Shape, kind: str = "float32", shards: int = 1) -> None:
    """Writes a decoder and its weights, which lie beside it in ``<stem>-000.bin`` and so on."""
    size = np.dtype(kind).itemsize * (shape.layers * shape.block + shape.rest)
    with Shards(path, -(-size // shards)) as data:
        model = Decoder(shape, kind, data).model()
    path.write_bytes(model.SerializeToString())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--gigabytes", type=float, help="as many blocks as make about this size")
    size.add_argument("--layers", type=int, help="blocks")
    parser.add_argument("--width", type=int, default=Shape.width)
    parser.add_argument("--heads", type=int, default=Shape.heads)
    parser.add_argument("--inner", type=int, default=Shape.inner)
    parser.add_argument("--vocabulary", type=int, default=Shape.vocabulary)
    parser.add_argument("--type", choices=sorted(TYPES), default="float32")
    parser.add_argument("--shards", type=int, default=1, help="files that the weights are spread over")
    options = parser.parse_args()
    shape = Shape(1, options.width, options.heads, options.inner, options.vocabulary)
    layers = options.layers
    if layers is None:
        wanted = options.gigabytes * 1e9 / np.dtype(options.type).itemsize
        layers = max(1, round((wanted - shape.rest) / shape.block))
    write(options.path, replace(shape, layers=layers), options.type, options.shards)
    print(f"{layers} blocks in {options.path}")


if __name__ == "__main__":
    main()
