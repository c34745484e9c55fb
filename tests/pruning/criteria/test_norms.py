"""Each criterion against a plain computation with numpy, on a chain of two convolutions with a norm between."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from compressor.channels.groups import ChannelGroup, group
from compressor.config import PruneSettings
from compressor.errors import UsageError
from compressor.pruning.criteria import CRITERIA, Weights, criterion
from compressor.pruning.criteria.base import aggregate_scores, weakest_first
from compressor.pruning.criteria.norms import Consumers
from tests.models import between, in_memory, model, weight
from tests.oracle import couple

Numbers = NDArray[np.float64]
AGGREGATES = {"mean": np.mean, "sum": np.sum, "max": np.max}
ALL: list[str] = [name for name in CRITERIA if criterion(name).needs is None]
"""Those that weights are enough for; of the others see test_activations.py and test_saliency.py."""


def chain() -> onnx.ModelProto:
    return between(
        "n = BatchNormalization(a, s, p, q, s2)  b = Relu(n)",
        more="float[16] s, float[16] p, float[16] q, float[16] s2",
    )


def first(proto: onnx.ModelProto) -> ChannelGroup:
    return group(couple(in_memory(proto), PruneSettings())[1])[0]


def scores(name: str, proto: onnx.ModelProto, aggregate: str = "mean", seed: int = 0) -> Numbers:
    return criterion(name).score(first(proto), Weights(aggregate, seed=seed))


def norms(proto: onnx.ModelProto, power: int) -> list[Numbers]:
    """Of the filters of ``w`` and of the slices of ``v`` that read them; norms, scales and biases do not count."""
    filters, readers = (weight(proto, name).astype(np.float64) for name in ("w", "v"))
    return [
        np.sum(np.abs(filters) ** power, axis=(1, 2, 3)) ** (1 / power),
        np.sum(np.abs(readers) ** power, axis=(0, 2, 3)) ** (1 / power),
    ]


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize(("name", "power"), [("l1", 1), ("l2", 2)])
def test_magnitude(name: str, power: int, aggregate: str) -> None:
    proto = chain()
    parts = np.stack([n / n.mean() for n in norms(proto, power)])
    np.testing.assert_allclose(scores(name, proto, aggregate), AGGREGATES[aggregate](parts, axis=0), rtol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_scores_of_huge_weights_are_numbers(name: str) -> None:
    proto = chain()
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        array.flat[::3] = 1e38
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    assert np.isfinite(scores(name, proto)).all()


def test_quantised_filters_count_as_what_they_stand_for() -> None:
    """Filters with scales of their own all fill the range of a byte: only scale and zero point tell them apart."""
    proto = model("""(float[3,4,6,6] x) => (float y)
    <uint8[16,4,1,1] k, float[16] s, uint8[16] z, uint8[2,16,1,1] v, float t = {0.01}, uint8 h = {128}> {
        w = DequantizeLinear<axis=0>(k, s, z)  a = Conv(x, w)  b = Relu(a)
        r = DequantizeLinear(v, t, h)  y = Conv(b, r) }""")
    arrays = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in proto.graph.initializer}
    filters = (arrays["k"] - arrays["z"][:, None, None, None]) * arrays["s"][:, None, None, None]
    one = np.sqrt(np.square(filters).sum(axis=(1, 2, 3)))
    two = np.sqrt(np.square((arrays["v"] - 128) * 0.01).sum(axis=(0, 2, 3)))
    np.testing.assert_allclose(scores("product", proto), one * two, rtol=1e-5)
    np.testing.assert_allclose(scores("l2", proto), (one / one.mean() + two / two.mean()) / 2, rtol=1e-5)


def test_product() -> None:
    proto = chain()
    one, two = norms(proto, 2)
    np.testing.assert_allclose(scores("product", proto), one * two, rtol=1e-6)


def test_consumers() -> None:
    """Readers alone; every one counts."""
    proto = between("b = Relu(a)  u = Conv(b, v2)", more="float[5,16,1,1] v2")
    proto.graph.output.append(onnx.helper.make_tensor_value_info("u", 1, [3, 5, 6, 6]))
    energy = sum((weight(proto, n).astype(np.float64) ** 2).sum(axis=(0, 2, 3)) for n in ("v", "v2"))
    np.testing.assert_allclose(scores("consumers", proto), np.sqrt(energy), rtol=1e-6)


def test_consumers_count_with_the_scale_of_the_norm_before_them() -> None:
    proto = chain()
    expected = np.abs(weight(proto, "s").astype(np.float64)) * norms(proto, 2)[1]
    np.testing.assert_allclose(scores("consumers", proto), expected, rtol=1e-6)


def test_dependency_is_the_scale_times_the_mean_of_what_reads_the_channel() -> None:
    proto = chain()
    expected = np.abs(weight(proto, "s")) * np.abs(weight(proto, "v")).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(scores("dependency", proto), expected, rtol=1e-6)


def test_consumers_of_what_nobody_reads_are_its_filters() -> None:
    proto = model(
        """(float[3,5,8] x) => (float[3,5,5] y) <float[8,16] wq, float[8,16] wk> {
            q = MatMul(x, wq)  k = MatMul(x, wk)  kt = Transpose<perm=[0,2,1]>(k)  y = MatMul(q, kt) }"""
    )
    energy = sum((weight(proto, n).astype(np.float64) ** 2).sum(axis=0) for n in ("wq", "wk"))
    np.testing.assert_allclose(scores("consumers", proto), np.sqrt(energy), rtol=1e-6)


def test_lamp() -> None:
    proto = chain()
    energy = np.mean([n / n.mean() for n in norms(proto, 2)], axis=0) ** 2
    expected = [e / energy[energy >= e].sum() for e in energy]
    np.testing.assert_allclose(scores("lamp", proto), expected, rtol=1e-6)


def test_geometric_median() -> None:
    proto = chain()
    filters = weight(proto, "w").reshape(16, -1).astype(np.float64)
    expected = [sum(np.linalg.norm(a - b) for b in filters) for a in filters]
    np.testing.assert_allclose(scores("fpgm", proto), expected, rtol=1e-4)


def test_random_depends_on_the_seed_alone() -> None:
    one, again, other = (scores("random", chain(), seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).all()
    assert ((one >= 0) & (one < 1)).all()


def test_random_differs_from_group_to_group() -> None:
    groups = group(couple(in_memory(chain()), PruneSettings())[1])
    judge = criterion("random")
    one, two = (judge.score(g, Weights("mean")) for g in groups)
    assert (one[:8] != two).any()


def scaled(proto: onnx.ModelProto, factors: Numbers) -> onnx.ModelProto:
    """The same function: filters times positive factors, readers divided by them, across the ReLU."""
    twin = onnx.ModelProto()
    twin.CopyFrom(proto)
    arrays = {t.name: numpy_helper.to_array(t) for t in twin.graph.initializer}
    arrays["w"] = (arrays["w"] * factors[:, None, None, None]).astype(np.float32)
    arrays["bias"] = (arrays["bias"] * factors).astype(np.float32)
    arrays["v"] = (arrays["v"] / factors[None, :, None, None]).astype(np.float32)
    for tensor in twin.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
    return twin


def test_product_does_not_change_when_a_scale_moves_across_a_relu(rng: np.random.Generator) -> None:
    proto = between("b = Relu(a)")
    twin = scaled(proto, rng.uniform(0.1, 10, 16))
    np.testing.assert_allclose(scores("product", twin), scores("product", proto), rtol=1e-5)
    assert np.abs(scores("l2", twin) / scores("l2", proto) - 1).max() > 0.1


@pytest.mark.parametrize("name", ALL)
def test_scores_are_finite_and_not_negative(name: str) -> None:
    found = scores(name, chain())
    assert found.shape == (16,)
    assert np.isfinite(found).all()
    assert (found >= 0).all()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_odd_weights_give_scores_that_are_numbers(name: str, value: float) -> None:
    """A weight of zeros, or one that holds a NaN or an infinity somewhere."""
    proto = between("b = Relu(a)")
    array = weight(proto, "w").copy()
    array[...] = 0.0 if value == 0.0 else array
    array[3, 0, 0, 0] = value
    next(t for t in proto.graph.initializer if t.name == "w").CopyFrom(numpy_helper.from_array(array, "w"))
    found = scores(name, proto)
    assert found.shape == (16,)
    assert not np.isnan(found).any()


@pytest.mark.parametrize("name", ALL)
def test_every_criterion_scores_shared_and_ragged_units(name: str) -> None:
    """A hidden unit of an LSTM owns rows of several gates in one weight and single columns in another."""
    proto = model(
        """(float[5,3,8] x) => (float y) <float[1,64,8] u, float[1,64,16] t, float[16,6] v, int64[1] one = {1}> {
            all = LSTM<hidden_size=16>(x, u, t)  q = Squeeze(all, one)  y = MatMul(q, v) }"""
    )
    assert scores(name, proto).shape == (16,)


def test_energy_of_a_hidden_unit_counts_every_gate() -> None:
    proto = model(
        """(float[5,3,8] x) => (float y) <float[1,64,8] u, float[1,64,16] t, float[16,6] v, int64[1] one = {1}> {
            all = LSTM<hidden_size=16>(x, u, t)  q = Squeeze(all, one)  y = MatMul(q, v) }"""
    )
    found = first(proto)
    slot = next(s for s in found.slots if s.value.name == "u")
    expected = (weight(proto, "u").astype(np.float64).reshape(4, 16, 8) ** 2).sum(axis=(0, 2))
    np.testing.assert_allclose(Weights("mean").of_units(found, slot, 2), expected, rtol=1e-6)


def test_every_criterion_can_be_made() -> None:
    assert all(callable(criterion(name).score) for name in CRITERIA)


@pytest.mark.parametrize("found", [Consumers, Consumers()])
def test_a_table_holds_criteria_or_what_makes_them(found: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CRITERIA, "find", lambda _: found)
    assert criterion("mine") == Consumers()


def test_unknown_criterion() -> None:
    with pytest.raises(UsageError, match="no criterion 'nobody'"):
        criterion("nobody")


def test_ranking_breaks_ties_by_unit() -> None:
    assert weakest_first(np.asarray([9, 4, 7, 5]), np.asarray([1.0, 1.0, 0.5, 1.0])).tolist() == [2, 1, 3, 0]


def test_combine_leaves_out_what_says_nothing() -> None:
    good, zero, broken = np.asarray([1.0, 3.0]), np.zeros(2), np.asarray([np.inf, 1.0])
    np.testing.assert_allclose(aggregate_scores([good, zero, broken], "mean", 2), [0.5, 1.5])
    np.testing.assert_array_equal(aggregate_scores([zero], "mean", 2), [0, 0])
    np.testing.assert_array_equal(aggregate_scores([], "sum", 3), [0, 0, 0])
