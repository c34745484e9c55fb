"""Which weights are unified, and why others are left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from compressor.config import PruneSettings
from compressor.config.unify import UnifySettings
from compressor.errors import UsageError
from compressor.unification.layers import FoundWeights, find_weights
from tests.models import in_memory, model
from tests.oracle import couple

NET = """(float[2,8,5,5] x) => (float[2,c,h,w] y)
    <float[8,8,3,3] first, float[8,1,3,3] depth, float[16,8,1,1] mid, float[16] bias, float[8,16,1,1] last> {
    a = Conv<pads=[1,1,1,1]>(x, first)  b = Conv<group=8, pads=[1,1,1,1]>(a, depth)
    c = Conv(b, mid, bias)  d = Relu(c)  y = Conv(d, last) }"""


def found(text: str = NET, **more: Any) -> FoundWeights:
    settings = UnifySettings.model_validate({"block": "2x2", "min_weights": 2, **more})
    return find_weights(couple(in_memory(model(text)), PruneSettings())[1], settings)


def reasons(weights: FoundWeights) -> dict[str, str]:
    return {left.name: left.reason for left in weights.left}


def test_ends_and_depthwise_kernels_are_left_alone() -> None:
    weights = found()
    assert [layer.name for layer in weights.layers] == ["mid"]
    assert reasons(weights) == {
        "first": "it is in the first layer",
        "depth": "each filter sees one input channel (depthwise), or none",
        "last": "it is in the last layer",
        "bias": "it is no weight of a linear operator",
    }


def test_globs_say_which() -> None:
    assert {layer.name for layer in found(include=["first"]).layers} == {"first"}
    assert reasons(found(exclude=["mid"]))["mid"] == "it is excluded"
    assert {layer.name for layer in found(all_layers=True).layers} == {"first", "mid", "last"}
    with pytest.raises(UsageError, match="nothing"):
        found(include=["nothing*"])


def test_a_block_of_its_own_overrules_defaults() -> None:
    weights = found(layer_block=[("last", "1x4")])
    blocks = {layer.name: layer.layout.block for layer in weights.layers}
    assert (blocks["last"].outputs, blocks["last"].inputs) == (1, 4)
    with pytest.raises(UsageError, match="choose another block for it"):
        found(layer_block=[("last", "64x64")])


def test_small_weights_and_those_that_are_not_finite_stay() -> None:
    assert reasons(found(min_weights=200))["mid"] == "it has fewer than 200 weights"
    source = in_memory(model(NET))
    mid = source.graph.initializers["mid"].const_value
    assert mid is not None
    source.graph.initializers["mid"].const_value = ir.tensor(np.full(mid.shape.numpy(), np.inf, np.float32))
    settings = UnifySettings(block="2x2", min_weights=2)
    weights = find_weights(couple(source, PruneSettings())[1], settings)
    assert reasons(weights)["mid"] == "it holds values that are not finite"
