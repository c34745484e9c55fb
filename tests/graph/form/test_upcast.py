"""Copies in wider floats hold the same numbers, and nothing narrower is left."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.graph.form.upcast import is_narrow, widened
from tests.models import in_memory, model

MIXED = """(float[2,4] x, int64[2] i) => (float[2,4] y) <float[4,4] w, float16[4] b> {
    a = MatMul(x, w)  h = Cast<to = 10>(a)  c = Add(h, b)  f = Cast<to = 1>(c)
    k = Constant <value = float {0.1}> ()  j = Cast<to = 7>(k)  y = Mul(f, k) }"""


@pytest.mark.parametrize(("to", "narrow"), [("FLOAT", {"FLOAT16"}), ("DOUBLE", {"FLOAT16", "FLOAT"})])
def test_every_number_value_and_cast_is_wide(to: str, narrow: set[str]) -> None:
    made = in_memory(model(MIXED))
    copy = widened(made, ir.DataType[to])
    dtypes = {v.dtype.name for v in copy.graph.initializers.values() if v.dtype is not None}
    dtypes |= {v.dtype.name for v in copy.graph.inputs if v.dtype is not None}
    assert not dtypes & narrow
    casts = {ir.DataType(n.attributes.get_int("to", 0)).name for n in copy.graph if n.op_type == "Cast"}
    assert not casts & narrow
    assert "INT64" in casts
    for name in ("w", "b"):
        one, two = (m.graph.initializers[name].const_value for m in (made, copy))
        assert one is not None
        assert two is not None
        np.testing.assert_array_equal(one.numpy().astype(np.float64), two.numpy().astype(np.float64))
    assert is_narrow(made)
    assert not is_narrow(copy)
