"""Every weight of the smaller model holds what stays of the original's, entry by entry.

Runs show what inputs reach: a row of a table that no token asks for, or a unit behind a negative number, moves no
output. What is sliced and copied needs no run, so it is compared whole, with a mask in place of the knife's slices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce

import numpy as np
import onnx
import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.core.arrays import Array, Mask
from compressor.core.compare import same_bits
from compressor.errors import ProofFailed, tool_fault
from compressor.graph.ir.captures import nodes_by_name
from compressor.graph.ir.nodes import default_attribute, is_standard, operator_key, twin_of
from compressor.graph.tensors.weights import DerivedTensor, paired_weights, parts
from compressor.operators.table import operator_of
from compressor.pruning.proofs.graphs.written import told

_COUNTS = frozenset({ir.AttributeType.INT, ir.AttributeType.INTS})
LISTS = frozenset({ir.AttributeType.FLOATS, ir.AttributeType.STRINGS})
GRAPHS = frozenset({ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS})
MayFollow = Callable[[ir.Node, str], bool]


def never(_: ir.Node, __: str) -> bool:
    """No whole number among settings may be another one."""
    return False


def demand_exact(cut: ChannelMask, small: ir.Model) -> None:
    """Holds the weights of a smaller model against those of the one that was cut, bit by bit, and settings of nodes.

    Constants that a repair made have names of their own, and are for the runs to judge, as are whole numbers in
    attributes that follow what goes. An epsilon, a slope or a mode is what it was: runs see a small change of it only
    above their tolerance.

    Args:
        cut: what went, of the model that was analysed.
        small: what is left of it.

    Raises:
        ProofFailed: one holds something else.
    """

    def may_follow(node: ir.Node, name: str) -> bool:
        record = operator_of(node)
        follows = name in record.sizes.values() or record.repaired is not None
        held = node.attributes.get(name)
        return touched(cut, node) and (follows or (held is not None and held.type in LISTS))

    demand_settings(cut.coupling.graph, small.graph, may_follow=may_follow)
    for value, whole, kept in paired_weights(cut.coupling.graph, small.graph):
        # One object is equal to itself, and nothing was cut of it.
        if whole is kept:
            continue
        if tuple(kept.shape) != cut.after(value) or not stays(whole, kept, cut.mask(value)):
            raise tool_fault(f"weight {value.name!r} of the smaller model does not hold what stays of the original's")


def touched(cut: ChannelMask, node: ir.Node) -> bool:
    """Did channels go of what a node reads or makes?"""
    return any(value is not None and cut.factors(value) for value in (*node.inputs, *node.outputs))


def demand_settings(
    before: ir.Graph, after: ir.Graph, called: str = "the smaller model", may_follow: MayFollow = never
) -> None:
    """Holds settings of nodes against those of nodes of the same name and operator in another graph.

    New nodes have no numbers, such as an epsilon, that no node has which is gone, where one has a setting of that name.

    Args:
        before: the graph as it was.
        after: the graph that was made of it.
        called: what messages call that one.
        may_follow: may a whole number, an attribute of this name of a node of the graph as it was, follow what went?

    Raises:
        ProofFailed: a setting is another; one that is left out is the operator's default.
    """
    nodes, keys = nodes_by_name(before), {_key(node) for node in before.all_nodes()}
    # Nodes without a name in the file have one afterwards, so that all of theirs count as gone.
    gone = _only_in(before, after)
    # Of any name, since a fused node may call alpha what is activation_alpha there, or one of its activation_params.
    numbers = set[object]().union(*gone.values(), *map(_listed, _new_nodes(before, after)))
    for node in after.all_nodes():
        twin = twin_of(node, nodes)
        if twin is not None:
            _demand_kept(node, twin, called, may_follow)
        elif _key(node) not in keys:
            for name, value in _numbers(node).items():
                if name in gone and value not in numbers and not _is_default(node, name):
                    raise _foreign(node, name, called)


def _demand_kept(node: ir.Node, twin: ir.Node, called: str, may_follow: MayFollow) -> None:
    """Raises ProofFailed where a node has other settings than its twin in the graph as it was."""
    for name, attribute in twin.attributes.items():
        if attribute.is_ref() or attribute.type in GRAPHS or (attribute.type in _COUNTS and may_follow(twin, name)):
            continue
        left = node.attributes.get(name) or _default(twin, name)
        if left is None or not _stands_for(left, attribute, shorter=may_follow(twin, name)):
            raise tool_fault(f"attribute {name!r} of node {node.name!r} of {called} is not what the original has")
    for name in node.attributes.keys() - twin.attributes.keys():
        if not _is_default(node, name) and not may_follow(twin, name):
            raise _foreign(node, name, called)


def _foreign(node: ir.Node, name: str, called: str) -> ProofFailed:
    return tool_fault(f"attribute {name!r} of node {node.name!r} of {called} is none that the original has")


def became_constants(before: ir.Graph, after: ir.Graph) -> bool:
    """May a number be gone from settings, as an epsilon is that is now added by a node of its own?"""
    # What an operator that is not of the standard takes where nothing is said is not known here.
    if any(not (is_standard(node) and onnx.defs.has(node.op_type)) for node in _new_nodes(before, after)):
        return True
    new = _only_in(after, before)
    return any(numbers - new.get(name, set()) for name, numbers in _only_in(before, after).items())


def _only_in(graph: ir.Graph, other: ir.Graph) -> dict[str, set[object]]:
    """Numbers among the settings of nodes that the other graph does not have, by name of the setting."""
    found: dict[str, set[object]] = {}
    for node in _new_nodes(graph, other):
        for name, value in _numbers(node).items():
            found.setdefault(name, set()).add(value)
    return found


def _new_nodes(graph: ir.Graph, other: ir.Graph) -> Iterator[ir.Node]:
    known = {_key(node) for node in other.all_nodes()}
    return (node for node in graph.all_nodes() if _key(node) not in known)


def _key(node: ir.Node) -> tuple[str, str, str]:
    return str(node.name), *operator_key(node)


def _numbers(node: ir.Node) -> dict[str, object]:
    return {key: told(a) for key, a in node.attributes.items() if a.type == ir.AttributeType.FLOAT and not a.is_ref()}


def _listed(node: ir.Node) -> set[object]:
    """Numbers in lists among its settings, as :func:`_numbers` has those that stand alone."""
    lists = (a.value for a in node.attributes.values() if a.type == ir.AttributeType.FLOATS and not a.is_ref())
    return {told(ir.AttrFloat32("", number)) for numbers in lists for number in numbers}


def _default(node: ir.Node, name: str) -> ir.Attr | None:
    """What ONNX says of an attribute that is left out; None where it says nothing."""
    try:
        default = default_attribute(node.op_type, name) if is_standard(node) else None
    except (KeyError, onnx.defs.SchemaError):
        return None
    return None if default is None else ir.serde.deserialize_attribute(default)


def _is_default(node: ir.Node, name: str) -> bool:
    default = _default(node, name)
    return default is not None and told(default) == told(node.attributes[name])


def _stands_for(left: ir.Attr, whole: ir.Attr, *, shorter: bool) -> bool:
    """Is a setting what it was? A list may be ``shorter`` where channels went, as one of numbers by channel is."""
    if told(left) == told(whole) or not shorter or whole.type not in LISTS:
        return told(left) == told(whole)
    entries = iter(whole.value)
    return left.type == whole.type and all(any(entry == wanted for entry in entries) for wanted in left.value)


def stays(whole: ir.TensorProtocol, kept: ir.TensorProtocol, mask: Mask | None) -> bool:
    """Does ``kept`` hold the entries of ``whole`` that ``mask`` keeps, in their order?"""
    if whole.dtype != kept.dtype:
        return False
    if mask is None and tuple(whole.shape) != tuple(kept.shape):
        return False
    given = kept.pieces() if isinstance(kept, DerivedTensor) else iter([kept.numpy()])
    wanted = _kept_of(whole, mask)
    if not isinstance(kept, DerivedTensor):
        # The same parts on both sides are needed only where neither is held whole.
        wanted = iter([np.concatenate([np.ravel(part) for part in wanted])])
    return all(same_bits(one.ravel(), two.ravel()) for one, two in zip(wanted, given, strict=True))


def _kept_of(whole: ir.TensorProtocol, mask: Mask | None) -> Iterator[Array]:
    for first, rows in parts(whole):
        if mask is None:
            yield rows
            continue
        own = mask[first : first + len(rows)] if mask.shape[0] > 1 else mask
        yield _taken(rows, own)


def _taken(rows: Array, mask: Mask) -> Array:
    """The entries of ``rows`` that the mask keeps, in their order."""
    axes = [a for a, size in enumerate(mask.shape) if size > 1]
    kept = [mask.any(axis=tuple(b for b in range(mask.ndim) if b != a), keepdims=True) for a in axes]
    # Mostly what stays of one axis is the same for all of the others, which is much faster to take.
    if axes and np.array_equal(np.broadcast_to(reduce(np.logical_and, kept), mask.shape), mask):
        for axis, own in zip(axes, kept, strict=True):
            rows = np.compress(own.ravel(), rows, axis=axis)
        return rows
    return rows[np.broadcast_to(mask, rows.shape)]
