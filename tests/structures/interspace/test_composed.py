"""Coefficients as an option: what is fitted, what is written, and what comes of it in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.config import PruneSettings
from compressor.graph.form import clean
from compressor.graph.form.restore_packed import with_plain_weights
from compressor.pruning.cut.analysis import analyse
from compressor.reconstruct import ReconstructOptions
from compressor.structures.interspace.basis import STARTS
from compressor.structures.interspace.coefficients import Coefficients, Columns
from compressor.structures.interspace.composed import CoefficientOption, stored_as
from compressor.structures.interspace.store import with_stored
from compressor.structures.layer.geometry import spatial
from compressor.structures.layer.layers import candidate_layers
from tests.models import model
from tests.reconstruct.case import noise, outputs
from tests.structures.masks.test_lower import FORMS


def _option(form: tuple[str, str, str], maker: Any, number: int, dtype: str) -> tuple[ir.Model, Any, CoefficientOption]:
    x, w, attributes = form
    extra = f"<{attributes}>" if attributes else ""
    text = f"(float[{x}] x) => (float y) <float[{w}] w, float[16] b> {{ y = Conv{extra}(x, w, b) }}"
    analysis = analyse(ir.from_proto(model(text)), PruneSettings.parse({"ratio": 0.5}))
    (candidate,), _ = candidate_layers(analysis.model, analysis.coupling)
    space = STARTS["pca"](candidate.view.matrix, candidate.geometry.taps)
    shape = candidate.view.layer.weight.read().shape
    energy = np.square(space.coordinates(candidate.view.matrix[0])).reshape(shape)
    name, mask = list(maker().masks(energy, 0))[number]
    return analysis.model, candidate, CoefficientOption.of(name, mask, space, np.dtype(dtype))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("maker", [Coefficients, Columns])
def test_what_is_written_is_exact(form: str, maker: Any) -> None:
    if maker is Columns and form == "pointwise":
        return
    source, candidate, option = _option(FORMS[form], maker, 1, "float16")
    layer, view = candidate.view.layer, candidate.view
    work = option.begin(candidate.geometry, np.zeros((1, 16), np.int64), regress=False)
    work.without_samples(view.matrix)
    layer.weight.write(view.form.weight(work.product(np.dtype(np.float32))))
    whole = source.clone()
    feeds = {"x": noise(*(int(d) for d in FORMS[form][0].split(",")))}
    (want,) = outputs(whole, feeds)
    made = work.write(layer, view.form, lower=True)
    clean.remove_dead(source)
    assert made.lowered == option.small == (maker is Columns)
    if not made.lowered:
        kept = float(option.mask.sum())
        assert made.params == kept + (candidate.geometry.taps**2 if form != "pointwise" else 0)
        stored = source.graph.initializers[made.zeros[0]].const_value.numpy()  # type: ignore[union-attr]
        assert (stored != 0).sum() == kept
        source = with_stored(source, made.zeros, "float16")
        assert "w" in with_plain_weights(source).graph.initializers
    proto = ir.to_proto(source)
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(proto), full_check=True)
    (got,) = outputs(source, feeds)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())


def test_costs_are_those_of_what_is_written() -> None:
    _, candidate, option = _option(FORMS["strides"], Columns, 5, "float32")
    size = candidate.geometry
    assert option.params(size) == 16 * 3 * 9 + 16 * 16 * 3
    assert option.macs(size) == 16 * 3 * 9 * size.slides + 16 * 16 * 3 * size.after
    assert option.macs(size) < 0.6 * size.macs


def test_the_fit_keeps_zeros_and_beats_the_weights_that_are_there() -> None:
    _, candidate, option = _option(FORMS["plain"], Coefficients, 5, "float32")
    matrix = candidate.view.matrix
    x = (noise(400, 24) @ noise(24, 144, seed=1)).astype(np.float64)[None]
    y = x @ matrix.transpose(0, 2, 1)
    gaps = []
    for regress in (False, True):
        work = option.begin(candidate.geometry, np.zeros((1, 16), np.int64), regress=regress)
        fit = work.fit(matrix, 1, ReconstructOptions())
        fit.add(0, x, y)
        (found,) = fit.proposals()
        gaps.append(float(np.square(y - x @ found.matrix.transpose(0, 2, 1) - found.biases[0]).sum()))
        coefficients = option.space.coordinates(work.product(np.dtype(np.float64)))
        assert np.abs(coefficients.reshape(option.mask.shape)[~option.mask]).max() < 1e-6
    assert gaps[1] < 0.7 * gaps[0]


def test_numbers_that_float16_cannot_hold_stay_wide() -> None:
    half = np.dtype(np.float16)
    assert stored_as(np.asarray([1.0, -2.5]), half).dtype == half
    for scale in (1e6, 1e-9):
        assert stored_as(np.asarray([1.0, -2.5]) * scale, half).dtype == np.float32


def test_kernels_of_one_tap_have_no_columns() -> None:
    text = "(float[1,16,4,4] x) => (float y) <float[16,16,1,1] w> { y = Conv(x, w) }"
    analysis = analyse(ir.from_proto(model(text)), PruneSettings.parse({"ratio": 0.5}))
    layers, refused = candidate_layers(analysis.model, analysis.coupling, suits=spatial)
    assert not layers
    assert "one tap" in refused["Conv_0"]
