"""Which columns go with which channel, for every linear operator that recovery knows."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from compressor.allocation.views import covered, views
from compressor.channels.groups import group
from compressor.config import PruneSettings
from compressor.pruning.cut.analysis import Analysis, analyse
from tests.models import MERGED_HEADS, between, in_memory, model, tokens


def analysed(proto: onnx.ModelProto) -> Analysis:
    return analyse(in_memory(proto), PruneSettings(ratio=0.5))


def seen(proto: onnx.ModelProto) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], set[str]]:
    """Units of the columns of each layer, units of each group, and the groups that are covered."""
    found = analysed(proto)
    parts = views(found.model, found.coupling)
    groups = group(found.coupling)
    labels = {str(v.layer.weight.initializer.name): v.units for v in parts}
    return labels, {g.name: g.units for g in groups}, covered(found.coupling, groups, parts)


def test_a_convolution_has_a_column_for_each_channel_and_tap() -> None:
    labels, groups, known = seen(between("c = Conv<pads=[1,1,1,1]>(a, k) b = Relu(c)", more="float[16,16,3,3] k"))
    assert labels["k"].tolist() == [np.repeat(groups["w"], 9).tolist()]
    assert labels["v"].tolist() == [groups["k"].tolist()]
    assert known == set(groups)


def test_a_depthwise_convolution_loses_nothing_itself() -> None:
    labels, groups, known = seen(
        between("c = Conv<pads=[1,1,1,1],group=16>(a, k) b = Relu(c)", more="float[16,1,3,3] k")
    )
    assert "k" not in labels
    assert labels["v"].tolist() == [groups["w"].tolist()]
    assert "w" in known


def test_a_grouped_convolution_is_a_matrix_for_each_group() -> None:
    labels, groups, known = seen(
        between("c = Conv<pads=[1,1,1,1],group=4>(a, k) b = Relu(c)", more="float[16,4,3,3] k")
    )
    assert labels["k"].shape == (4, 36)
    taps = labels["k"].reshape(4, 4, 9)
    assert (taps == taps[:, :, :1]).all()
    assert set(taps.ravel()) == set(groups["w"])
    assert "w" in known


def test_a_transposed_convolution() -> None:
    labels, groups, _ = seen(between("c = ConvTranspose<strides=[2,2]>(a, k) b = Relu(c)", more="float[16,16,2,2] k"))
    taps = labels["k"].reshape(16, -1)
    assert set(taps.max(axis=1)) == set(groups["w"])


@pytest.mark.parametrize("product", ["c = MatMul(a, k)", "c = Gemm<transB=1>(flat, t)"])
def test_products(product: str) -> None:
    if "Gemm" in product:
        proto = model(
            """(float[3,8] x) => (float[3,4] y) <float[8,16] w, float[12,16] t, float[12,4] v> {
                a = MatMul(x, w) flat = Relu(a) c = Gemm<transB=1>(flat, t) b = Relu(c) y = MatMul(b, v) }"""
        )
        name = "t"
    else:
        proto, name = tokens(f"r = Relu(a) {product.replace('(a', '(r')} b = Relu(c)", more="float[16,16] k"), "k"
    labels, groups, known = seen(proto)
    assert labels[name].tolist() == [groups["w"].tolist()]
    assert known == set(groups)


def test_a_concatenation_labels_a_part_of_the_columns() -> None:
    labels, groups, known = seen(between("c = Conv(a, k) b = Concat<axis=1>(a, c)", more="float[4,16,1,1] k", out=20))
    assert labels["v"].tolist() == [[*groups["w"].tolist(), *groups["k"].tolist()]]
    assert known == set(groups)


def test_heads_are_columns_of_what_reads_their_outcome() -> None:
    labels, groups, _ = seen(model(MERGED_HEADS))
    assert "v" in labels
    assert set(np.unique(labels["v"])) - {0} <= set(groups["w"].tolist())


def test_what_a_recurrence_reads_is_not_covered() -> None:
    proto = model(
        """(float[5,3,8] x) => (float[5,1,3,6] y) <float[8,16] w, float[1,24,16] k, float[1,24,6] r> {
            a = MatMul(x, w) c = Relu(a) y, h, s = LSTM<hidden_size=6>(c, k, r) }"""
    )
    _, groups, known = seen(proto)
    assert "w" in groups
    assert "w" not in known


def test_normalisation_is_no_reader() -> None:
    proto = between(
        "c = BatchNormalization(a, s1, b1, b2, s2) b = Relu(c)",
        more="float[16] s1, float[16] b1, float[16] b2, float[16] s2",
    )
    labels, groups, known = seen(proto)
    assert set(labels) == {"v", "head"}
    assert known == set(groups)


def test_a_weight_without_numbers_is_no_matrix() -> None:
    proto = tokens("b = Relu(a) e = MatMul(x, none)", more="float[8,0] none")
    proto.graph.output.append(onnx.helper.make_tensor_value_info("e", 1, [3, 5, 0]))
    labels, groups, _ = seen(proto)
    assert labels["v"].tolist() == [groups["w"].tolist()]
    assert "none" not in labels
