"""A weight as a product of coefficients and basis, in the type and under the name of the weight."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.allocation.views import linear_layers
from compressor.structures.interspace.write import write_columns, write_composition
from tests.models import in_memory, model
from tests.reconstruct.case import noise, outputs


@pytest.mark.parametrize("dtype", ["float", "float16"])
def test_the_product_has_the_name_and_the_type_of_the_weight(dtype: str) -> None:
    source = in_memory(model(f"({dtype}[1,4,6,6] x) => ({dtype} y) <{dtype}[8,4,3,3] w> {{ y = Conv(x, w) }}"))
    ((layer,), _) = linear_layers(source)
    coefficients, basis = noise(8, 4, 9).astype(np.float64), np.linalg.qr(noise(9, 9, seed=1))[0].astype(np.float64)
    whole = source.clone()
    kernels = (coefficients @ basis).reshape(8, 4, 3, 3).astype(layer.weight.read().dtype)
    whole.graph.initializers["w"].const_value = ir.tensor(kernels, name="w")
    name, frame = write_composition(layer, coefficients, basis)
    assert (name, frame) == ("w.coefficients", "w.basis")
    assert "w" in {v.name for node in source.graph for v in node.outputs}
    assert "w" not in source.graph.initializers
    feeds = {"x": noise(1, 4, 6, 6).astype(kernels.dtype)}
    (want,), (got,) = outputs(whole, feeds), outputs(source, feeds)
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, atol=(2e-2 if dtype == "float16" else 1e-5) * np.abs(want).max())


def test_columns_keep_name_output_and_bias() -> None:
    text = "(float[1,4,6,6] x) => (float y) <float[8,4,3,3] w, float[8] b> { y = Conv<strides=[2,2]>(x, w, b) }"
    source = in_memory(model(text))
    ((layer,), _) = linear_layers(source)
    kernels = np.asarray([[0, 3], [1, 2], [4, 8], [0, 7]])
    write_columns(layer, noise(8, 4, 9).astype(np.float64), kernels, np.eye(9))
    first, second = source.graph
    assert first.attributes.get_int("group", 1) == 4
    assert list(first.attributes.get_ints("strides", [])) == [2, 2]
    assert (second.name, second.outputs[0].name, second.inputs[2].name) == ("Conv_0", "y", "b")  # type: ignore[union-attr]
    assert second.inputs[1].shape.numpy() == (8, 8, 1, 1)  # type: ignore[union-attr]
