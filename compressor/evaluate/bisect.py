"""Where two models part: the first value, in the order of the nodes, that differs beyond tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.core.compare import Tolerance, distance
from compressor.errors import ModelError
from compressor.evaluate.pair import Opened, Placed, cast
from compressor.graph.sizes.shapes import Shapes
from compressor.operators.sizes import infer
from compressor.results.verify import LayerError

SESSIONS = 8
"""Sessions of each model that one pass opens at most."""
UNKNOWN_BYTES = 1 << 20
"""Bytes that a value of unknown shape is taken for."""


@dataclass(frozen=True)
class BisectLimits:
    """What counts as equal, and how much may be held at a time.

    Attributes:
        rtol, atol: as for outputs.
        memory: bytes of values that one session may expose.
    """

    rtol: float
    atol: float
    memory: int


@dataclass
class FirstDifference:
    """What was found.

    Attributes:
        first: the first value beyond tolerance; None where every value that was compared agrees.
        layers: every value compared, in the order of the nodes of A.
        weights: initializers of the node of ``first`` whose values differ.
        shared: values that both models compute under one name.
        total: values that nodes of A compute.
        sessions: sessions of each model that were opened.
        resized: values before ``first``, in the order of A, that have other sizes in B, so that they cannot be
            compared; before the end of A where ``first`` is None.
    """

    first: LayerError | None
    layers: list[LayerError]
    weights: list[str]
    shared: int
    total: int
    sessions: int
    resized: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Candidate:
    value: str
    node: ir.Node
    bytes: int


def search(a: Placed, b: Placed, inputs: dict[str, Array], limits: BisectLimits) -> FirstDifference:
    """Exposes the values that both models have under one name and compares them, in the order of A's nodes.

    All of them where they fit into a bounded number of sessions. Else evenly spaced ones, and then those between the
    last that agrees and the first that does not, until no gap is left: of values that were passed over it is taken
    that they agree where later ones do. Values inside the bodies of If, Loop and Scan are not seen.

    Raises:
        ModelError: the runtime refuses a model with its values exposed.
        ProviderUnavailable: a provider is not there.
    """
    candidates, resized = _shared(a.opened, b.opened, inputs)
    total = sum(1 for node in a.opened.model.graph for value in node.outputs if value.name)
    rows: dict[int, LayerError] = {}
    sessions, window = 0, list(range(len(candidates)))
    while window:
        groups = _groups(window, candidates, limits.memory)
        for group in groups:
            compared = _compare([candidates[k] for k in group], a, b, inputs, limits)
            rows.update({k: row for k, row in zip(group, compared, strict=True) if row is not None})
            window = [k for k in window if k not in group]
        sessions += len(groups)
        # The first value that differs so far; the culprit is it or something between it and the last that agrees.
        bad = next((k for k in sorted(rows) if not rows[k].passed), None)
        good = max((k for k in rows if bad is not None and k < bad), default=-1)
        # Nothing differs: then nothing is left to search, as values between agreeing ones are taken to agree.
        window = [k for k in window if bad is not None and good < k < bad]
    layers = [rows[k] for k in sorted(rows)]
    first = next((k for k in sorted(rows) if not rows[k].passed), None)
    weights = [] if first is None else _weights(candidates[first].node, b.opened)
    before = [name for name, place in resized.items() if first is None or place <= first]
    at = None if first is None else rows[first]
    return FirstDifference(at, layers, weights, len(candidates), total, sessions, before)


def _shared(a: Opened, b: Opened, inputs: dict[str, Array]) -> tuple[list[_Candidate], dict[str, int]]:
    """Tensors that nodes of both main graphs compute under one name and, as far as is known, in one shape; and those
    of other shapes, with the number of candidates before each."""
    # By name, which is all that two exports of one network have in common.
    theirs = {str(v.name): v for node in b.model.graph for v in node.outputs if v.name}
    shapes = [_shapes(opened, inputs) for opened in (a, b)]
    found, resized = list[_Candidate](), dict[str, int]()
    for node in a.model.graph:
        for value in node.outputs:
            other = theirs.get(str(value.name)) if value.name else None
            if other is None or not _is_tensor(value) or not _is_tensor(other):
                continue
            sizes = [s(v) if s is not None else None for s, v in zip(shapes, (value, other), strict=True)]
            # Pruned values have other sizes and cannot be compared; an unknown size is seen when it is run.
            if None in sizes or sizes[0] == sizes[1]:
                found.append(_Candidate(str(value.name), node, _bytes(value, sizes[0])))
            else:
                resized[str(value.name)] = len(found)
    return found, resized


def _shapes(opened: Opened, inputs: dict[str, Array]) -> Shapes | None:
    try:
        return infer(opened.model, {n: array.shape for n, array in inputs.items() if n in opened.inputs})
    except ModelError:
        return None


def _is_tensor(value: ir.Value) -> bool:
    return value.type is None or isinstance(value.type, ir.TensorType)


def _bytes(value: ir.Value, shape: tuple[int, ...] | None) -> int:
    if shape is None:
        return UNKNOWN_BYTES
    bits = 32 if value.dtype in (None, ir.DataType.UNDEFINED, ir.DataType.STRING) else value.dtype.bitwidth
    return int(np.prod(shape, dtype=np.int64)) * bits // 8


def _groups(window: Sequence[int], candidates: Sequence[_Candidate], memory: int) -> list[list[int]]:
    """The window, or an even choice of it, in groups that fit into ``memory``; a value larger than that is alone."""
    step = 1
    while True:
        # Counted from the end, so that the last value of the window is always among them.
        chosen = [k for k in window if (window[-1] - k) % step == 0]
        groups: list[list[int]] = []
        room = 0
        for k in chosen:
            # Every exposed value has to be held until the session ends.
            if not groups or candidates[k].bytes > room:
                groups.append([])
                room = memory
            groups[-1].append(k)
            room -= candidates[k].bytes
        if len(groups) <= SESSIONS:
            return groups
        step *= 2


def _compare(
    group: list[_Candidate],
    a: Placed,
    b: Placed,
    inputs: dict[str, Array],
    limits: BisectLimits,
) -> list[LayerError | None]:
    """One session of each model; None for values whose shapes turn out to differ."""
    from compressor.runtime.taps import tap  # noqa: PLC0415 - imports the runtime

    names = [candidate.value for candidate in group]
    arrays = [next(iter(tap(side.opened.model, names, [cast(inputs, side.opened)], side.provider))) for side in (a, b)]
    rows: list[LayerError | None] = []
    for candidate, one, two in zip(group, *arrays, strict=True):
        if one.shape != two.shape:
            rows.append(None)
            continue
        gap = distance(one, two, Tolerance(limits.rtol, limits.atol))
        rows.append(
            LayerError(
                value=candidate.value,
                node=str(candidate.node.name),
                op_type=candidate.node.op_type,
                max_abs_err=gap.max_abs,
                max_rel_err=gap.max_rel,
                passed=gap.passed,
            )
        )
    return rows


def _weights(node: ir.Node, other: Opened) -> list[str]:
    """Initializers that the node reads and that the other model holds with other values under the same name."""
    found = []
    for value in node.inputs:
        theirs = other.model.graph.initializers.get(str(value.name)) if value is not None else None
        mine = value.const_value if value is not None else None
        if mine is None or theirs is None or theirs.const_value is None:
            continue
        # By bytes, so that NaNs are equal to themselves.
        if mine.shape != theirs.const_value.shape or mine.tobytes() != theirs.const_value.tobytes():
            found.append(str(theirs.name))
    return found
