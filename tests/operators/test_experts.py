"""Mixture of experts: all experts lose the same hidden channels."""

from __future__ import annotations

import pytest

from .case import MICROSOFT, Case, check, whole


def experts(name: str, attributes: str, rows: int, removed: dict[str, int], more: str = "", given: str = "") -> Case:
    """Three experts of 12 hidden channels on ``a``, float[5,16], whose first weight ``u`` has ``rows`` rows."""
    return whole(
        f"MoE {name}",
        f"""(float[5,8] x) => (float[n,c] y)
        <float[8,16] w, float[8,3] r, float[3,{rows},16] u, float[3,16,12] t, float[16,6] v{more}> {{
            m = MatMul(x, w)  a = Relu(m)  p = MatMul(x, r)
            b = com.microsoft.MoE<k=2{attributes}>(a, p, u, , t{given})
            c = Add(a, b)  y = MatMul(c, v) }}""",
        removed, **MICROSOFT,
    )  # fmt: skip


GATED = ', activation_type="swiglu", swiglu_fusion=1, activation_alpha=1.702, activation_beta=1.0'
CASES = (
    experts("by ReLU", ', activation_type="relu"', 12, {"w": 8, "u": 6}),
    experts("with a bias", ', activation_type="gelu"', 12, {"w": 8, "u": 6}, ", float[3,16] d", ", d"),
    experts("with gates by turns", GATED, 24, {"w": 8, "u": 12}),
)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_experts_get_narrower(case: Case) -> None:
    check(case)
