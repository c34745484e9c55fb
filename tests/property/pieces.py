"""Parts of the models of tests/operators, cut out so that they can stand anywhere in a random graph.

Of a case in which ``body`` leads from ``a`` to ``b`` between layers, the body; of any other, all of it. So a random
graph meets every operator in every form that has a case, next to every other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import onnx
from onnx import TensorProto

from tests.operators.every import CASES

from .frozen_cases import FROZEN

Key = tuple[str, str]
"""Domain and name of an operator."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Nodes with what they read and give.

    Attributes:
        name: of the case that it is from.
        model: the whole case.
        nodes: those of the piece.
        entries: values that it reads and nobody in it makes; the floats among them can be anything.
        exits: values of it that are worth reading.
        checked: the ONNX checker accepts it.
    """

    name: str
    model: onnx.ModelProto
    nodes: tuple[onnx.NodeProto, ...]
    entries: tuple[onnx.ValueInfoProto, ...]
    exits: tuple[str, ...]
    checked: bool

    @property
    def opset(self) -> int:
        return next(entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx"))

    @property
    def operators(self) -> frozenset[Key]:
        return frozenset((node.domain, node.op_type) for node in every_node(self.nodes))


def every_node(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes, and those of their bodies."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from every_node(graph.node)


def read_outside(node: onnx.NodeProto) -> set[str]:
    """Names that a node reads, or that its bodies read from around them."""
    names = set(node.input) - {""}
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            inner = {name for one in graph.node for name in read_outside(one)}
            inner |= {value.name for value in graph.output}
            own = {name for one in graph.node for name in one.output}
            names |= inner - own - {v.name for v in (*graph.input, *graph.initializer)}
    return names


FREE = frozenset("NnTHW")
"""Open sizes that can be anything; others follow from each other, as those of a cache and its mask."""


def _open_sizes(piece: Piece) -> set[str]:
    return {dim.dim_param for info in piece.entries for dim in info.type.tensor_type.shape.dim} - {""}


@cache
def pieces() -> tuple[Piece, ...]:
    """One a case, and one for each operator that has a record and lets no channel through."""
    found = [_piece(case.name, case.build(), checked=case.checked) for case in CASES]
    found += [_piece(name, build(), checked=False) for name, build in FROZEN.items()]
    return tuple(piece for piece in found if _open_sizes(piece) <= FREE)


@cache
def by_operator() -> dict[Key, list[Piece]]:
    """The pieces in which an operator stands."""
    found: dict[Key, list[Piece]] = defaultdict(list)
    for piece in pieces():
        for key in piece.operators:
            found[key].append(piece)
    return dict(found)


def _piece(name: str, model: onnx.ModelProto, *, checked: bool) -> Piece:
    graph = model.graph
    made = {output: node for node in graph.node for output in node.output}
    outputs = [value.name for value in graph.output]
    if {"w", "bias", "v", "head"} <= {tensor.name for tensor in graph.initializer}:  # a body between two layers
        outputs = ["b", *(output for output in outputs if output != "y")]
        made.pop("a")
    kept = _needed(outputs, made)
    nodes = tuple(node for node in graph.node if any(output in kept & made.keys() for output in node.output))
    read = {value for node in nodes for value in read_outside(node)}
    given = {tensor.name for tensor in (*graph.initializer,)} | {t.values.name for t in graph.sparse_initializer}
    inner = {output for node in nodes for output in node.output}
    shapes = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = {value.name: value for value in (*shapes.value_info, *shapes.input)}
    entries = tuple(known[value] for value in sorted(read - given - inner))
    return Piece(name, model, nodes, entries, tuple(output for output in outputs if output in inner), checked)


def _needed(outputs: Sequence[str], made: dict[str, onnx.NodeProto]) -> set[str]:
    """Names that ``outputs`` come from, themselves included."""
    found: set[str] = set()
    open_names = [*outputs]
    while open_names:
        name = open_names.pop()
        if name not in found:
            found.add(name)
            open_names += read_outside(made[name]) if name in made else ()
    return found


def renamed(node: onnx.NodeProto, call: Callable[[str], str]) -> onnx.NodeProto:
    """A copy whose values, those of its bodies included, have other names."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    _rename(copy, call)
    return copy


def _rename(node: onnx.NodeProto, call: Callable[[str], str]) -> None:
    node.name = node.name and call(node.name)
    for names in (node.input, node.output):
        names[:] = [name and call(name) for name in names]
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
                value.name = call(value.name)
            for inner in graph.node:
                _rename(inner, call)


def is_float(info: onnx.ValueInfoProto) -> bool:
    return info.type.tensor_type.elem_type == TensorProto.FLOAT
