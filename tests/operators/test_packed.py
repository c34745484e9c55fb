"""Products with weights of four and eight bits in blocks."""

from __future__ import annotations

import pytest

from .case import MICROSOFT, Case, check, whole

NBITS = "com.microsoft.MatMulNBits<K=64,N=32,bits=4,block_size=16>"


def product(name: str, body: str, removed: dict[str, int], more: str = "", **options: object) -> Case:
    """A product with a packed weight ``p`` between two with ``w`` and ``v``."""
    return whole(
        f"MatMulNBits {name}",
        f"""(float[3,5,8] x) => (float[n,t,c] y)
        <float[8,64] w, uint8[32,4,8] p, float[32,6] v{more}> {{
            m = MatMul(x, w)  a = Relu(m)  {body}  y = MatMul(b, v) }}""",
        removed, **MICROSOFT, **options,
    )  # fmt: skip


CASES = (
    product("by blocks", f"b = {NBITS}(a, p, s)", {"w": 32, "p": 16}, ", float[32,4] s"),
    product("with scales in a row", f"b = {NBITS}(a, p, s)", {"w": 32, "p": 16}, ", float[128] s"),
    product("with real zero points", f"b = {NBITS}(a, p, s, z)", {"w": 32, "p": 16}, ", float[32,4] s, float[32,4] z"),
    product("with a bias", f"b = {NBITS}(a, p, s, , , bias)", {"w": 32, "p": 16}, ", float[32,4] s, float[32] bias"),
    product("with packed zero points", f"b = {NBITS}(a, p, s, z)", {"w": 32, "p": 16},
            ", float[32,4] s, uint8[32,2] z"),
    product("with packed zero points in a row", f"b = {NBITS}(a, p, s, z)", {"w": 32, "p": 16},
            ", float[128] s, uint8[64] z"),
    product("with zero points that fill no byte", "b = com.microsoft.MatMulNBits<K=64,N=32,bits=4,block_size=64>"
            "(a, q, s, z)", {"q": 16}, ", uint8[32,1,32] q, float[32] s, uint8[32] z",
            frozen={"w": "works along this axis as a whole"}),
    product("of eight bits", "b = com.microsoft.MatMulNBits<K=64,N=32,bits=8,block_size=16>(a, q, s, z)",
            {"w": 32, "q": 16}, ", uint8[32,4,16] q, float[32,4] s, uint8[32,4] z"),
    product("with a short block", "b = com.microsoft.MatMulNBits<K=64,N=32,bits=4,block_size=128>(a, q, s)",
            {"q": 16}, ", uint8[32,1,64] q, float[32,1] s", frozen={"w": "works along this axis as a whole"}),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_packed(case: Case) -> None:
    check(case)


def test_sizes_follow() -> None:
    node = next(n for n in CASES[0].prune().model.graph if n.op_type == "MatMulNBits")
    assert [node.attributes.get_int(k, 0) for k in ("K", "N", "block_size")] == [32, 16, 16]
