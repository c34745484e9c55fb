"""A masked convolution and the smaller ones that it is written as give the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.config import PruneSettings
from compressor.pruning.cut.analysis import analyse
from compressor.structures.layer.layers import candidate_layers
from compressor.structures.masks.graph import Graph
from compressor.structures.masks.groups import Groups
from compressor.structures.masks.lower import Lowering, Windowing
from compressor.structures.masks.masked import MaskOption
from compressor.structures.masks.nm import NofM
from compressor.structures.masks.pieces import WeightMask, classes_of, one_grouped, weights_left
from compressor.structures.masks.supports import Supports, families
from tests.models import OPSET, model
from tests.reconstruct.case import noise, outputs

FORMS = {
    "plain": ("2,16,7,8", "16,16,3,3", "pads=[1,1,1,1]"),
    "no_pads": ("2,16,7,8", "16,16,3,3", ""),
    "strides": ("2,16,9,8", "16,16,3,3", "pads=[1,1,1,1],strides=[2,2]"),
    "dilations": ("2,16,11,12", "16,16,3,3", "pads=[1,0,2,1],dilations=[2,2]"),
    "uneven_pads": ("2,16,9,9", "16,16,3,3", "pads=[0,2,1,0],strides=[2,1]"),
    "upper": ("2,16,7,6", "16,16,3,2", 'auto_pad="SAME_UPPER"'),
    "lower": ("2,16,7,6", "16,16,2,3", 'auto_pad="SAME_LOWER"'),
    "valid": ("2,16,7,6", "16,16,3,3", 'auto_pad="VALID"'),
    "line": ("2,16,9", "16,16,3", "pads=[1,1]"),
    "volume": ("1,16,4,5,4", "16,16,3,3,3", "pads=[1,1,1,1,1,1]"),
    "pointwise": ("2,16,5,5", "16,16,1,1", ""),
}
MAKERS = {"groups": Groups, "supports": Supports, "graph": Graph, "nm": NofM}


def _written(form: tuple[str, str, str], mask: WeightMask, *, bias: bool = True, opset: int = OPSET) -> ir.Model:
    """The lowered model, held against the masked one."""
    x, w, attributes = form
    operands = "x, w, b" if bias else "x, w"
    extra = f"<{attributes}>" if attributes else ""
    text = f"(float[{x}] x) => (float y) <float[{w}] w, float[16] b> {{ y = Conv{extra}({operands}) }}"
    analysis = analyse(ir.from_proto(model(text, opset=opset)), PruneSettings.parse({"ratio": 0.5}))
    (candidate,), _ = candidate_layers(analysis.model, analysis.coupling)
    layer = candidate.view.layer
    array = layer.weight.read()
    layer.weight.write(np.where(mask, array, 0))
    whole = analysis.model.clone()
    windowing = Windowing.of(layer.node, tuple(array.shape[2:]))
    assert windowing is not None
    held = layer.node.inputs[2].const_value.numpy() if bias else None  # type: ignore[union-attr]
    Lowering(layer, windowing).write(np.where(mask, array, 0), held, classes_of(mask))
    proto = ir.to_proto(analysis.model)
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(proto), full_check=True)
    feeds = {"x": noise(*(int(d) for d in x.split(",")))}
    (want,), (got,) = outputs(whole, feeds), outputs(analysis.model, feeds)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())
    assert [v.name for v in analysis.model.graph.outputs] == ["y"]
    assert "Conv_0" in {n.name for n in analysis.model.graph}
    return analysis.model


def _energy(shape: str) -> np.ndarray:
    return np.square(noise(*(int(d) for d in shape.split(",")), seed=3).astype(np.float64))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("maker", MAKERS)
def test_every_mask_that_is_written_is_exact(form: str, maker: str) -> None:
    tried = 0
    for number, (_, mask) in enumerate(MAKERS[maker]().masks(_energy(FORMS[form][1]), 0)):
        assert mask.any(axis=tuple(range(1, mask.ndim))).all(), "no filter is emptied"
        if MaskOption.of("", mask).classes and number % 3 == 0:
            _written(FORMS[form], mask)
            tried += 1
    assert tried or maker == "nm" or (maker, form) in {("supports", "pointwise")}


def test_masks_of_any_kind_are_exact() -> None:
    rng = np.random.default_rng(0)
    for density in (0.02, 0.3):
        mask = np.repeat(rng.random((4, 16, 3, 3)) < density, 4, axis=0)[rng.permutation(16)]
        _written(FORMS["strides"], mask)
        _written(FORMS["plain"], mask, bias=False)


def test_channels_are_cut_out_in_the_form_of_the_operator_set() -> None:
    mask = np.zeros((16, 16, 3, 3), np.bool_)
    mask[:8, 4:8], mask[8:, 8:13] = True, True
    made = _written(FORMS["plain"], mask, opset=9)
    assert "Slice" in {n.op_type for n in made.graph}


def test_even_groups_are_one_convolution() -> None:
    keeps = np.zeros((2, 16), np.bool_)
    keeps[0, :8] = keeps[1, 8:] = True
    mask = np.broadcast_to(np.tile(keeps, (8, 1))[:, :, None, None], (16, 16, 3, 3))
    assert one_grouped(classes_of(mask))
    made = _written(FORMS["plain"], mask)
    assert [n.op_type for n in made.graph] == ["Conv", "Gather"]
    assert weights_left(classes_of(mask)) == mask.size // 2


def test_the_centre_is_a_pointwise_convolution() -> None:
    (support,) = families((3, 3))["its centre"]
    made = _written(FORMS["plain"], np.broadcast_to(support, (16, 16, 3, 3)))
    (node,) = made.graph
    assert node.inputs[1].shape.numpy() == (16, 16, 1, 1)  # type: ignore[union-attr]


def test_padding_that_follows_from_the_size_is_left_alone() -> None:
    node = ir.node("Conv", [], attributes={"auto_pad": "SAME_UPPER", "strides": [2, 2]})
    assert Windowing.of(node, (3, 3)) is None
