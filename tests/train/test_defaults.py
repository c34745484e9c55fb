"""How networks are trained where nothing is said."""

from __future__ import annotations

from typing import Any

import pytest

from compressor.config import PruneSettings, TuneSettings
from compressor.train.defaults import is_convolutional, training_defaults
from tests.models import in_memory, model

CONVOLUTIONS = """(float[n,3,8,8] x) => (float[n,5] y) <float[8,3,3,3] w, float[8,8,3,3] v, float[8,5] head>
    { a = Conv<pads=[1,1,1,1]>(x, w) b = Relu(a) c = Conv(b, v) d = GlobalAveragePool(c) e = Flatten(d)
      y = MatMul(e, head) }"""
ONE_AT_A_TIME = CONVOLUTIONS.replace("float[n,", "float[1,")
PRODUCTS = """(float[n,7,8] x) => (float[n,7,5] y) <float[8,16] w, float[16,8] v, float[8,5] head>
    { a = MatMul(x, w) b = Relu(a) c = MatMul(b, v) y = MatMul(c, head) }"""


@pytest.mark.parametrize(
    ("graph", "given", "expected"),
    [
        (CONVOLUTIONS, {}, ("sgd", 0.05, True)),
        (CONVOLUTIONS, {"insert_bn": False}, ("sgd", 0.01, False)),
        (CONVOLUTIONS, {"optimiser": "adamw"}, ("adamw", 3e-4, False)),
        (CONVOLUTIONS, {"learning_rate": 0.2}, ("sgd", 0.2, True)),
        (ONE_AT_A_TIME, {}, ("sgd", 0.01, False)),
        (PRODUCTS, {}, ("adamw", 3e-4, False)),
        (PRODUCTS, {"optimiser": "sgd", "insert_bn": False}, ("sgd", 0.01, False)),
    ],
)
@pytest.mark.parametrize("kind", [TuneSettings, PruneSettings])
def test_defaults(
    kind: type[TuneSettings], graph: str, given: dict[str, Any], expected: tuple[str, float, bool]
) -> None:
    chosen = training_defaults(kind.parse(given, lent=given), in_memory(model(graph)))
    assert (chosen.optimiser, chosen.learning_rate, chosen.insert_bn) == expected


def test_one_wide_classifier_makes_no_transformer() -> None:
    assert is_convolutional(in_memory(model(CONVOLUTIONS)))
    assert not is_convolutional(in_memory(model(PRODUCTS)))
