"""Single nodes on known inputs."""

from __future__ import annotations

import numpy as np

from compressor.graph.ir.evaluate import evaluate
from tests.models import in_memory, model


def test_axes_that_are_an_attribute_are_evaluated_too() -> None:
    graph = in_memory(model("(float[2,3] x) => (float y) { y = Unsqueeze<axes = [0]>(x) }", opset=11)).graph
    found = evaluate(graph[0], {"x": np.zeros((2, 3), np.float32)}, graph.opset_imports)
    assert found is not None
    assert found[0].shape == (1, 2, 3)


def test_what_the_reference_cannot_run_is_unknown() -> None:
    graph = in_memory(model("(float[2] x, float[3] z) => (float[2] y) { y = Add(x, z) }", checked=False)).graph
    feeds = {"x": np.zeros(2, np.float32), "z": np.zeros(3, np.float32)}
    assert evaluate(graph[0], feeds, graph.opset_imports) is None
