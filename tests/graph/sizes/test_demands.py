"""Operands that no runtime takes are refused before one is asked."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from compressor.errors import ModelError
from compressor.graph.form.normalise import normalise
from compressor.operators.sizes import infer
from tests.models import in_memory, model


@pytest.mark.parametrize("scale", ["-inf", "0", "-2", "nan"])
def test_scales_that_no_size_fits(scale: str) -> None:
    """ONNX Runtime ends the process over some of them."""
    proto = model(
        '(float[N,4,6,6] x) => (float y) <float[4] k> { y = Resize<mode="nearest">(x, none, k) }', checked=False
    )
    proto.graph.node[0].input[1] = ""
    [tensor] = proto.graph.initializer
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.asarray([1, float(scale), 1, 1], np.float32), "k"))
    with pytest.raises(ModelError, match="not all positive"):
        infer(normalise(in_memory(proto)))


def test_a_shape_of_other_numbers_of_elements() -> None:
    text = "(float[N,4] x) => (float y) <int64[2] to = {7, 13}> { y = Reshape(x, to) }"
    with pytest.raises(ModelError, match="does not fit into"):
        infer(normalise(in_memory(model(text))))
