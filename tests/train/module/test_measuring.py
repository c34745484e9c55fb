"""What is measured in torch is measured in float32, whatever the file holds."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from compressor.data import Batch
from compressor.graph.form.upcast import widened
from compressor.train.gradients.squared_gradients import squared_gradients
from compressor.train.module.measuring import measured_inputs, measuring_module
from tests.models import in_memory, model

TEXT = "(TYPE[n,8] x) => (TYPE[n,4] y) <TYPE[8,16] w, TYPE[16,4] v> { a = MatMul(x, w)  b = Relu(a)  y = MatMul(b, v) }"


def narrow(kind: str) -> ir.Model:
    return in_memory(model(TEXT.replace("TYPE", kind)))


WIDE = widened(narrow("float16"))


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_numbers_of_16_bits_are_wider_there(kind: str) -> None:
    module = measuring_module(narrow(kind))
    assert not module.training
    assert {name: p.dtype for name, p in module.named_parameters()} == {"w": torch.float32, "v": torch.float32}
    fed = measured_inputs(module, {"x": np.ones((2, 8), np.float16), "other": np.ones(3)})
    assert {name: tensor.dtype for name, tensor in fed.items()} == {"x": torch.float32}


def test_gradients_are_those_of_the_wider_model() -> None:
    x = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float16)
    found, wide = (squared_gradients(m, ["w"], [Batch({"x": x})], 0)["w"] for m in (narrow("float16"), WIDE))
    assert found.max() > 0
    np.testing.assert_array_equal(found, wide)
