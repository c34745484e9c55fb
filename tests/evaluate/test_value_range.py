"""The range of pixel values, read from a network's behaviour: trained networks in disguise, and what cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from compressor.data.synthetic import DARK_CANDIDATES, USUAL_RANGES, PixelRange, RangeChoice
from compressor.data.synthetic.pixel_range import BYTES, CENTRED, IMAGENET, SIGNED, UNIT
from compressor.evaluate.value_range import read_range, spectral_entropy
from compressor.graph.disk import files
from compressor.graph.form.normalise import normalise
from compressor.operators.sizes import infer
from tests.data.case import taking
from tests.models import in_memory, model

MODELS = Path(__file__).parents[2] / "models"
CIFAR = PixelRange("CIFAR-10", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
"""What ``models/cifar10-resnet20.onnx`` was trained with (models/README.md)."""


def disguised(name: str, own: PixelRange, other: PixelRange) -> ir.Model:
    """A network of ``models/`` as if it had been trained on pixels in another range than its ``own``."""
    network = normalise(files.load_model(MODELS / f"{name}.onnx"))
    graph, image = network.graph, network.graph.inputs[0]
    (m0, s0), (m1, s1) = ((np.asarray(r.mean), np.asarray(r.std)) for r in (own, other))
    factors = {"factor": s1 / s0, "summand": (m1 - m0) / s0}
    for operand, numbers in factors.items():
        tensor = ir.tensor(numbers.astype(np.float32).reshape(1, -1, 1, 1), name=operand)
        graph.register_initializer(
            ir.Value(name=operand, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype))
        )
    uses = list(image.uses())
    scaled = ir.node("Mul", [image, graph.initializers["factor"]])
    moved = ir.node("Add", [scaled.outputs[0], graph.initializers["summand"]])
    scaled.outputs[0].name, moved.outputs[0].name = "scaled", "moved"
    for node, index in uses:
        node.replace_input_with(index, moved.outputs[0])
    graph.insert_before(graph[0], [scaled, moved])
    return network


def read(network: ir.Model) -> RangeChoice:
    return read_range(network, infer(network), 0, "cpu")


@pytest.mark.parametrize("expected", [UNIT, SIGNED, BYTES], ids=lambda c: c.name)
def test_a_trained_network_tells_its_range(expected: PixelRange) -> None:
    choice = read(disguised("cifar10-resnet20", CIFAR, expected))
    assert expected in choice.ranges
    assert choice.source == "behaviour"
    assert choice.margin is not None
    assert choice.margin > 0
    assert len(choice.scores) == len(USUAL_RANGES)
    assert choice.normalised_inside == ("image",)


@pytest.mark.parametrize("name", ["digits-resnet", "digits-mobilenet"])
@pytest.mark.parametrize("index", [0, 1, 4])
def test_digits_are_light_marks_on_a_dark_ground(name: str, index: int) -> None:
    choice = read(disguised(name, UNIT, USUAL_RANGES[index]))
    assert choice.ranges == (DARK_CANDIDATES[index],)
    assert len(choice.scores) == len(USUAL_RANGES) + len(DARK_CANDIDATES)


def test_where_two_are_close_both_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    network = normalise(files.load_model(MODELS / "cifar10-resnet20.onnx"))
    choice = read(network)
    assert choice.ranges == (IMAGENET, SIGNED)
    assert choice.runner_up == SIGNED
    assert choice.normalised_inside == ()
    monkeypatch.setattr("compressor.evaluate.value_range.CLOSE_SCORES", 0.0)
    assert read(network).ranges == (IMAGENET,)


def test_a_transformer_is_read_by_its_products() -> None:
    """Patches by a product; channels that fire alike in a wrong range and apart in the right one."""
    text = """(float[N,3,8,8] x) => (float y)
        <float[192,32] w, float[32] b, float[32,10] v> {
        f = Flatten(x) h = MatMul(f, w) a = Add(h, b) r = Relu(a) y = MatMul(r, v) }"""
    choice = read(in_memory(model(text)))
    assert choice.source == "behaviour"
    assert len(choice.scores) == len(USUAL_RANGES)
    assert all(score <= 0 for _, score in choice.scores)


def test_what_takes_no_pixels_or_has_no_layer_is_not_read() -> None:
    assert read(taking("float[N,5] x")) == RangeChoice()
    assert read(taking("float[N,3,8,8] x")) == RangeChoice()
    assert read(taking("uint8[N,3,8,8] x")).source == "type"


def test_a_fixed_batch_is_filled() -> None:
    text = "(float[5,3,6,6] x) => (float y) <float[8,3,3,3] w> { z = Conv(x, w) y = Relu(z) }"
    assert read(in_memory(model(text))).source == "behaviour"


def test_spread_of_known_rows() -> None:
    rng = np.random.default_rng(0)
    alike = rng.standard_normal((20_000, 8)).astype(np.float32)
    assert spectral_entropy(alike) == pytest.approx(0, abs=1e-3)
    one = (rng.standard_normal((1000, 1)) * np.ones(8)).astype(np.float32)
    assert spectral_entropy(one) == pytest.approx(-np.log(8), abs=1e-5)
    two = np.concatenate([alike[:, :2], np.zeros((20_000, 6), np.float32)], axis=1)
    assert spectral_entropy(two) == pytest.approx(np.log(2) - np.log(8), abs=1e-3)
    assert spectral_entropy(np.ones((10, 8), np.float32)) == pytest.approx(-np.log(8))
    assert spectral_entropy(1e30 * alike) == pytest.approx(0, abs=1e-3)
    assert spectral_entropy(np.full((10, 8), np.nan, np.float32)) == -np.inf


def test_spread_is_the_same_from_either_gram_matrix() -> None:
    rows = np.random.default_rng(0).standard_normal((6, 40)).astype(np.float32)
    centred = rows - rows.mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False)[:5] ** 2
    share = values / values.sum()
    assert spectral_entropy(rows) == pytest.approx(-(share * np.log(share)).sum() - np.log(40), abs=1e-5)


def test_the_candidates_are_those_of_the_tests() -> None:
    assert set(USUAL_RANGES) == {UNIT, SIGNED, BYTES, IMAGENET, CENTRED}
