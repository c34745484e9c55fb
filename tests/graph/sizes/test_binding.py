"""Sizes to try: those of usual data first, none where the graph takes nothing else."""

from __future__ import annotations

from compressor.graph.form.normalise import normalise
from compressor.graph.sizes.binding import FIRST_SIZES, Binding, Given, batch, declared
from compressor.graph.sizes.dims import symbol
from tests.models import in_memory, model


def test_sizes_of_zero_are_tried_last() -> None:
    """ONNX Runtime joins an empty value to any other, so that an equation with one need not hold."""
    graph = normalise(in_memory(model("(float[n,8] x) => (float[n,8] y) { y = Relu(x) }"))).graph
    given = Given({}, {})
    binding = Binding(graph, declared(graph, given), given, [(symbol("n"), 0)])
    assert list(binding.candidates(FIRST_SIZES[:1])) == [{"x": (3, 8)}, {"x": (0, 8)}]
    # Costs are shared out among the samples of a run.
    assert batch(graph, {"x": (0, 8)}) == 1
