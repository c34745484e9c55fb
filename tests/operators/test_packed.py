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

GATHER = "com.microsoft.GatherBlockQuantized<block_size=16>"


def table(name: str, data: str, scales: str, body: str, removed: dict[str, int], **options: object) -> Case:
    """A packed table ``w`` of ``width`` columns before products with ``v`` and ``u``."""
    width = options.pop("width", 64)
    return whole(
        f"GatherBlockQuantized {name}",
        f"""(int64[3,5] x) => (float[n,t,c] y)
        <{data} w, {scales}, float[{width},6] v, float[6,2] u> {{ {body}  r = Relu(b)  m = MatMul(r, v)
            y = MatMul(m, u) }}""",
        removed, **MICROSOFT, **options,
    )  # fmt: skip


CASES += (
    table("of bytes", "uint8[20,32]", "float[20,4] s", f"b = {GATHER}(w, x, s)", {"w": 16, "v": 3}),
    table("of eight bits", "uint8[20,64]", "float[20,4] s, uint8[20,4] z", f"b = {GATHER[:-1]}, bits=8>(w, x, s, z)",
          {"w": 32, "v": 3}),
    table("with zero points in common bytes", "uint8[20,32]", "float[20,4] s, uint8[20,2] z",
          f"b = {GATHER}(w, x, s, z)", {"w": 16, "v": 3}),
    table("with a block that is not full", "uint8[20,36]", "float[20,5] s", f"b = {GATHER}(w, x, s)", {"v": 3},
          frozen={"w": "has a last block that is not full"}, width=72),
    table("with zero points of a lone block", "uint8[20,24]", "float[20,3] s, uint8[20,2] z",
          f"b = {GATHER}(w, x, s, z)", {"v": 3}, frozen={"w": "share no byte evenly"}, width=48),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_packed(case: Case) -> None:
    check(case)


def test_sizes_follow() -> None:
    node = next(n for n in CASES[0].prune().model.graph if n.op_type == "MatMulNBits")
    assert [node.attributes.get_int(k, 0) for k in ("K", "N", "block_size")] == [32, 16, 16]
