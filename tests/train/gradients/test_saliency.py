"""Measurements by gradient against finite differences and conservation laws, and every criterion on random graphs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from compressor import errors
from compressor.channels.groups import ChannelGroup, group
from compressor.config import PruneSettings
from compressor.data import Batch
from compressor.pruning import activations
from compressor.pruning.criteria import CRITERIA, Need, Weights, criterion
from compressor.pruning.cut.analysis import Analysis, analyse
from compressor.train import GraphModule
from compressor.train.gradients import saliency
from compressor.train.gradients.saliency_loss import COOL, SaliencyLoss
from compressor.train.gradients.synflow import linearise
from tests.models import between, in_memory, model
from tests.property.graphs import blocks_of, random_inputs, random_model
from tests.pruning.criteria.test_norms import scaled

torch.set_num_threads(1)
Numbers = NDArray[np.float64]
SETTINGS = PruneSettings()

RESIDUAL = """
    (float[3,4,6,6] x) => (float[3,5] y)
    <float[8,4,3,3] w, float[8] bw, float[6,8,3,3] u, float[6] bu, float[8,6,3,3] v, float[8] bv,
     float[8,5] head, float[5] bh> {
        a = Conv<pads=[1,1,1,1]>(x, w, bw)  b = Relu(a)
        c = Conv<pads=[1,1,1,1]>(b, u, bu)  d = Relu(c)
        e = Conv<pads=[1,1,1,1]>(d, v, bv)  f = Add(b, e)  g = Relu(f)
        p = GlobalAveragePool(g)  q = Flatten(p)  y = Gemm(q, head, bh) }"""
"""A stream of eight channels that two convolutions write, and a convolution and the head read."""


def measured(name: str, proto: onnx.ModelProto, batches: Iterable[Batch], seed: int = 0) -> tuple[Analysis, Weights]:
    analysis = analyse(in_memory(proto), SETTINGS)
    need = criterion(name).needs
    assert need is not None
    listed = list(batches)
    return analysis, Weights(
        "mean", saliency.measure_gradients(need, analysis.model, analysis.coupling, lambda: listed, seed)
    )


def scores(name: str, proto: onnx.ModelProto, *batches: Batch, of: str = "w", seed: int = 0) -> Numbers:
    found, weights = measured(name, proto, batches, seed)
    return criterion(name).score(named(found, of), weights)


def named(analysis: Analysis, name: str) -> ChannelGroup:
    return next(g for g in group(analysis.coupling) if g.name == name)


def images(rng: np.random.Generator, labels: bool = True, count: int = 3) -> Batch:
    x = rng.normal(size=(count, 4, 6, 6)).astype(np.float32)
    return Batch({"x": x}, rng.integers(0, 5, count) if labels else None)


def precise(proto: onnx.ModelProto) -> GraphModule:
    """A trained module in double precision, for finite differences."""
    return GraphModule(in_memory(proto)).double().eval()


def entropy(module: GraphModule, batch: Batch, temperature: float = 1.0) -> torch.Tensor:
    logits = module(torch.as_tensor(batch.inputs["x"]).double())
    return torch.nn.functional.cross_entropy(logits / temperature, torch.as_tensor(batch.labels))


# ---- gates ---------------------------------------------------------------------------------------------------


def gate_by_difference(proto: onnx.ModelProto, batch: Batch, channel: int, step: float = 1e-4) -> float:
    """dL/dg of a gate on what both convolutions write into the stream."""
    found = []
    for factor in (1 + step, 1 - step):
        module = precise(proto)
        with torch.no_grad():
            for name in ("w", "bw", "v", "bv"):
                module.get_parameter(name)[channel] *= factor
            found.append(float(entropy(module, batch)))
    return (found[0] - found[1]) / (2 * step)


def test_weights_times_gradients_are_the_gate(rng: np.random.Generator) -> None:
    """Of those that write the stream, and of those that read it: the network is homogeneous in between."""
    proto, batch = model(RESIDUAL), images(rng)
    expected = [gate_by_difference(proto, batch, c) for c in range(8)]
    assert min(map(abs, expected)) > 1e-4
    module = precise(proto)
    entropy(module, batch).backward()
    written = torch.zeros(8, dtype=torch.double)
    for name in ("w", "bw", "v", "bv"):
        parameter = module.get_parameter(name)
        assert parameter.grad is not None
        written += (parameter * parameter.grad).reshape(8, -1).sum(dim=1)
    np.testing.assert_allclose(written.detach(), expected, rtol=1e-5)
    np.testing.assert_allclose(scores("taylor", proto, batch), np.square(expected), rtol=1e-3)
    np.testing.assert_allclose(scores("snip", proto, batch), np.abs(expected), rtol=1e-3)


def test_taylor_averages_squares_and_snip_sums_first(rng: np.random.Generator) -> None:
    proto, one, two = model(RESIDUAL), images(rng), images(rng)
    each = np.array([[gate_by_difference(proto, b, c) for c in range(8)] for b in (one, two)])
    np.testing.assert_allclose(scores("taylor", proto, one, two), (each**2).mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(scores("snip", proto, one, two), np.abs(each.sum(axis=0)), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("labels", [True, False])
def test_taylor_does_not_change_when_a_scale_moves_across_a_relu(rng: np.random.Generator, labels: bool) -> None:
    proto, batch = between("b = Relu(a)"), images(rng, labels=False)
    if labels:
        batch = Batch(batch.inputs, rng.integers(0, 2, (3, 6, 6)))
    twin = scaled(proto, rng.uniform(0.1, 10, 16))
    np.testing.assert_allclose(scores("taylor", twin, batch), scores("taylor", proto, batch), rtol=1e-3)


def test_without_labels_taylor_is_how_far_the_outputs_move(rng: np.random.Generator) -> None:
    """E |dy/dg|², the outputs by their size, from the Jacobian by finite differences."""
    proto, batch = model(RESIDUAL), images(rng, labels=False, count=1)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    x, step = torch.as_tensor(batch.inputs["x"]).double(), 1e-4
    size = float(precise(proto)(x).detach().square().mean().sqrt())
    expected = []
    for channel in range(8):
        ends = []
        for factor in (1 + step, 1 - step):
            module = precise(proto)
            with torch.no_grad():
                for name in ("w", "bw", "v", "bv"):
                    module.get_parameter(name)[channel] *= factor
                ends.append(module(x))
        expected.append(float(((ends[0] - ends[1]) / (2 * step * size)).square().sum()))
    found = scores("taylor", proto, *[batch] * 400)
    np.testing.assert_allclose(found, expected, rtol=0.3)
    assert np.corrcoef(found, expected)[0, 1] > 0.98


def test_fisher_does_not_read_labels(rng: np.random.Generator) -> None:
    proto, batch = model(RESIDUAL), images(rng)
    bare = Batch(batch.inputs)
    np.testing.assert_array_equal(scores("fisher", proto, batch), scores("taylor", proto, bare))
    assert np.abs(scores("taylor", proto, batch) / scores("fisher", proto, batch) - 1).max() > 0.1


def test_probabilities_count_as_their_logits(rng: np.random.Generator) -> None:
    plain, batch = model(RESIDUAL), images(rng)
    headed = model(RESIDUAL.replace("y = Gemm", "z = Gemm").replace(" }", " y = Softmax(z) }"))
    np.testing.assert_allclose(scores("taylor", headed, batch), scores("taylor", plain, batch), rtol=1e-3)


def test_real_labels_are_a_regression(rng: np.random.Generator) -> None:
    proto, batch = model(RESIDUAL), images(rng, labels=False)
    target = rng.normal(size=(3, 5)).astype(np.float32)
    module = precise(proto)
    output = module(torch.as_tensor(batch.inputs["x"]).double())
    (output - torch.as_tensor(target)).square().mean().backward()
    head = module.get_parameter("head")
    assert head.grad is not None
    inner = module.get_parameter("u")
    assert inner.grad is not None
    expected = (head * head.grad).sum(dim=1) + (inner * inner.grad).sum(dim=(0, 2, 3))
    found = scores("snip", proto, Batch(batch.inputs, target))
    np.testing.assert_allclose(found, expected.detach().abs(), rtol=1e-3, atol=1e-6)


def test_labels_that_do_not_fit(rng: np.random.Generator) -> None:
    proto, batch = model(RESIDUAL), images(rng)
    with pytest.raises(errors.UsageError, match=r"shape \[3, 2\] fit no output of the model \(shapes \[3, 5\]\)"):
        scores("taylor", proto, Batch(batch.inputs, np.zeros((3, 2), np.int64)))
    with pytest.raises(errors.UsageError, match="labels run from 1 to 7, but the output has 5 classes"):
        scores("taylor", proto, Batch(batch.inputs, np.array([1, 7, 2])))


# ---- curvature, flow, paths ----------------------------------------------------------------------------------


def test_hessian_against_the_jacobian(rng: np.random.Generator) -> None:
    """``sum of w² sum over outputs of (dy/dw)²`` for one sample, over every weight of the unit."""
    proto, batch = model(RESIDUAL), images(rng, labels=False, count=1)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    module = precise(proto)
    output = module(torch.as_tensor(batch.inputs["x"]).double())
    output = output / output.detach().square().mean().sqrt()
    expected = torch.zeros(8, dtype=torch.double)
    layout = {"w": (1, 2, 3), "bw": (), "v": (1, 2, 3), "bv": (), "u": (0, 2, 3), "head": (1,)}
    for k in range(5):
        slopes = torch.autograd.grad(output[0, k], [module.get_parameter(n) for n in layout], retain_graph=True)
        for (name, others), slope in zip(layout.items(), slopes, strict=True):
            term = (module.get_parameter(name) * slope).square()
            expected += term.sum(dim=others) if others else term
    found = scores("hessian", proto, *[batch] * 300)
    np.testing.assert_allclose(found, expected.detach(), rtol=0.15)


def test_grasp_against_differences_of_gradients(rng: np.random.Generator) -> None:
    """H g by moving the weights along g; a smooth activation, so that there is a Hessian."""
    proto, batch = model(RESIDUAL.replace("Relu", "Tanh")), images(rng)
    layout = {"w": (1, 2, 3), "bw": (), "v": (1, 2, 3), "bv": (), "u": (0, 2, 3), "head": (1,)}

    def gradient(along: dict[str, torch.Tensor], step: float) -> dict[str, torch.Tensor]:
        module = precise(proto)
        with torch.no_grad():
            for name, direction in along.items():
                module.get_parameter(name).add_(direction, alpha=step)
        entropy(module, batch, COOL).backward()
        return {n: p.grad for n, p in module.named_parameters() if p.grad is not None and n != "bh"}

    slopes = gradient({}, 0.0)
    ahead, behind = gradient(slopes, 1.0), gradient(slopes, -1.0)  # the gradients are of the order of 1e-4
    weights, expected = dict(precise(proto).named_parameters()), torch.zeros(8, dtype=torch.double)
    for name, others in layout.items():
        term = weights[name] * (ahead[name] - behind[name]) / 2
        expected += term.sum(dim=others) if others else term
    wanted, found = expected.detach().numpy(), scores("grasp", proto, batch)
    np.testing.assert_allclose(found / np.ptp(found), (wanted - wanted.min()) / np.ptp(wanted), atol=2e-3)


CHAIN = """
    (float[3,4,6,6] x) => (float[3,5] y)
    <float[8,4,3,3] w, float[6,8,3,3] u, float[7,6,1,1] v, float[7,5] head> {
        a = Conv<pads=[1,1,1,1]>(x, w)  b = Relu(a)  c = Conv<pads=[1,1,1,1]>(b, u)  d = Relu(c)
        e = Conv(d, v)  f = Clip(e)  p = GlobalAveragePool(f)  q = Flatten(p)  y = MatMul(q, head) }"""


def test_synflow_is_conserved(rng: np.random.Generator) -> None:
    """What flows into a channel flows out of it, and every cut carries all of R."""
    proto = model(CHAIN)
    module = linearise(in_memory(proto))
    total = module(torch.ones(3, 4, 6, 6).double()).sum()
    total.backward()

    def flow(name: str, axis: int) -> Numbers:
        parameter = module.get_parameter(name)
        assert parameter.grad is not None
        return (parameter * parameter.grad).movedim(axis, 0).flatten(1).sum(dim=1).detach().numpy()

    for name, into, out in (("w", ("w", 0), ("u", 1)), ("u", ("u", 0), ("v", 1)), ("v", ("v", 0), ("head", 0))):
        np.testing.assert_allclose(flow(*into), flow(*out), rtol=1e-9)
        found = scores("synflow", proto, of=name)
        np.testing.assert_allclose(found, flow(*into), rtol=1e-9)
        assert found.sum() == pytest.approx(float(total.detach()))


def test_synflow_passes_what_would_bend_a_path() -> None:
    """Clips, norms and squashing are passed by; a gate that is multiplied stays, and is open."""
    plain = model(CHAIN)
    bent = model(
        CHAIN.replace("f = Clip(e)", "f0 = Clip(e, low, high)  f1 = Sigmoid(f0)  f2 = Tanh(f1)  f = Relu(f2)")
        .replace("float[7,5] head", "float[7,5] head, float low = {0}, float high = {6}")
    )  # fmt: skip
    np.testing.assert_allclose(scores("synflow", bent), scores("synflow", plain))
    gated = model(CHAIN.replace("f = Clip(e)", "big = Mul(e, hundred)  s = Sigmoid(big)  f = Mul(e, s)")
                  .replace("float[7,5] head", "float[7,5] head, float hundred = {100}"))  # fmt: skip
    np.testing.assert_allclose(scores("synflow", gated), scores("synflow", plain), rtol=1e-6)


# ---- every model ---------------------------------------------------------------------------------------------


def test_a_unit_with_quantised_readers_is_gated_where_it_is_written(rng: np.random.Generator) -> None:
    plain = between("r = Relu(a)  b = Conv(r, q)", more="float[16,16,1,1] q")
    packed = between("r = Relu(a)  q = DequantizeLinear(w8, one)  b = Conv(r, q)",
                     more="int8[16,16,1,1] w8, float one = {0.05}")  # fmt: skip
    reader = 0.05 * next(numpy_helper.to_array(t) for t in packed.graph.initializer if t.name == "w8")
    next(t for t in plain.graph.initializer if t.name == "q").CopyFrom(
        numpy_helper.from_array(reader.astype(np.float32), "q")
    )
    batch = images(rng, labels=False)
    np.testing.assert_allclose(scores("taylor", packed, batch), scores("taylor", plain, batch), rtol=1e-3)


def test_where_nothing_has_a_gradient_weights_decide(rng: np.random.Generator) -> None:
    proto = model(
        """(float[3,4,6,6] x) => (float[3,5,6,6] y)
        <int8[8,4,1,1] w8, int8[5,8,1,1] v8, float one = {0.05}, float two = {0.05}> {
            w = DequantizeLinear(w8, one)  a = Conv(x, w)  b = Relu(a)
            v = DequantizeLinear(v8, two)  y = Conv(b, v) }"""
    )
    found, weights = measured("taylor", proto, [images(rng, labels=False)])
    member = named(found, "w8")
    assert not weights.measured(member).any()
    expected = criterion("consumers").score(member, weights)
    np.testing.assert_array_equal(criterion("taylor").score(member, weights), expected)
    assert len(set(expected.tolist())) == 8


def test_a_hidden_unit_is_read_by_the_next_step_and_the_next_layer(rng: np.random.Generator) -> None:
    proto = model(
        """(float[5,3,8] x) => (float y) <float[1,64,8] u, float[1,64,16] t, float[16,6] v, int64[1] one = {1}> {
            all = LSTM<hidden_size=16>(x, u, t)  q = Squeeze(all, one)  y = MatMul(q, v) }"""
    )
    batch = Batch({"x": rng.normal(size=(5, 3, 8)).astype(np.float32)}, rng.normal(size=(5, 3, 6)).astype(np.float32))
    module = precise(proto)
    output = module(torch.as_tensor(batch.inputs["x"]).double())
    (output - torch.as_tensor(batch.labels)).square().mean().backward()
    t, v = module.get_parameter("t"), module.get_parameter("v")
    assert t.grad is not None
    assert v.grad is not None
    expected = (t * t.grad).sum(dim=(0, 1)) + (v * v.grad).sum(dim=1)
    np.testing.assert_allclose(scores("snip", proto, batch, of="u"), expected.detach().abs(), rtol=1e-3, atol=1e-6)


@cache
def check(seed: int) -> int:
    """Every criterion gives every group of a random graph finite scores; returns how many groups there were."""
    rng = np.random.default_rng(seed)
    proto = random_model(rng)
    try:
        analysis = analyse(ir.from_proto(proto), SETTINGS)
    except errors.ModelError:
        return 0
    groups = group(analysis.coupling)
    sizes = {k: v[0] for k, v in analysis.shapes.inputs.items() if v}
    batches = [Batch(dict(random_inputs(proto, rng, next(iter(sizes.values()), 3)))) for _ in range(2)]
    for name in CRITERIA:
        need = criterion(name).needs
        if need is None or not groups:
            continue
        try:
            by_activation = need in activations.MEASURES
            result = (
                activations.measure_activations(need, analysis.model, analysis.coupling, batches, "cpu")
                if by_activation
                else saliency.measure_gradients(need, analysis.model, analysis.coupling, lambda: batches, seed)
            )
        except Exception as error:
            raise AssertionError(f"seed {seed} ({', '.join(blocks_of(proto))}), {name}: {error}") from error
        for member in groups:
            score = criterion(name).score(member, Weights("mean", result))
            assert score.shape == member.units.shape
            assert score.dtype == np.float64
            assert np.isfinite(score).all()
            assert (score >= 0).all()
    return len(groups)


@pytest.mark.parametrize("seed", range(12))
def test_scores_of_random_graphs_are_finite(seed: int) -> None:
    check(seed)


def test_random_graphs_do_have_groups() -> None:
    assert sum(check(seed) > 0 for seed in (0, 1)) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12, 150))
def test_scores_of_many_random_graphs_are_finite(seed: int) -> None:
    check(seed)


def test_every_need_is_measured_somewhere() -> None:
    needs = [*activations.MEASURES, *saliency.GRADIENT_MEASURES]
    assert sorted(need.name for need in needs) == sorted(need.name for need in Need)
    assert {criterion(name).needs for name in CRITERIA} - {None} == set(Need)


def test_parts_of_an_output_in_units_of_their_own_move_alike() -> None:
    """The gradient by a part of the output is one over its size: boxes in pixels do not drown probabilities."""
    y = torch.cat([torch.full((2, 4, 9), 50.0) * torch.rand(2, 4, 9), torch.rand(2, 3, 9) * 0.05], 1).requires_grad_()
    SaliencyLoss(ir.Graph([], [ir.val("y")], nodes=[]), 0).probe([y]).backward()
    assert y.grad is not None
    for part, moved in zip(y.detach().split((4, 3), 1), y.grad.split((4, 3), 1), strict=True):
        assert float(moved.abs().mean() * part.square().mean().sqrt()) == pytest.approx(2**-0.5, rel=1e-4)
