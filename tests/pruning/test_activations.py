"""Criteria of activations against plain computations with numpy, on what ONNX Runtime computes inside a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from compressor.channels.coupling import Coupling
from compressor.channels.groups import ChannelGroup, group
from compressor.channels.labels import Reason
from compressor.config import PruneSettings
from compressor.data import Batch
from compressor.errors import CompressorError
from compressor.pruning import activations
from compressor.pruning.activations import nuclear_drops
from compressor.pruning.criteria import Measurement, Need, Weights, criterion
from compressor.pruning.readers import gates, readings
from compressor.runtime.taps import tap
from tests.models import between, in_memory, model, tokens, weight
from tests.oracle import couple

Numbers = NDArray[np.float64]
SETTINGS = PruneSettings()
BY_ACTIVATION = ["activation", "wanda", "pfp", "chip"]


def measured(
    name: str, proto: onnx.ModelProto, inputs: Sequence[NDArray[np.generic]]
) -> tuple[Coupling, Weights, dict[str, ChannelGroup]]:
    found, coupling = couple(in_memory(proto), SETTINGS)
    need = criterion(name).needs
    assert need is not None
    result = activations.measure_activations(need, found, coupling, [Batch({"x": x}) for x in inputs], "cpu")
    return coupling, Weights("mean", result), {g.name: g for g in group(coupling)}


def scores(name: str, proto: onnx.ModelProto, inputs: Sequence[NDArray[np.generic]], of: str = "w") -> Numbers:
    _, weights, groups = measured(name, proto, inputs)
    return criterion(name).score(groups[of], weights)


def inside(proto: onnx.ModelProto, value: str, x: NDArray[np.generic]) -> Numbers:
    return next(iter(tap(in_memory(proto), [value], [{"x": x}], "cpu")))[0].astype(np.float64)


@pytest.fixture
def images(rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.normal(size=(3, 4, 6, 6)).astype(np.float32)


def test_activation(images: NDArray[np.float32]) -> None:
    proto = between("b = Relu(a)")
    expected = np.sqrt((inside(proto, "b", images) ** 2).mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(scores("activation", proto, [images]), expected, rtol=1e-5)


def test_activations_on_a_grid_count_as_what_they_stand_for(images: NDArray[np.float32]) -> None:
    proto = between(
        """q = QuantizeLinear(a, fine, zero)  r = QLinearConv(q, fine, zero, k, fine, zero, coarse, zero)
        b = DequantizeLinear(r, coarse, zero)""",
        more="uint8[16,16,1,1] k, float fine = {0.05}, uint8 zero = {128}, float coarse = {0.4}",
    )
    steps = inside(proto, "q", images) - 128
    expected = np.sqrt((np.square(steps * 0.05)).mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(scores("activation", proto, [images]), expected, rtol=1e-5)


def test_wanda(images: NDArray[np.float32]) -> None:
    """Two readers of one value: their slices count together."""
    proto = between("b = Relu(a)  u = Conv(b, v2)", more="float[5,16,1,1] v2")
    proto.graph.output.append(onnx.helper.make_tensor_value_info("u", 1, [3, 5, 6, 6]))
    energy = (inside(proto, "b", images) ** 2).mean(axis=(0, 2, 3))
    slices = sum((weight(proto, n).astype(np.float64) ** 2).sum(axis=(0, 2, 3)) for n in ("v", "v2"))
    np.testing.assert_allclose(scores("wanda", proto, [images]), np.sqrt(energy * slices), rtol=1e-5)


def test_pfp_against_every_product(images: NDArray[np.float32]) -> None:
    proto = between("b = Relu(a)")
    seen, reader = inside(proto, "b", images), weight(proto, "v").astype(np.float64)[:, :, 0, 0]
    expected = np.abs(reader[None, :, :, None, None] * seen[:, None]).max(axis=(0, 1, 3, 4))
    np.testing.assert_allclose(scores("pfp", proto, [images]), expected, rtol=1e-5)


def test_pfp_of_a_matrix_product(rng: np.random.Generator) -> None:
    proto = tokens("b = Relu(a)")
    x = rng.normal(size=(3, 5, 8)).astype(np.float32)
    seen, reader = inside(proto, "b", x), weight(proto, "v").astype(np.float64)
    expected = np.abs(seen[..., None] * reader).max(axis=(0, 1, 3))
    np.testing.assert_allclose(scores("pfp", proto, [x]), expected, rtol=1e-5)


def test_chip_against_singular_values(images: NDArray[np.float32]) -> None:
    proto = between("b = Relu(a)")
    expected = np.zeros(16)
    for image in inside(proto, "b", images).reshape(3, 16, 36):
        for c in range(16):
            less = image.copy()
            less[c] = 0
            expected[c] += (np.linalg.norm(image, "nuc") - np.linalg.norm(less, "nuc")) / 3
    np.testing.assert_allclose(scores("chip", proto, [images]), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (5, 1), (1, 5)])
def test_nuclear_drops_of_sets_of_rows(shape: tuple[int, int], rng: np.random.Generator) -> None:
    matrix = rng.normal(size=shape)
    sets = [np.asarray(s) for s in ([0], [shape[0] - 1], list(range(0, shape[0], 2)), list(range(shape[0])))]
    expected = []
    for gone in sets:
        less = matrix.copy()
        less[gone] = 0
        expected.append(np.linalg.norm(matrix, "nuc") - np.linalg.norm(less, "nuc"))
    np.testing.assert_allclose(nuclear_drops(matrix, sets), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", BY_ACTIVATION)
def test_batches_do_not_matter(name: str, images: NDArray[np.float32]) -> None:
    """A symbolic batch, read at once or one by one."""
    proto = between("b = Relu(a)")
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    whole = scores(name, proto, [images])
    np.testing.assert_allclose(scores(name, proto, [images[:1], images[1:]]), whole, rtol=1e-5)
    assert len(set(whole.tolist())) == 16


def test_a_unit_of_many_positions_and_a_reader_behind_a_transpose(rng: np.random.Generator) -> None:
    """A flattened channel is read by 36 columns; the weight is turned before it is used."""
    proto = model(
        """(float[3,4,6,6] x) => (float[3,5] y) <float[7,4,3,3] w, float[5,252] t> {
            a = Conv<pads=[1,1,1,1]>(x, w)  b = Relu(a)  f = Flatten(b)
            tt = Transpose<perm=[1,0]>(t)   y = MatMul(f, tt) }"""
    )
    x = rng.normal(size=(3, 4, 6, 6)).astype(np.float32)
    energy = (inside(proto, "b", x) ** 2).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(scores("activation", proto, [x]), np.sqrt(energy), rtol=1e-5)
    slices = (weight(proto, "t").astype(np.float64) ** 2).reshape(5, 7, 36).sum(axis=(0, 2))
    np.testing.assert_allclose(scores("wanda", proto, [x]), np.sqrt(energy * slices), rtol=1e-5)


def test_units_that_no_weight_reads_count_where_they_are_written(rng: np.random.Generator) -> None:
    """Queries and keys meet each other; what is inside of a head has no reader among the weights."""
    proto = model(
        """(float[3,5,8] x) => (float[3,5,5] y) <float[8,16] wq, float[8,16] wk> {
            q = MatMul(x, wq)  k = MatMul(x, wk)  kt = Transpose<perm=[0,2,1]>(k)  y = MatMul(q, kt) }"""
    )
    x = rng.normal(size=(3, 5, 8)).astype(np.float32)
    expected = sum((inside(proto, n, x) ** 2).mean(axis=(0, 1)) for n in ("q", "k"))
    np.testing.assert_allclose(scores("activation", proto, [x], "wq"), np.sqrt(expected), rtol=1e-5)


def test_readers_of_a_residual_stream() -> None:
    """Every layer reads the stream as it is there; those that write to it alone are no readers."""
    proto = between("c = Conv(a, m)  d = Relu(c)  e = Conv(d, m2)  b = Add(a, e)",
                    more="float[8,16,1,1] m, float[16,8,1,1] m2")  # fmt: skip
    _, coupling = couple(in_memory(proto), SETTINGS)
    stream = next(g for g in group(coupling) if g.name == "w")
    own = [r for r in readings(coupling) if np.isin(stream.units, r.slot.term.units).all()]
    found = {(r.slot.label, str(r.value.name)) for r in own}
    assert found == {("m:1", "a"), ("v:1", "b")}
    gated = {slot.label for slot, units in gates(coupling, stream.slots) if np.isin(stream.units, units).all()}
    assert gated == {"m:1", "v:1"}


def test_an_activation_that_is_no_number_gives_a_score_that_is_one() -> None:
    x = np.full((3, 4, 6, 6), np.nan, np.float32)
    for name in BY_ACTIVATION:
        assert np.isfinite(scores(name, between("b = Relu(a)"), [x])).all()


# ---- what was measured ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("join", "expected"), [(np.add, [4.0, 6.0]), (np.maximum, [3.0, 4.0])])
def test_units_merged_after_measuring_own_what_their_parts_owned(join: np.ufunc, expected: list[float]) -> None:
    _, coupling = couple(in_memory(between("b = Relu(a)")), SETTINGS)
    first = group(coupling)[0].units
    rounds = np.zeros((2, len(coupling.units)))
    rounds[:, first[0]], rounds[:, first[5]] = (1.0, 2.0), (3.0, 4.0)
    found = Measurement(rounds, coupling.units, join)
    coupling.units.union(first[:1], first[5:6], Reason("", "", "", "paired"))
    merged = group(coupling.run())[0]
    assert len(merged.units) == 15
    assert found.of(merged)[:, merged.units == first[0]].ravel().tolist() == expected
    assert found.of(merged).sum() == sum(expected)


def test_measurement_is_asked_for() -> None:
    _, coupling = couple(in_memory(between("b = Relu(a)")), SETTINGS)
    with pytest.raises(CompressorError, match="needs something measured"):
        criterion("taylor").score(group(coupling)[0], Weights("mean"))


def test_every_need_of_activations_has_its_criterion() -> None:
    assert {criterion(name).needs for name in BY_ACTIVATION} == set(activations.MEASURES)
    assert {Need.ENERGY, Need.RANK} < set(activations.MEASURES)
