"""Products with weights of few bits in blocks, and tables of such (MatMulNBits, GatherBlockQuantized of ONNX Runtime).

A block of inputs shares a scale, and several numbers share a byte: outputs go one by one, inputs in whole blocks.
Source: ContribOperators.md of ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import Coupling, Unexplained
from compressor.channels.labels import Role, Term, UnitArray
from compressor.graph.ir.nodes import MICROSOFT
from compressor.graph.sizes.contrib import Follows
from compressor.graph.sizes.shape_rules import DimShape, Operands
from compressor.operators.facts import PACKED
from compressor.operators.operator import Operator, required
from compressor.operators.signature import Call, name_axes

ZERO_POINTS, GROUP_INDEX = 3, 4


def _matmul(call: Call) -> str:
    """Blocks of inputs that share a scale go as wholes.

    Zero points of few bits share bytes as well: then as many blocks as a byte holds go together (``bundle``).

    Raises:
        Unexplained: the weight is in another order, or has not three axes.
    """
    if (len(call.inputs) > GROUP_INDEX and call.inputs[GROUP_INDEX] is not None) or call.attribute("weight_prepacked"):
        raise Unexplained("has weights in another order")
    weight = call.shape(1)
    if len(weight) != 3:
        raise Unexplained(f"has a weight of {len(weight)} axes")
    rows, blocks = weight[:2]
    held = _blocks_of_entry(call, rows, blocks)
    full = blocks * call.attribute("block_size") == call.attribute("K")
    # Blocks go as wholes; where the last one is not full, or shares its entry unevenly, none can go.
    if not full or blocks % held:
        block, entry, data = "[blocks]", "[entries]" if held > 1 else "[blocks]", "[k]"
    elif held > 1:
        block, entry, data = "bundles [bundle]", "bundles", "(bundles [bundle] [inside])"
    else:
        block, entry, data = "blocks", "blocks", "(blocks [inside])"
    along = f"({block})" if " " in block else block
    scales = f"n {along}" if call.rank(2) == 2 else f"(n {block})"
    zeros = f"n {entry}" if call.rank(3) == 2 else f"(n {entry})"
    return f"*b {data}, n {along} [bytes], {scales}, {zeros}?, [*g]?, n? -> *b n"


def _blocks_of_entry(call: Call, rows: int, blocks: int) -> int:
    """How many blocks have their zero points in one entry: several in a byte, or one in a number of its own."""
    points = call.inputs[ZERO_POINTS] if len(call.inputs) > ZERO_POINTS else None
    if points is None or prod(points) == rows * blocks:
        return 1
    return 8 // (call.attribute("bits", 4) or 4)


def give_units(coupling: Coupling, value: ir.Value, axis: int, units: UnitArray, role: Role) -> None:
    """Labels an axis of a weight with units that its positions share, unless it has labels already."""
    deferred = coupling.deferred(value)
    if deferred is not None and axis in deferred.open:
        deferred.terms.append(Term((axis,), units))
        deferred.open.discard(axis)
        deferred.roles[axis] = role


def _share_columns(node: ir.Node, coupling: Coupling, combine: Callable[[], None]) -> None:
    """Gives the columns of a table units: those that share a scale, or the byte of their zero points, are one."""
    data, scales = required(node, 0), required(node, 2)
    found = name_axes(_table(Call.of(node, coupling)), Call.of(node, coupling))
    count = found.sizes.get("bundles", coupling.shape(scales)[1])
    if not data.is_initializer():
        raise Unexplained("reads a table that is no constant")
    units = coupling.hidden_units(data, count)
    give_units(coupling, data, 1, np.repeat(units, coupling.shape(data)[1] // count), "out")
    combine()


def _table(call: Call) -> str:
    """A table whose rows are picked; its columns go in blocks that share a scale, as inputs of a product do.

    Raises:
        Unexplained: other axes are picked or quantised, or the last block is not full.
    """
    data, scales, points = (call.inputs[k] if k < len(call.inputs) else None for k in (0, 2, 3))
    if data is None or scales is None or len(data) != 2 or call.attribute("gather_axis") % 2:
        raise Unexplained("picks from something else than the rows of a matrix")
    if call.attribute("quantize_axis", 1) % 2 != 1 or scales[0] != data[0]:
        raise Unexplained("has no scales along the columns")
    width, blocks = call.outputs[0], scales[1]
    if width is None or width[-1] != blocks * call.attribute("block_size", 128):
        raise Unexplained("has a last block that is not full")
    held = 1 if points is None or points == scales else 8 // call.attribute("bits", 4)
    if held == 1:
        return "[v] (blocks [bytes]), *i, [v] blocks, [v] blocks? -> *i (blocks [inside])"
    if blocks % held:
        raise Unexplained("has zero points of a last block that share no byte evenly")
    block = "bundles [bundle]"
    return f"[v] ({block} [bytes]), *i, [v] ({block}), [v] bundles -> *i ({block} [inside])"


def _work(call: Call) -> str:
    """Outputs times inputs, of which the last axis of the data holds all."""
    return f"*b n {_matmul(call).partition(',')[0].removeprefix('*b ')}"


def _product_shapes(of: Operands) -> list[DimShape | None] | None:
    """Shape of MatMulNBits: the first input's, with attribute ``N`` for its last size."""
    one, rows = of.shape(0), of.node.attributes.get_int("N", 0)
    return None if one is None or not rows else [(*one[:-1], rows)]


def _table_shapes(of: Operands) -> list[DimShape | None] | None:
    """Shape of GatherBlockQuantized: rows of a matrix, picked by indices of any rank.

    The rows hold as many numbers as there are in the blocks of their scales, or fewer where the last one is not full:
    as many as the data has, which packs several into a byte.
    """
    data, picked, scales = (of.shape(k) for k in range(3))
    size = of.node.attributes.get_int("block_size", 128)
    if (
        data is None
        or picked is None
        or scales is None
        or len(data) != 2
        or of.node.attributes.get_int("gather_axis", 0) != 0
    ):
        return None
    columns, blocks = data[1], scales[1]
    if not isinstance(columns, int) or not isinstance(blocks, int):
        return None
    # Numbers of less than a byte are one each in types of their own, and several in a byte otherwise.
    value = of.node.inputs[0]
    whole = value is not None and value.dtype == ir.DataType.UINT8
    many = columns * (8 // of.node.attributes.get_int("bits", 4) if whole else 1)
    return [(*picked, many)] if (blocks - 1) * size < many <= blocks * size else None


OPERATORS = (
    Operator(
        "MatMulNBits",
        MICROSOFT,
        shapes=Follows(_product_shapes),
        kernelless=PACKED,
        signature=_matmul,
        sizes={"n": "N", "inside": "block_size", "(blocks inside)": "K", "(bundles bundle inside)": "K"},
        work=_work,
        heads=True,
        bias=5,
        packed={1: "bits"},
        scales=(2,),
        settings=(3, 4),
    ),
    Operator(
        "GatherBlockQuantized",
        MICROSOFT,
        shapes=Follows(_table_shapes, typed_by=2),
        kernelless=PACKED,
        signature=_table,
        around=_share_columns,
        packed={0: "bits"},
        scales=(2,),
        settings=(2, 3),
        tables={1: 0},
        differentiable=False,
    ),
)
