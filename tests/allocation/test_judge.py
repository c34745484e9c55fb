"""What a change loses: exactly by the gradients of weights, and as independence makes of it."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.allocation.judge import Exact, Held, Probe
from compressor.allocation.views import LinearView, views
from compressor.config import PruneSettings
from compressor.data import Batch
from compressor.pruning.cut.analysis import analyse
from tests.models import in_memory, model
from tests.reconstruct.case import noise

pytest.importorskip("torch")
from compressor.train.gradients.output_gradients import OutputGradients

LAYERS = {
    "Conv": ("n,8,6,6", "6,8,3,3", "c = Conv<pads=[1,1,1,1],strides=[2,1]>(b, v)"),
    "grouped": ("n,8,6,6", "6,4,3,3", "c = Conv<group=2>(b, v)"),
    "ConvTranspose": ("n,8,4,4", "8,6,2,2", "c = ConvTranspose<strides=[2,2]>(b, v)"),
    "Gemm": ("n,8", "6,8", "c = Gemm<transB=1,alpha=0.5>(b, v)"),
    "MatMul": ("n,5,8", "8,6", "c = MatMul(b, v)"),
    "moved": ("n,5,8", "6,8", "t = Transpose(v) c = MatMul(b, t)"),
}
"""Shapes of input and weight, and the layer."""


def network(kind: str) -> onnx.ModelProto:
    """Linear behind ``b``, with one number for each sample."""
    data, weight, layer = LAYERS[kind]
    rank = data.count(",") + 1
    first, shape = ("Conv", "8,8,1,1") if rank == 4 else ("MatMul", "8,8")
    axes = ",".join(str(axis) for axis in range(1, rank))
    return model(
        f"""(float[{data}] x) => (float[n] y)
        <float[{shape}] w, float[{weight}] v, int64[{rank - 1}] rest = {{{axes}}}> {{
            a = {first}(x, w) b = Relu(a) {layer} y = ReduceSum<keepdims=0>(c, rest) }}""",
        checked=False,
    )


def view_of(proto: onnx.ModelProto) -> tuple[LinearView, ir.Model]:
    analysis = analyse(in_memory(proto), PruneSettings(ratio=0.5, simplify=False))
    seen = views(analysis.model, analysis.coupling)
    return next(v for v in seen if v.layer.weight.initializer.name == "v"), analysis.model


@pytest.mark.parametrize("kind", LAYERS)
def test_exact_is_what_the_output_really_changes_by(kind: str) -> None:
    """Behind the layer all is linear and an output is one number, so that a sign is all that is random."""
    proto = network(kind)
    view, prepared = view_of(proto)
    shape = [d.dim_value or 1 for d in proto.graph.input[0].type.tensor_type.shape.dim]
    x = noise(12, *shape[1:])
    rng = np.random.default_rng(1)
    change = (0.1 * rng.normal(size=view.matrix.shape)).astype(np.float32)
    mean = rng.normal(size=(len(view.matrix), view.inputs)).astype(np.float32)
    run = OutputGradients(prepared, [view.layer.x], [view.layer.y, "v"], 0)
    found = Exact([view], [[Probe(0, k, change[k], mean[k]) for k in range(len(change))]])
    expected = []
    for index in range(len(x)):
        values, gradients = run(Batch({"x": x[index : index + 1]}))
        found.add(gradients, 1)
        form, read = view.form, values[view.layer.x]
        rows = form.rows(read, gradients[view.layer.y].shape, np.arange(form.count(gradients[view.layer.y].shape)))
        expected.append(np.einsum("goi,gpi->", change, rows - mean[:, None]))
    scale = float(run._loss._scales[0])
    assert found.losses()[0] == pytest.approx(np.mean(np.square(expected)) / scale**2, rel=1e-4)


def test_independence_makes_the_trace_of_metric_change_and_covariance() -> None:
    rng = np.random.default_rng(0)
    rows, metric, change = rng.normal(size=(500, 4)), rng.normal(size=(2, 3)), rng.normal(size=(3, 4))
    rows -= rows.mean(axis=0)
    covariance = rows.T @ rows / len(rows)
    seen = metric @ change
    found = Held(rows.astype(np.float32), metric).loss(change)
    assert found == pytest.approx(np.trace(seen @ covariance @ seen.T), rel=1e-5)
