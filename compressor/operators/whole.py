"""Quantised operators of ONNX Runtime that keep all of their channels (domain com.microsoft).

Records say what their inputs hold, so that weights count as weights, and what they cost. Each name of the signatures is
in brackets or a star, as nothing is cut here. Source: ContribOperators.md of ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.graph.ir.nodes import MICROSOFT
from compressor.operators.facts import INTEGERS, PACKED, Grid
from compressor.operators.operator import Operator
from compressor.operators.signature import Call

_LSTM = (
    "[t] [b] [i], [d] [i] [gates], [d] [h] [gates], *bias?, *lengths?, *first?, *cell?, *peep?,"
    " *ws, *wz, *rs, *rz -> [t] [d] [b] [h]"
)
PAST = 8
"""Input of QAttention that holds keys and values of before."""


def _whole(name: str, **facts: Any) -> Operator:
    kept: Mapping[str, Any] = {"kernelless": INTEGERS, "differentiable": False, **facts}
    return Operator(name, MICROSOFT, whole=True, **kept)


def _attention(call: Call) -> str:
    past = ", [two] b [n] [p] [d]" if call.rank(PAST) is not None else ""
    return f"[b] [s] [i], [i] [all], *bias, *xs, *ws, *mask?, *xz?, *wz?{past} -> [b] [s] [h]"


def _attention_work(call: Call) -> str:
    """The product of queries, keys and values; scores and their product with values, of now and of before."""
    lengths = ["s", "p"] if call.rank(PAST) is not None else ["s"]
    return " + ".join(["b s i all", *(f"b s {k} h" for k in lengths for _ in range(2))])


def _conv(call: Call) -> str:
    """With the channels behind the pixels where the node says so."""
    data, made = ("[n] *s [c]", "[n] *p [o]") if call.attribute("channels_last") else ("[n] [c] *s", "[n] [o] *p")
    return f"{data}, *xs, *xz?, [o] [i] *k, *ws, *wz?, *ys, *yz?, *bias? -> {made}"


OPERATORS = (
    _whole(
        "DynamicQuantizeLSTM",
        signature=_LSTM,
        work="t b d i gates + t b d h gates",
        grid={1: Grid(8, 9, -1), 2: Grid(10, 11, -1)},
        bias=3,
    ),
    _whole(
        "QAttention",
        signature=_attention,
        work=_attention_work,
        grid={0: Grid(3, 6), 1: Grid(4, 7, -1)},
        bias=2,
    ),
    _whole("QEmbedLayerNormalization", grid={k: Grid(k + 6, k + 11) for k in range(2, 7)}),
    _whole(
        "QLinearConv",
        signature=_conv,
        work="n o *p i *k",
        grid={0: Grid(1, 2), 3: Grid(4, 5), 8: Grid()},
        scales=(6,),
    ),
    _whole("QLinearWhere", grid={1: Grid(2, 3), 4: Grid(5, 6)}, scales=(7,)),
    _whole("QLinearReduceMean", grid={0: Grid(1, 2)}, scales=(3,)),
    _whole(
        "MatMulBnb4",
        signature="*b [k], *bytes, *largest -> *b [n]",
        work="*b k n",
        packed={1: ""},
        scales=(2,),
        kernelless=PACKED,
    ),
)
