"""Which weights are unified: those of linear operators, found by how the operators' rules read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.channels.node_operands import NodeOperands
from compressor.config import BlockShape, UnifySettings
from compressor.core.arrays import Array
from compressor.core.globs import any_match
from compressor.errors import UsageError
from compressor.graph.ir.captures import captured_values
from compressor.graph.ir.exporter_metadata import readable
from compressor.graph.ir.nodes import REALS
from compressor.operators.table import operator_of
from compressor.pruning.budgets import cost
from compressor.pruning.cut.matching import nearest
from compressor.unification.layout import Blocking, CanonicalAxes
from compressor.unification.packed_codebook import worthwhile


@dataclass(frozen=True)
class UnifiedLayer:
    """A weight that is unified.

    Attributes:
        value: the initializer.
        layout: its blocks.
        nodes: names of the nodes that it is the weight of.
        macs: multiply-accumulates of those nodes.
        curvature: how much a change of each weight matters, of the weight's shape; None: all alike.
    """

    value: ir.Value
    layout: Blocking
    nodes: tuple[str, ...]
    macs: int
    curvature: Array | None = None

    @property
    def name(self) -> str:
        """Name of the initializer."""
        return str(self.value.name)

    @property
    def label(self) -> str:
        """What reports call it: where its name says nothing of where it is, the module that reads it."""
        return readable(self.value)


@dataclass(frozen=True)
class Left:
    """An initializer that is left alone, and why; ``label`` as of a :class:`UnifiedLayer`."""

    name: str
    weights: int
    reason: str
    label: str = ""


@dataclass
class FoundWeights:
    """The weights of a model: unified, or left alone."""

    layers: list[UnifiedLayer] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)


class _Refused(Exception):  # noqa: N818 - control flow: the weight is left alone, for this reason
    """Why a weight is left alone."""


@dataclass(frozen=True)
class _Use:
    """A weight as one linear node reads it."""

    node: ir.Node
    view: CanonicalAxes


def find_weights(coupling: Coupling, settings: UnifySettings) -> FoundWeights:
    """Every floating-point initializer of the main graph, unified or left alone with a reason.

    Raises:
        UsageError: a glob of the settings matches no weight, or a block that was chosen for a layer is larger.
    """
    return _Search(coupling, settings).run()


@dataclass(frozen=True)
class _Globs:
    """Is a weight included and excluded by a glob?"""

    included: bool
    excluded: bool


class _Search:
    def __init__(self, coupling: Coupling, settings: UnifySettings) -> None:
        self.coupling, self.settings = coupling, settings
        self.graph = coupling.graph
        self.captured = {v for node in self.graph for v in captured_values(node)}
        self.uses = {v: list(self._uses(v)) for v in self.graph.initializers.values()}
        self.matched: set[str] = set()

    def run(self) -> FoundWeights:
        first, last = self._ends()
        found = FoundWeights()
        for value, uses in self.uses.items():
            tensor = value.const_value
            # Integers that no linear operator reads are no weights, and not worth a line in the report.
            if tensor is None or not (tensor.dtype in REALS or uses):
                continue
            try:
                found.layers.append(self._layer(value, tensor, first, last))
            except _Refused as refusal:
                found.left.append(Left(str(value.name), tensor.size, str(refusal), readable(value)))
        self._check_globs()
        return found

    def _layer(
        self, value: ir.Value, tensor: ir.TensorProtocol, first: set[ir.Node], last: set[ir.Node]
    ) -> UnifiedLayer:
        names = list(dict.fromkeys([str(value.name), readable(value), *(str(node.name) for node, _ in value.uses())]))
        # Both are always asked, so that a glob that another setting overrules still counts as one that matched.
        own, tried = self._chosen(names), self._tried(names)
        view = self._view(value, tensor)
        nodes = [use.node for use in self.uses[value]]
        # A block that was named for this very weight overrules every default.
        if own is None:
            self._defaults(tried, nodes, tensor.size, first, last)
            if view.roles.count("i") == 0 or view.canonical[2] == 1:
                raise _Refused("each filter sees one input channel (depthwise), or none")
        # The mean of a block with one NaN would make all of it NaN.
        if not np.isfinite(tensor.numpy()).all():
            raise _Refused("it holds values that are not finite")
        layout = Blocking(view, BlockShape.parse(own or self.settings.wanted_block))
        # Codes are no gain for a small tensor with a large table.
        if layout.block.values and not worthwhile(layout, tensor.nbytes):
            self._no_gain(value, layout, own)
        if not layout.fits:
            self._too_large(value, layout, own)
        macs = cost.graph_macs(nodes, self.coupling.shapes)
        return UnifiedLayer(value, layout, tuple(str(node.name) for node in nodes), macs)

    def _no_gain(self, value: ir.Value, layout: Blocking, own: str | None) -> None:
        fact = f"a codebook of {layout.block.values} values takes more than its {layout.n * layout.count} weights do"
        if own is not None:
            raise UsageError(f"weight {value.name!r}: {fact}; take fewer values for it")
        raise _Refused(fact)

    def _too_large(self, value: ir.Value, layout: Blocking, own: str | None) -> None:
        groups, outputs, inputs, taps = layout.view.canonical
        size = f"{outputs}x{inputs}x{taps}" + (f" in each of {groups} groups" if groups > 1 else "")
        fact = "is larger than" if layout.n > 1 else "holds a single weight of"
        if own is not None:
            raise UsageError(f"block {own} {fact} weight {value.name!r} ({size}); choose another block for it")
        raise _Refused(f"block {self.settings.wanted_block} {fact} it")

    # ---- settings -------------------------------------------------------------------------------------------

    def _chosen(self, names: list[str]) -> str | None:
        """The block that was chosen for this very weight."""
        for glob, block in self.settings.layer_block:
            if self._matches(glob, names):
                return block
        return None

    def _tried(self, names: list[str]) -> _Globs:
        """Whether the weight is included and excluded by a glob; every glob is tried."""
        included, excluded = (
            [glob for glob in globs if self._matches(glob, names)]
            for globs in (self.settings.include, self.settings.exclude)
        )
        return _Globs(bool(included), bool(excluded))

    def _defaults(
        self, tried: _Globs, nodes: list[ir.Node], size: int, first: set[ir.Node], last: set[ir.Node]
    ) -> None:
        """Raises _Refused where the settings leave a weight alone."""
        settings, included, excluded = self.settings, tried.included, tried.excluded
        if settings.include and not included:
            raise _Refused("it is not included")
        if excluded:
            raise _Refused("it is excluded")
        if size < settings.min_weights:
            raise _Refused(f"it has fewer than {settings.min_weights} weights")
        for ends, place in ((first, "first"), (last, "last")):
            if not settings.all_layers and not included and set(nodes) & ends:
                raise _Refused(f"it is in the {place} layer")

    def _matches(self, glob: str, names: list[str]) -> bool:
        found = any_match(names, [glob])
        if found:
            self.matched.add(glob)
        return found

    def _check_globs(self) -> None:
        globs = [*(g for g, _ in self.settings.layer_block), *self.settings.include, *self.settings.exclude]
        missed = [glob for glob in globs if glob not in self.matched]
        if missed:
            near = nearest(missed[0], self.coupling.graph.initializers)
            raise UsageError(f"{missed[0]!r} matches no weight, nor its node; {near}")

    # ---- how operators read weights -------------------------------------------------------------------------

    def _view(self, value: ir.Value, tensor: ir.TensorProtocol) -> CanonicalAxes:
        uses = self.uses[value]
        if not uses:
            raise _Refused("it is no weight of a linear operator")
        if tensor.dtype not in REALS:
            raise _Refused(f"its type is {tensor.dtype.name.lower()}")
        if value.is_graph_output() or value in self.captured:
            raise _Refused("it is an output of the model, or a subgraph reads it")
        others = [node for node, _ in value.uses() if node not in {use.node for use in uses}]
        if others:
            raise _Refused(f"{others[0].op_type} {str(others[0].name)!r} reads it too")
        # Blocks lie along outputs and inputs, which have to be the same for all that read the weight.
        if len({use.view for use in uses}) > 1:
            raise _Refused("its nodes read it in different ways")
        return uses[0].view

    def _uses(self, value: ir.Value) -> Iterator[_Use]:
        for node in dict.fromkeys(node for node, _ in value.uses()):
            operands = self.coupling.node_operands.get(node)
            if operands is None or not operator_of(node).multiplies:
                continue
            found = _read(value, operands, self.coupling.shapes(value))
            if found is not None:
                yield _Use(node, found)

    def _ends(self) -> tuple[set[ir.Node], set[ir.Node]]:
        """Linear nodes with no other linear node before them, and with none behind them."""
        linear = {use.node for uses in self.uses.values() for use in uses}
        behind: dict[ir.Value, bool] = {}
        first: set[ir.Node] = set()
        for node in self.graph:
            seen = any(behind.get(v, False) for v in [*node.inputs, *captured_values(node)] if v is not None)
            # In the order of the graph, which is sorted: what is behind a linear node has been seen by then.
            if node in linear and not seen:
                first.add(node)
            behind |= dict.fromkeys(node.outputs, seen or node in linear)
        before: dict[ir.Value, bool] = {}
        last: set[ir.Node] = set()
        for node in reversed(self.graph):
            seen = any(before.get(v, False) for v in node.outputs)
            if node in linear and not seen:
                last.add(node)
            for value in [*node.inputs, *captured_values(node)]:
                if value is not None:
                    # Values that bodies read count as read here, or the layer before a Loop would be the last.
                    before[value] = before.get(value, False) or seen or node in linear
        return first, last


def _read(value: ir.Value, operands: NodeOperands, shape: tuple[int, ...] | None) -> CanonicalAxes | None:
    """How a node reads the weight ``value``, by the names of its axes; None where it is a bias, a scale or a table.

    A name in the weight and in an output only counts outputs, in the weight and in an activation only is summed over,
    in all three it counts groups, and in the weight alone it is a tap of the kernel.
    """
    part = next((p for p in operands.parts if p.value is value), None)
    others = {n for p in operands.parts if p.value is not value and not p.value.is_initializer() for n in p.names}
    if part is None or shape is None or not others or all(name in operands.kept for name in part.names):
        return None
    kinds = {(True, False): "o", (True, True): "g", (False, True): "i", (False, False): "t"}
    roles = "".join(kinds[name in operands.kept, name in others] for name in part.names)
    split = tuple(operands.sizes[name] for name in part.names)
    # A broadcast axis is not told apart, so that the weight cannot be read as these axes.
    if prod(split) != prod(shape):
        return None
    return CanonicalAxes(shape, split, roles)
