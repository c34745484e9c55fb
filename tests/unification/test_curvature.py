"""Curvature: what a change of one weight does to the outputs, against changing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from compressor.commands.unify import unify
from compressor.config import UnifySettings
from compressor.data import Batch, Indices
from compressor.errors import UsageError
from compressor.runtime.taps import tap
from compressor.unification import curvature
from compressor.unification.curvature import LEAST, curvatures
from tests import models

NETS = {
    "conv": (
        "(float[n,4,6,6] x) => (float[n,6,3,3] y) <float[6,2,3,3] w>",
        "Conv<group=2, pads=[1,1,1,1], strides=[2,2]>(x, w)",
    ),
    "transposed": (
        "(float[n,4,5,5] x) => (float[n,6,k,l] y) <float[4,3,3,3] w>",
        "ConvTranspose<group=2, strides=[2,2]>(x, w)",
    ),
    "gemm": ("(float[n,5] x) => (float[n,3] y) <float[3,5] w>", "Gemm<transB=1>(x, w)"),
    "matmul": ("(float[n,4,5] x) => (float[n,4,3] y) <float[5,3] w>", "MatMul(x, w)"),
}


class Noise:
    """Samples of different size in every input number."""

    labelled = False

    def __init__(self, shape: tuple[int, ...], count: int = 12) -> None:
        rng = np.random.default_rng(0)
        self.x = (rng.standard_normal((count, *shape)) * rng.uniform(0.1, 3, shape)).astype(np.float32)

    def __len__(self) -> int:
        return len(self.x)

    def take(self, indices: Indices) -> Batch:
        return Batch({"x": self.x[indices]}, None)


def settings(**values: Any) -> UnifySettings:
    return UnifySettings.parse({"curvature": "inputs", "data": "unused", "method": "one-shot", **values})


def made(text: str) -> ir.Model:
    return models.in_memory(models.model(text))


def squared_change(model: ir.Model, data: Noise, index: int) -> float:
    """How far the output moves, squared and summed, when one weight changes by one."""
    changed = model.clone()
    value = changed.graph.initializers["w"]
    weight = models.weight(model, "w").copy()
    weight.reshape(-1)[index] += 1
    value.const_value = ir.tensor(weight, name="w")
    found = [next(tap(m, ["y"], [{"x": data.x}], "cpu"))[0].astype(np.float64) for m in (model, changed)]
    return float(np.square(found[1] - found[0]).sum())


@pytest.mark.parametrize("net", NETS)
def test_inputs_tell_what_changing_a_weight_does_to_the_output_of_its_layer(net: str) -> None:
    head, body = NETS[net]
    model = made(f"{head} {{ y = {body} }}")
    data = Noise(tuple(int(d) for d in model.graph.inputs[0].shape[1:]))  # type: ignore[index, arg-type]
    found = curvatures(model, ["w"], data, settings(batch_size=5))["w"]
    expected = np.array([squared_change(model, data, k) for k in range(found.size)])
    np.testing.assert_allclose(found.ravel(), np.maximum(expected / expected.mean(), LEAST), rtol=1e-3)


def test_a_weight_of_two_nodes_counts_what_both_multiply() -> None:
    text = """(float[n,4] x) => (float[n,4] y) <float[4,4] w>
        { t = Transpose<perm=[1,0]>(w)  a = MatMul(x, w)  r = Relu(a)  y = MatMul(r, t) }"""
    model, data = made(text), Noise((4,))
    hidden = np.maximum(data.x @ models.weight(model, "w"), 0)
    expected = np.square(data.x).mean(0)[:, None] + np.square(hidden).mean(0)[None, :]
    found = curvatures(model, ["w"], data, settings())["w"]
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-4)


def test_gradients_tell_what_changing_a_weight_does_to_the_output_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(curvature, "CURVATURE_BATCHES", 4000)
    text = """(float[n,5] x) => (float[n,1] y) <float[5,3] w, float[3,1] v> { a = MatMul(x, w)  y = MatMul(a, v) }"""
    model, data = made(text), Noise((5,), count=400)
    expected = np.square(data.x).mean(0)[:, None] * np.square(models.weight(model, "v"))[:, 0]
    found = curvatures(model, ["w"], data, settings(curvature="gradients", samples=400))["w"]
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-3)


def test_weights_that_nothing_is_known_of_are_left_out() -> None:
    text = "(float[n,5] x) => (float[n,5] y) <float[5,5] w, float[5,5] z> { a = Mul(x, x)  y = MatMul(a, w) }"
    model = made(text)
    silent = Noise((5,))
    silent.x[:] = 0
    assert [*curvatures(model, ["w", "z"], Noise((5,)), settings())] == ["w"]
    assert curvatures(model, ["w", "z"], silent, settings()) == {}


@pytest.mark.parametrize("kind", ["inputs", "gradients"])
def test_one_shot_unification_by_curvature_keeps_more_accuracy(kind: str) -> None:
    if kind == "gradients":
        pytest.importorskip("torch")
    folder = Path(__file__).parents[2] / "models"
    shares = []
    for chosen in ("none", kind):
        asked = settings(
            data=str(folder / "digits-train.npz"),
            val_data=str(folder / "digits-test.npz"),
            curvature=chosen, block="1x4", unify_share=0.5,
        )  # fmt: skip
        report = unify(folder / "digits-mobilenet.onnx", asked).report
        assert report.exact
        assert report.accuracy is not None
        shares.append(report.accuracy.after)
    assert shares[1] > shares[0], "93.8 and 98.9 % against 93.1 % when this was written"


def test_curvature_needs_samples() -> None:
    with pytest.raises(UsageError, match="--curvature gradients is measured on samples; give --data"):
        UnifySettings.parse({"curvature": "gradients"})
