"""Filters become orthogonal, group by group, as near to the old ones and as large as they can be."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compressor.operators.table import operator_of
from compressor.operators.weight import weight_axes
from compressor.pruning.orthogonal_weights import orthogonalised, polar
from tests.models import in_memory, model, weight

TEXT = """
    (float[n,4,6,6] x) => (float[n,c] y)
    <float[8,4,3,3] wide, float[8] b, float[8,2,3,3] grouped, float[8,4,3,3] turned, float[4,6] tall, float[4] s> {
        a = Conv<pads=[1,1,1,1]>(x, wide, b)  c = Conv<group=4, pads=[1,1,1,1]>(a, grouped)
        d = ConvTranspose<pads=[1,1,1,1]>(c, turned)  m = Mul(d, d)
        p = GlobalAveragePool(m)  f = Flatten(p)  g = Mul(f, s)  y = MatMul(g, tall)
    }"""


def gram(rows: np.ndarray) -> np.ndarray:
    """Of the shorter side."""
    return rows @ rows.T if rows.shape[0] <= rows.shape[1] else rows.T @ rows


def test_rows_are_orthogonal_and_as_large_as_before() -> None:
    source = in_memory(model(TEXT))
    made = orthogonalised(source)
    matrices = {
        "wide": lambda w: [w.reshape(8, -1)],
        "grouped": lambda w: list(w.reshape(4, 2, -1)),
        "turned": lambda w: [w.transpose(1, 0, 2, 3).reshape(4, -1)],
        "tall": lambda w: [w.T],
    }
    for name, rows_of in matrices.items():
        for old, new in zip(rows_of(weight(source, name)), rows_of(weight(made, name)), strict=True):
            found = gram(new.astype(np.float64))
            size = np.square(old, dtype=np.float64).sum() / len(found)
            np.testing.assert_allclose(found, size * np.eye(len(found)), atol=1e-5 * size, err_msg=name)
    assert np.array_equal(weight(made, "b"), weight(source, "b"))
    assert np.array_equal(weight(made, "s"), weight(source, "s"))


def test_nothing_orthogonal_is_nearer(rng: np.random.Generator) -> None:
    source = in_memory(model(TEXT))
    node = next(n for n in source.graph if n.op_type == "MatMul")
    kernel = rng.normal(size=(4, 6))
    axes = weight_axes(operator_of(node), node, 1, (4, 6))
    best = polar(kernel, axes)
    for _ in range(50):
        basis = np.linalg.qr(rng.normal(size=(6, 6)))[0][:4]
        other = basis * np.linalg.norm(kernel) / 2
        assert np.linalg.norm(kernel - best) <= np.linalg.norm(kernel - other)


def test_what_is_orthogonal_or_zero_stays() -> None:
    source = in_memory(model(TEXT))
    once = orthogonalised(source)
    np.testing.assert_allclose(weight(orthogonalised(once), "wide"), weight(once, "wide"), atol=1e-6)
    node = next(n for n in source.graph if n.op_type == "MatMul")
    assert not polar(np.zeros((4, 6)), weight_axes(operator_of(node), node, 1, (4, 6))).any()


def test_a_kernel_that_is_no_number_stays() -> None:
    source = in_memory(model(TEXT))
    spoilt = weight(source, "tall").copy()
    spoilt[0, 0] = np.nan
    source.graph.initializers["tall"].const_value = ir.tensor(spoilt, name="tall")
    assert np.array_equal(weight(orthogonalised(source), "tall"), spoilt, equal_nan=True)
