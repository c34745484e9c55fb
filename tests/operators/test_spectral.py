"""Fourier transforms: channels run along what is not transformed."""

from __future__ import annotations

import pytest

from .case import Case, check, whole


def transformed(word: str, nodes: str, opset: int, axis: int, more: str = "", **options: object) -> Case:
    """A transform of tokens [n, 8, 16] along an axis, its absolute square, and a product."""
    text = f"""(float[n,8,6] x) => (float y) <float[6,16] w, float[16,6] v, float[6,2] head, int64[1] last = {{3}},
        int64 axis = {{{axis}}}{more}> {{ a = MatMul(x, w)  t = Unsqueeze(a, last)  {nodes}
        p = Mul(f, f)  s = ReduceSum<keepdims=0>(p, last)  z = MatMul(s, v)  y = MatMul(z, head) }}"""
    return whole(f"DFT {word}", text, {"v": 3, **({} if "frozen" in options else {"w": 8})}, opset=opset, **options)  # type: ignore[arg-type]


FROZEN = {"w": "DFT works along this axis as a whole"}
CASES = (
    transformed("of time", "f = DFT<axis=1,onesided=1>(t)", 18, 1),
    transformed("with the axis as an input", "f = DFT<onesided=1>(t, , axis)", 20, 1),
    transformed("there and back", "g = DFT<axis=1,onesided=1>(t)  f = DFT<axis=1,inverse=1>(g)", 18, 1),
    transformed("along channels", "f = DFT(t)", 20, 2, frozen=FROZEN),
    transformed("along channels, as an attribute says", "f = DFT<axis=2>(t)", 18, 2, frozen=FROZEN),
)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_channels_run_through_transforms(case: Case) -> None:
    check(case)
