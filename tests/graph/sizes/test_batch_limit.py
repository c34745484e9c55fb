"""How many samples a model takes at a time, declared or found out."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from compressor.errors import UsageError
from compressor.graph.sizes.batch_limit import batch_limit, limit_batch
from tests.models import in_memory, model


def test_how_many_samples_a_model_takes_at_a_time() -> None:
    free = in_memory(model("(float[n,4] x) => (float[n,4] y) { y = Relu(x) }"))
    assert batch_limit(free) is None
    limit_batch(free, 5)
    assert (batch_limit(free), batch_limit(free.clone())) == (5, 5)
    fixed = in_memory(model("(float[2,4] x, float[m,4] z) => (float y) { y = Add(x, z) }"))
    assert batch_limit(fixed) == 2
    uneven = in_memory(model("(float[2,4] x, float[1,4] z) => (float y) { y = Add(x, z) }"))
    with pytest.raises(UsageError, match=r"first axis \(x: 2, z: 1\)"):
        batch_limit(uneven)
    time_first = in_memory(model("(float[t,n,4] x, float[n,4] h) => (float y) { y = Add(x, h) }"))
    with pytest.raises(UsageError, match="input 'x' has n on axis 1, input 'h' on its first"):
        batch_limit(time_first)
    nameless = in_memory(model("(float[t,n,4] x, float[m,4] h) => (float y) { y = Add(x, h) }"))
    for value in nameless.graph.inputs:
        value.shape = ir.Shape([None] * len(value.shape or ()))
    assert batch_limit(nameless) is None
