"""From a graph to a program: places values, folds constants, prepares a call for every node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_ir as ir
import torch

from compressor.errors import ModelError
from compressor.tune.functions.site import Function, Site, UnsupportedOperator
from compressor.tune.functions.table import FUNCTIONS, NEED_BOTH, NEED_DEVICE, NEED_TRAINING
from compressor.tune.placement import GROWING, HOST_INPUTS, HOSTABLE, STANDARD, bodies, read_on_host
from compressor.tune.program import DEVICE, FIRST, HOST, NOTHING, TRAINING, Program, Step
from compressor.tune.tensors import WIDE, to_torch, torch_dtype

FOLD_LIMIT = 1 << 16
"""Entries of the largest operand of a node that is computed once and for all."""

Key = tuple[ir.Value, bool]
"""A value, and whether it is wanted on the host."""


def check_supported(graph: ir.Graph) -> None:
    """Every node of the graph, and of graphs in it, has a function.

    Raises:
        UnsupportedOperator: one has none.
    """
    for node in graph.all_nodes():
        if node.domain not in STANDARD or node.op_type not in FUNCTIONS:
            where = f" of domain {node.domain!r}" if node.domain not in STANDARD else ""
            raise UnsupportedOperator(
                f"{node.op_type} node {node.name!r}{where} has no function in torch; replace the operator or "
                "leave fine-tuning out"
            )


class Builder:
    """Builds the program of one graph; those of graphs inside it by builders of their own.

    Args:
        graph: normalised.
        opset: version of the standard operator set.
        constants: values that never change, on the CPU; what folds is added.
        outer: the builder of the graph around this one.
        train_bn: normalise by the statistics of the batch while training.
    """

    def __init__(
        self,
        graph: ir.Graph,
        opset: int,
        constants: dict[ir.Value, torch.Tensor],
        *,
        outer: Builder | None = None,
        train_bn: bool = False,
    ) -> None:
        self.graph, self.opset, self.constants = graph, opset, constants
        self.outer, self.train_bn = outer, train_bn
        self.read: set[ir.Value] = outer.read if outer is not None else read_on_host(graph)
        self.host: set[ir.Value] = set()
        self.slots: dict[Key, int] = {}
        self.template: list[Any] = [None] * FIRST
        self.template[HOST] = torch.device("cpu")
        self.steps: list[Step] = []
        self.captured: list[Key] = []

    def build(self, inputs: int | None = None) -> Program:
        """The program. It wants its inputs and then what ``captured`` lists.

        ``inputs``: room to leave for inputs, where the caller hands over more than the graph declares.
        """
        for value in self.graph.inputs:
            self._new((value, False))
        self.template += [None] * ((inputs or 0) - len(self.graph.inputs))
        # Captured values follow the inputs, and their number is known only in the end: the first pass counts them.
        room = len(self.template)
        for node in self.graph:
            self._add(node)
        results = [self.slot(value, host=False) for value in self.graph.outputs]
        return self._finish(room, results)

    def slot(self, value: ir.Value | None, *, host: bool) -> int:
        """The slot that holds the value, moved to the device if it lies on the host and is not wanted there."""
        if value is None:
            return NOTHING
        key = (value, host)
        if key in self.slots:
            return self.slots[key]
        if value in self.constants:
            if host:
                return self._new(key, self.constants[value])
            return self._capture(key)
        if (value, not host) in self.slots:
            there = self.slots[value, not host]
            if host:
                return there
            self._emit(_move, (DEVICE, there), (self._new(key),), f"value {value.name!r}")
            return self.slots[key]
        return self._capture((value, host and self._on_host(value)))

    def _on_host(self, value: ir.Value) -> bool:
        return value in self.host or (self.outer is not None and self.outer._on_host(value))

    def _capture(self, key: Key) -> int:
        if key not in self.slots:
            self._new(key)
            self.captured.append(key)
        return self.slots[key]

    def _new(self, key: Key, value: object = None) -> int:
        self.slots[key] = len(self.template)
        self.template.append(value)
        return self.slots[key]

    def _emit(self, call: Function, inputs: tuple[int, ...], outputs: tuple[int, ...], label: str) -> None:
        self.steps.append(Step(call, inputs, outputs, (), label))

    def _add(self, node: ir.Node) -> None:
        programs: dict[str, Program] = {}
        outside: list[Key] = []
        for name, attribute in node.attributes.items():
            if attribute.type == ir.AttributeType.GRAPH:
                inner = Builder(
                    attribute.as_graph(), self.opset, self.constants, outer=self, train_bn=self.train_bn
                )
                programs[name] = inner.build()
                outside.append((node.outputs[0], False))  # marks where the next graph's values begin
                outside += inner.captured
        site = describe(node, self.opset, self.constants, programs, self.train_bn)
        function = FUNCTIONS[node.op_type](site)
        on_host = self._stays_on_host(node)
        if self._fold(node, function, on_host):
            return
        reads = HOST_INPUTS.get(node.op_type, frozenset())
        slots = [self.slot(v, host=on_host or k in reads) for k, v in enumerate(node.inputs)]
        slots = _leading(node.op_type, on_host) + slots
        if programs:
            function, extra = self._with_bodies(function, outside, len(slots))
            slots += extra
        outputs = tuple(self._new((v, on_host)) for v in node.outputs)
        if on_host:
            self.host.update(node.outputs)
        self._emit(widened(node, function), tuple(slots), outputs, f"{node.op_type} node {node.name!r}")

    def _with_bodies(self, function: Function, outside: list[Key], fixed: int) -> tuple[Function, list[int]]:
        """A function that is handed, after the node's inputs, what each of its graphs reads from outside."""
        counts: list[int] = []
        slots: list[int] = []
        for value, host in outside:
            if value.producer() is not None and (value, host) not in self.slots and value not in self.host:
                if value not in self.constants and self._is_mark(value):
                    counts.append(0)
                    continue
            counts[-1] += 1
            slots.append(self.slot(value, host=host))

        def call(*operands: Any) -> Any:
            start, groups = fixed, []
            for count in counts:
                groups.append(operands[start : start + count])
                start += count
            return function(groups, *operands[:fixed])

        return call, slots
