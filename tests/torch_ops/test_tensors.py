"""Arrays are tensors and back, bit by bit."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

torch = pytest.importorskip("torch")

from compressor.errors import ModelError  # noqa: E402 -- after the skip
from compressor.torch_ops.tensors import DTYPES, log_clamped, to_numpy, to_torch, torch_dtype  # noqa: E402


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_every_element_type_comes_back(dtype: ir.DataType, rng: np.random.Generator) -> None:
    array = rng.integers(0, 2, (3, 4)).astype(dtype.numpy())
    tensor = to_torch(array)
    assert tensor.dtype == torch_dtype(dtype)
    np.testing.assert_array_equal(to_numpy(tensor).astype(array.dtype).view(np.uint8), array.view(np.uint8))
    tensor.zero_()
    assert array.any(), "the tensor is a copy"


def test_a_type_that_torch_lacks_is_told() -> None:
    with pytest.raises(ModelError, match="no element type FLOAT4E2M1"):
        torch_dtype(ir.DataType.FLOAT4E2M1)
    with pytest.raises(ModelError, match="no element type"):
        to_torch(np.asarray(["text"]))


def test_probabilities_of_nothing_have_a_logarithm() -> None:
    found = log_clamped(torch.tensor([0.0, 0.5, 1.0]))
    assert torch.isfinite(found).all()
    assert found[1:].tolist() == pytest.approx([np.log(0.5), 0.0])
