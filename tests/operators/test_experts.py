"""Mixture of experts: all experts lose the same hidden channels."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.pruning.cut.analysis import analyse
from tests.models import in_memory

from .case import MICROSOFT, Case, check, whole

ADDED = "c = Add(a, b)"
ALONE = "d = ReduceMax(b)  e = Mul(a, d)  s = ReduceMax(e)  c = Mul(b, s)"
"""``a`` is read after MoE ran, else ONNX Runtime (1.31) writes over it before all of it was read."""


def experts(
    name: str,
    attributes: str,
    rows: int,
    removed: dict[str, int],
    *,
    more: tuple[str, str] = ("", ""),
    behind: str = ADDED,
) -> Case:
    """Three experts of 12 hidden channels on ``a``, float[5,16], whose first weight ``u`` has ``rows`` rows; ``more``
    is what else is declared, and given."""
    return whole(
        f"MoE {name}",
        f"""(float[5,8] x) => (float[n,c] y)
        <float[8,16] w, float[8,3] r, float[3,{rows},16] u, float[3,16,12] t, float[16,6] v{more[0]}> {{
            m = MatMul(x, w)  a = Relu(m)  p = MatMul(x, r)
            b = com.microsoft.MoE<k=2{attributes}>(a, p, u, , t{more[1]})
            {behind}  y = MatMul(c, v) }}""",
        removed, **MICROSOFT,
    )  # fmt: skip


GATED = ', activation_type="swiglu", swiglu_fusion=1, activation_alpha=1.702, activation_beta=1.0'
CASES = (
    experts("by ReLU", ', activation_type="relu"', 12, {"w": 8, "u": 6}),
    experts("with a bias", ', activation_type="gelu"', 12, {"w": 8, "u": 6}, more=(", float[3,16] d", ", d")),
    experts("with gates by turns", GATED, 24, {"w": 8, "u": 12}),
    # ONNX Runtime takes the width of what it gives from what it reads.
    experts("to which nothing is added", ', activation_type="relu"', 12, {"w": 8, "u": 6}, behind=ALONE),
)


def packed(
    name: str,
    attributes: str,
    weights: str,
    given: str,
    removed: dict[str, int],
    behind: str = ADDED,
    **more: object,
) -> Case:
    """Three experts of 64 hidden channels on ``a``, float[5,64], whose weights hold few bits."""
    return whole(
        f"QMoE {name}",
        f"""(float[5,8] x) => (float[n,c] y) <float[8,64] w, float[8,3] r, float[64,6] v, float[6,2] h, {weights}> {{
            m = MatMul(x, w)  a = Relu(m)  p = MatMul(x, r)
            b = com.microsoft.QMoE<k=2{attributes}>(a, p, {given})
            {behind}  z = MatMul(c, v)  y = MatMul(z, h) }}""",
        removed, **MICROSOFT, **more,
    )  # fmt: skip


BLOCKED = "uint8[3,64,32] u, float[3,64,4] su, uint8[3,64,32] t, float[3,64,4] st"
PLAIN = "uint8[3,64,32] u, float[3,64] su, uint8[3,64,32] t, float[3,64] st"
CASES += (
    packed("by blocks", ', block_size=16, activation_type="silu"', BLOCKED, "u, su, , t, st",
           {"w": 32, "u": 32, "v": 3}),
    packed("by bytes", ', activation_type="relu"', PLAIN, "u, su, , t, st", {"w": 32, "u": 32, "v": 3}),
    packed("to which nothing is added", ', activation_type="relu"', PLAIN, "u, su, , t, st",
           {"w": 32, "u": 32, "v": 3}, behind=ALONE),
    packed("of eight bits", ', expert_weight_bits=8, activation_type="gelu"',
           PLAIN.replace("64,32]", "64,64]") + ", float[3,64] d", "u, su, d, t, st", {"w": 32, "u": 32, "v": 3}),
    packed("with gates by turns", ', block_size=16, swiglu_fusion=1, activation_type="swiglu"',
           BLOCKED.replace("64,32] u", "128,32] u").replace("64,4] su", "128,4] su"), "u, su, , t, st",
           {"w": 32, "u": 64, "v": 3}),
    packed("packed for a device", ', block_size=16, weights_prepacked=1, activation_type="silu"', BLOCKED,
           "u, su, , t, st", {"v": 3}, frozen={"w": "already packed for a device"}),
    packed("with zero points in common bytes", ', block_size=16, activation_type="silu"',
           BLOCKED + ", uint8[3,64,2] zu, uint8[3,64,2] zt", "u, su, , t, st, , , , , zu, zt", {"v": 3},
           frozen={"w": "packs zero points of several blocks into a byte"}),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_experts_get_narrower(case: Case) -> None:
    check(case)


def test_gates_side_by_side_are_two_of_each_channel() -> None:
    # ONNX Runtime runs this form on other devices than the CPU, so that only labels can be looked at.
    weights = BLOCKED.replace("64,32] u", "128,32] u").replace("64,4] su", "128,4] su")
    case = packed("side by side", ", block_size=16, swiglu_fusion=2", weights, "u, su, , t, st", {})
    found = analyse(in_memory(case.build()), case.options).coupling
    first, scales, last = ({t.axes: found.units.find(t.units) for t in found.layout(found.graph.initializers[name])}
                           for name in ("u", "su", "t"))  # fmt: skip
    hidden = first[1,]
    assert np.array_equal(hidden[:64], hidden[64:])
    assert [len(np.unique(hidden[k : k + 16])) for k in range(0, 64, 16)] == [1, 1, 1, 1]
    assert np.array_equal(scales[1,], hidden)
    assert np.array_equal(last[2,], hidden[:64:2])
