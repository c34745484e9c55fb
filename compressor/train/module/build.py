"""From a graph to a program: places values, folds constants, prepares a call for every node."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import torch

from compressor.errors import UnsupportedOperator
from compressor.graph.form.fuse import DOMAIN
from compressor.graph.ir.nodes import is_standard, operator_key
from compressor.operators.facts import Host
from compressor.operators.table import operator_of
from compressor.torch_ops.site import Function, Told
from compressor.torch_ops.table import FUNCTIONS
from compressor.train.module.describe import on_int64, site_of
from compressor.train.module.placement import read_on_host
from compressor.train.module.program import DEVICE, FIRST, HOST, NOTHING, TRAINING, NodeBody, Program, Step, released

ENTRY_LIMIT = 1 << 16
"""Entries of the largest operand of a node that is computed once and for all."""

Key = tuple[ir.Value, bool]
"""A value, and whether it is wanted on the host."""


def check_supported(graph: ir.Graph) -> None:
    """Every node of the graph, and of graphs in it, has a function.

    Raises:
        UnsupportedOperator: one has none.
    """
    for node in graph.all_nodes():
        # Checked for the whole graph at once, so that a user sees the first missing operator before any work is done.
        if node.domain == DOMAIN or operator_key(node) not in FUNCTIONS:
            where = f" of domain {node.domain!r}" if not is_standard(node) else ""
            fact = operator_of(node).kernelless or "has no function in torch"
            raise UnsupportedOperator(
                f"{node.op_type} node {node.name!r}{where} {fact}; replace the operator, or do without fine-tuning"
            )


class Builder:
    """Builds the program of one graph; those of graphs inside it by builders of their own.

    Attributes:
        captured: what the program reads from outside, in the order in which it wants it after its inputs.

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
        self.captured: list[Key] = []
        self._graph, self._opset, self._constants = graph, opset, constants
        self._outer, self._train_bn = outer, train_bn
        # Found once over the whole model: what a body reads on the host decides where values outside of it live.
        self._read: set[ir.Value] = outer._read if outer is not None else read_on_host(graph)
        self._host: set[ir.Value] = set()
        self._slots: dict[Key, int] = {}
        self._template: list[Any] = [None] * FIRST
        self._template[HOST] = torch.device("cpu")
        self._steps: list[Step] = []

    def build(self) -> Program:
        """The program; its entry are the graph's inputs and then what was captured."""
        inputs = [self._new((value, False)) for value in self._graph.inputs if not value.is_initializer()]
        for node in self._graph:
            self._add(node)
        results = tuple(self.slot(value, host=False) for value in self._graph.outputs)
        entry = (*inputs, *(self._slots[key] for key in self.captured))
        return Program(released(self._steps, results), tuple(self._template), entry, results)

    def slot(self, value: ir.Value | None, *, host: bool) -> int:
        """The slot that holds the value, moved to the device if it lies on the host and is not wanted there."""
        if value is None:
            return NOTHING
        key = (value, host)
        if key in self._slots:
            return self._slots[key]
        if value in self._constants:
            # A constant on the host goes into the template; one on the device is captured, since the module moves it
            # there.
            return self._new(key, self._constants[value]) if host else self._capture(key)
        if (value, not host) in self._slots:
            there = self._slots[value, not host]
            # Made on the device and wanted on the host: the function reads it where it is, and waits for it.
            if host:
                return there
            self._emit(_move, (DEVICE, there), (self._new(key),), f"value {value.name!r}")
            return self._slots[key]
        return self._capture((value, host and self._on_host(value)))

    def _on_host(self, value: ir.Value) -> bool:
        return value in self._host or (self._outer is not None and self._outer._on_host(value))

    def _capture(self, key: Key) -> int:
        if key not in self._slots:
            self._new(key)
            self.captured.append(key)
        return self._slots[key]

    def _new(self, key: Key, value: object = None) -> int:
        self._slots[key] = len(self._template)
        self._template.append(value)
        return self._slots[key]

    def _emit(self, call: Function, inputs: tuple[int, ...], outputs: tuple[int, ...], label: str) -> None:
        self._steps.append(Step(call, inputs, outputs, (), label))

    def _add(self, node: ir.Node) -> None:
        bodies, captured = self._bodies(node)
        site = site_of(node, self._opset, self._constants, bodies, self._train_bn)
        on_host = self._stays_on_host(node)
        # Types that torch only half knows are widened around the function, whatever it is.
        function = on_int64(node, FUNCTIONS[operator_key(node)](site))
        if self._fold(node, function):
            return
        reads = operator_of(node).host
        slots = [self.slot(v, host=on_host or k in reads) for k, v in enumerate(node.inputs)]
        slots += [self.slot(value, host=host) for value, host in captured]
        outputs = tuple(self._new((v, on_host)) for v in node.outputs)
        if on_host:
            self._host.update(node.outputs)
        inputs = (*_leading(node, on_host), *slots)
        self._emit(function, inputs, outputs, f"{node.op_type} node {node.name!r}")

    def _bodies(self, node: ir.Node) -> tuple[dict[str, NodeBody], list[Key]]:
        """The graphs inside a node, and what they read from outside: operands that follow the node's own."""
        found: dict[str, NodeBody] = {}
        captured: list[Key] = []
        for name, attribute in node.attributes.items():
            if attribute.type != ir.AttributeType.GRAPH:
                continue
            inner = Builder(attribute.as_graph(), self._opset, self._constants, outer=self, train_bn=self._train_bn)
            program = inner.build()
            start = len(node.inputs) + len(captured)
            captured += inner.captured
            found[name] = NodeBody(program, slice(start, len(node.inputs) + len(captured)))
        return found, captured

    def _stays_on_host(self, node: ir.Node) -> bool:
        where = operator_of(node).on_host
        if where == Host.ALWAYS:
            return True
        values = [v for v in node.inputs if v is not None]
        if where == Host.NEVER or not any(self._on_host(v) for v in values):
            return False
        if where == Host.GROWS and not any(v in self._read for v in node.outputs):
            return False
        return all(self._on_host(v) or v in self._constants for v in values)

    def _fold(self, node: ir.Node, function: Function) -> bool:
        """Computes a node of shape arithmetic whose operands never change; what it makes never changes either."""
        values = [self._constants.get(v) if v is not None else None for v in node.inputs]
        known = [v for v in values if v is not None]
        # An input that is left out does not count as unknown.
        if operator_of(node).on_host == Host.NEVER or not known or len(known) < sum(v is not None for v in node.inputs):
            return False
        # A large constant would be kept a second time, as what it folds to.
        if any(v.numel() > ENTRY_LIMIT for v in known):
            return False
        leading = [torch.device("cpu")] * len(_leading(node, True))
        result = function(*leading, *values)
        made = result if type(result) is tuple else (result,)
        if any(v.numel() > ENTRY_LIMIT for v in made):
            return False
        # A copy, as a result may be a view of its operand.
        self._constants.update(zip(node.outputs, (v.clone() for v in made), strict=False))
        return True


def _leading(node: ir.Node, on_host: bool) -> tuple[int, ...]:
    """What a function takes before the node's inputs."""
    maker, slots = FUNCTIONS[operator_key(node)], {"device": HOST if on_host else DEVICE, "training": TRAINING}
    return tuple(slots[name] for name in maker.first) if isinstance(maker, Told) else ()


def _move(device: torch.device, value: torch.Tensor) -> torch.Tensor:
    return value.to(device, non_blocking=True)
