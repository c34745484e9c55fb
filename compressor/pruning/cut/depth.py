"""Residual blocks as channels of a group of their own: found, ranked by what they add, and taken out.

A sum of a value (the skip) and a branch that is computed from it is an identity where the branch is zero. Each such
block is a unit that has no place in any tensor; whatever chooses units chooses among blocks too. In the masked
reference the branch is set to zero; in the smaller model the sum is the skip, and what only the branch needed goes as
dead code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.coupling import Coupling
from compressor.channels.residual import DEPTH, ResidualBlock
from compressor.config.selection import SelectionSection
from compressor.core.arrays import Array
from compressor.core.globs import any_match
from compressor.graph.ir.captures import captured_values, nodes_by_name, nodes_inside
from compressor.graph.ir.nodes import become_identity, input_of, optional_input
from compressor.graph.tensors.weights import parts
from compressor.operators.constants import Constants
from compressor.operators.reference import Reference
from compressor.operators.table import adds, operator_of
from compressor.pruning.budgets.curves import Curves, GroupScores, LossCurve

TERMS = 2
"""Operands of the sum that ends a residual block."""


def attach_blocks(coupling: Coupling, settings: SelectionSection) -> None:
    """Gives a unit of ``coupling`` to every residual block that the globs leave, in the order of the graph."""
    allowed = [
        block
        for block in find_blocks(coupling)
        if (not settings.include or any_match([DEPTH, *block.names], settings.include))
        and not any_match([DEPTH, *block.names], settings.exclude)
    ]
    units = coupling.units.fresh(len(allowed)).tolist()
    coupling.blocks = tuple(replace(block, unit=unit) for block, unit in zip(allowed, units, strict=True))


def find_blocks(coupling: Coupling) -> list[ResidualBlock]:
    """The residual blocks of the main graph whose branch multiplies something, in the order of the graph."""
    sums = [
        (node, branch)
        for node in coupling.graph
        if adds(node)
        for branch in range(TERMS)
        if _left_alone(node, branch, coupling)
    ]
    # A bit for each value that is added to: one walk then shows for every value which of them it was computed from.
    skips = {value: 1 << k for k, value in enumerate(dict.fromkeys(node.inputs[1 - branch] for node, branch in sums))}
    follows = _dependence(coupling.graph, skips)
    blocks = []
    for node, branch in sums:
        # What is left without the branch is the other operand: an identity only where the branch starts from that.
        if not follows.get(node.inputs[branch], 0) & skips[node.inputs[1 - branch]]:
            continue
        gone = _goes_with(node, branch)
        if any(operator_of(n).multiplies for n in gone):
            blocks.append(ResidualBlock(node, branch, frozenset(gone), frozenset(_weights_of(gone))))
    return blocks


def _left_alone(node: ir.Node, branch: int, coupling: Coupling) -> bool:
    """Is the sum the other operand, of the same type and sizes, where the branch is zero?"""
    shapes, out, skip = coupling.shapes, node.outputs[0], node.inputs[1 - branch]
    if skip is None or node.inputs[branch] is None or skip.is_initializer():
        return False
    dtype = shapes.dtype(out)
    real = dtype is not None and dtype.is_floating_point()
    same = shapes(out) is not None and shapes(out) == shapes(skip)
    # Equal sizes at the probe may differ at others, where one is fixed and the other open.
    return real and same and list(shapes.dynamic(out)) == list(shapes.dynamic(skip))


def _dependence(graph: ir.Graph, skips: Mapping[ir.Value | None, int]) -> dict[ir.Value | None, int]:
    """From which of the ``skips`` every value of the main graph is computed, itself included: the sum of their bits.

    One pass for all of them, as a graph has as many sums as layers.
    """
    dependence = dict(skips)
    for node in graph:
        read = 0
        for value in (*node.inputs, *captured_values(node)):
            read |= dependence.get(value, 0)
        for value in node.outputs if read else ():
            dependence[value] = read | skips.get(value, 0)
    return dependence


def _goes_with(node: ir.Node, branch: int) -> set[ir.Node]:
    """The nodes that nothing needs once the branch is gone, those in bodies included."""
    gone: set[ir.Node] = set()
    pending = [node.inputs[branch]]
    while pending:
        value = pending.pop()
        maker = None if value is None else value.producer()
        # A maker is asked again whenever one more of its readers goes.
        if maker is None or maker in gone or any(v.is_graph_output() for v in maker.outputs):
            continue
        uses = [(user, index) for output in maker.outputs for user, index in output.uses()]
        if all(user in gone or (user is node and index == branch) for user, index in uses):
            gone |= {maker, *nodes_inside(maker)}
            pending += [*maker.inputs, *captured_values(maker)]
    return gone


def _weights_of(gone: Iterable[ir.Node]) -> Iterable[ir.Value]:
    """Initializers that only these nodes read."""
    nodes = set(gone)
    read = dict.fromkeys(v for node in nodes for v in node.inputs if v is not None and v.is_initializer())
    return (v for v in read if all(user in nodes for user, _ in v.uses()) and not v.is_graph_output())


# ---- ranking ----------------------------------------------------------------------------------------------------


def rank_blocks(coupling: Coupling, runs: Iterable[Sequence[Array]] | None) -> None:
    """Puts the blocks of ``coupling`` in the order in which they go, those that add least first.

    Args:
        coupling: its blocks have units.
        runs: for some inputs, the branch and the sum of every block in turn; None: weights stand in for them.
    """
    energy = np.zeros((len(coupling.blocks), TERMS))
    for arrays in runs if runs is not None else ():
        energy += np.reshape([_energy(array) for array in arrays], energy.shape)
    if runs is None:
        energy = np.asarray([_weight_energy(block.weights) for block in coupling.blocks]).reshape(energy.shape)
    shares = np.nan_to_num(energy[:, 0] / np.maximum(energy[:, 1], np.finfo(np.float64).tiny))
    ranked = sorted(zip(shares.tolist(), coupling.blocks, strict=True), key=lambda pair: pair[0])
    # Units stay in ascending order, as positions of a group do.
    units = sorted(block.unit for block in coupling.blocks)
    pairs = zip(units, ranked, strict=True)
    coupling.blocks = tuple(replace(block, unit=unit, influence=share) for unit, (share, block) in pairs)


def _energy(array: Array) -> float:
    return float(np.square(array.astype(np.float32)).sum(dtype=np.float64))


def _weight_energy(weights: Iterable[ir.Value]) -> tuple[float, float]:
    """The energy of real weights, and their number."""
    tensors = [v.const_value for v in weights if v.const_value is not None and v.const_value.dtype.is_floating_point()]
    total = sum(_energy(part) for tensor in tensors for _, part in parts(tensor))
    return total, float(sum(int(tensor.size) for tensor in tensors))


def with_depth(curves: Curves, ranked: GroupScores) -> Curves:
    """The curves, that of the blocks from those of the groups inside them.

    A branch is zero where all channels of a group inside it are gone, so that a block loses what such a group does. Of
    several groups the one that loses most counts; a block without any is worth what others of its influence are.
    """
    deeper = dict(curves)
    for depth in (group for group in ranked if group.blocks):
        inside = [
            [curves[g.name].losses[-1] for g in ranked if g.slots and all(s.value in block.weights for s in g.slots)]
            for block in depth.blocks
        ]
        known = list(zip(depth.blocks, inside, strict=True))
        worth = [max(lost) / max(block.influence, 1e-12) for block, lost in known if lost]
        if worth:
            usual = float(np.median(worth))
            each = [max(lost, default=usual * block.influence) for block, lost in known]
            # Blocks go in the order of their group, so the loss of so many of them is the sum so far.
            order = curves[depth.name].order
            losses = np.concatenate([[0.0], np.cumsum(each)])[: len(order) + 1]
            deeper[depth.name] = LossCurve(order, losses)
    return deeper


# ---- what is without loss ---------------------------------------------------------------------------------------


def idle_blocks(coupling: Coupling, constants: Constants) -> list[ResidualBlock]:
    """Blocks whose branch is zero whatever the input is."""
    return [b for b in coupling.blocks if _is_zero(b.sum.inputs[b.branch], constants)]


def _is_zero(value: ir.Value | None, constants: Constants) -> bool:
    """Is every entry zero, as far as weights of zero and operators that keep zeros show?"""
    if value is None:
        return False
    if constants.static(value):
        array = constants.array(value)
        return array is not None and not array.any()
    node = value.producer()
    if node is None:
        return False
    rule = operator_of(node)

    def zero(index: int) -> bool:
        return _is_zero(optional_input(node, index), constants)

    def absent(index: int) -> bool:
        return optional_input(node, index) is None

    if rule.keeps_zero or rule.moves:
        return zero(0)
    # A sum is zero if all of its terms are, a product if one factor is; a layer and its bias are both.
    count = range(len(node.inputs))
    summed = [k for k in count if k in rule.addends or k in rule.subtracted or k == rule.bias]
    if not all(absent(k) or zero(k) for k in summed):
        return False
    multiplied = [k for k in count if k in rule.factors or k in rule.scale]
    return any(zero(k) for k in multiplied) if multiplied else bool(summed)


# ---- taking out -------------------------------------------------------------------------------------------------


def take_out(cut: ChannelMask, graph: ir.Graph) -> None:
    """Makes the sums of blocks that go hand on their skips, in place; ``graph`` is a copy of what was analysed."""
    nodes = nodes_by_name(graph)
    for block in cut.blocks:
        node = nodes[str(block.sum.name)]
        skip = input_of(node, 1 - block.branch)
        become_identity(node, skip)


def silence(cut: ChannelMask, reference: Reference) -> None:
    """Sets the branches of blocks that go to zero in the masked reference."""
    nodes = nodes_by_name(reference.graph)
    for block in cut.blocks:
        reference.silence(nodes[str(block.sum.name)], block.branch)


def heard(reference: ir.Model, blocks: Iterable[ResidualBlock]) -> ir.Model:
    """A clone of a masked reference in which the branches of these blocks count."""
    clone = reference.clone()
    nodes = nodes_by_name(clone.graph)
    for block in blocks:
        node = nodes[str(block.sum.name)]
        masked = node.inputs[block.branch]
        silenced = None if masked is None else masked.producer()
        assert silenced is not None
        node.replace_input_with(block.branch, silenced.inputs[1])
    return clone
