"""Lossless pruning: what must go, what must stay, and outputs equal to those of the original."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import numpy_helper

from compressor.commands import prune as command
from compressor.config import PruneSettings
from compressor.errors import NothingToPrune
from compressor.pruning.lossless import SUMMING_ERROR
from compressor.steps.prune.result import PruneResult
from tests.models import between, in_memory, model, tokens

TWO = [2, 5]
ZERO = {"w": TWO, "bias": TWO}
"""Two of the sixteen filters and their biases."""


@dataclass(frozen=True)
class At:
    """Part of a weight and the number it is set to."""

    index: Any
    number: float = 0.0


@dataclass(frozen=True)
class Case:
    """A model, the parts of its weights that are set, and what goes.

    Attributes:
        name: what is shown.
        build: makes the model.
        fill: weight -> the part that is set to zero, or an At, or several.
        gone: group -> channels removed, for the groups that lose any.
        settings: further settings of the run.
    """

    name: str
    build: Callable[[], onnx.ModelProto]
    fill: Mapping[str, Any]
    gone: Mapping[str, int]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return self.name

    def model(self) -> onnx.ModelProto:
        return put(self.build(), self.fill)


def put(proto: onnx.ModelProto, fill: Mapping[str, Any]) -> onnx.ModelProto:
    """Sets parts of weights."""
    tensors = {t.name: t for t in proto.graph.initializer}
    for name, parts in fill.items():
        array = numpy_helper.to_array(tensors[name]).copy()
        for part in parts if isinstance(parts, tuple) and isinstance(parts[0], At) else (parts,):
            at = part if isinstance(part, At) else At(part)
            array[at.index] = at.number
        tensors[name].CopyFrom(numpy_helper.from_array(array, name))
    return proto


def prune(proto: onnx.ModelProto, **settings: Any) -> PruneResult:
    return command.prune(in_memory(proto), PruneSettings.parse({"lossless": True, **settings}))


def removed(proto: onnx.ModelProto, **settings: Any) -> dict[str, int]:
    """Channels that go, by group; what is left is run against the original on inputs of its own."""
    try:
        result = prune(proto, **settings)
    except NothingToPrune:
        return {}
    proof = result.report.proof
    assert proof is not None
    assert proof.tolerance == SUMMING_ERROR
    smaller = ir.to_proto(result.model)
    onnx.checker.check_model(smaller, full_check=True)
    same_outputs(proto, smaller)
    return {g.name: g.removed for g in result.report.groups if g.removed}


def same_outputs(one: onnx.ModelProto, two: onnx.ModelProto) -> None:
    sessions = [onnxruntime.InferenceSession(m.SerializeToString()) for m in (one, two)]
    rng = np.random.default_rng(7)
    feeds = {i.name: rng.normal(size=i.shape).astype(np.float32) for i in sessions[0].get_inputs()}
    for a, b in zip(*(s.run(None, feeds) for s in sessions), strict=True):
        assert np.isfinite(a).all()
        assert np.ptp(a) > 0.1, "an output that hardly varies would show nothing"
        assert np.abs(a - b).max() <= SUMMING_ERROR * np.abs(a).max()


def image(name: str, body: str, fill: Mapping[str, Any], gone: Mapping[str, int], **more: Any) -> Case:
    """``body`` from ``a`` to ``b`` between convolutions ``w`` and ``v``."""
    settings = more.pop("settings", {})
    return Case(name, lambda: between(body, **more), fill, gone, settings)


def token(name: str, body: str, fill: Mapping[str, Any], gone: Mapping[str, int], **more: Any) -> Case:
    """``body`` from ``a`` to ``b`` between matrix products with ``w`` and ``v``."""
    settings = more.pop("settings", {})
    return Case(name, lambda: tokens(body, **more), fill, gone, settings)


def whole(name: str, text: str, fill: Mapping[str, Any], gone: Mapping[str, int], **more: Any) -> Case:
    """A model written out."""
    return Case(name, lambda: model(text, **more), fill, gone)


RELU = "b = Relu(a)"
COLUMNS = {"w": (slice(None), TWO), "bias": TWO}
"""ZERO for a matrix product, whose filters are columns."""

PRODUCERS = (
    image("zero filters and biases", RELU, ZERO, {"w": 2}),
    image("zero filters, no bias", "c = Conv(a, u) b = Relu(c)", {"u": TWO}, {"u": 2}, more="float[16,16,1,1] u"),
    image("zero filters alone", RELU, {"w": TWO, "bias": (At([2], -0.5), At([5], 0.5))}, {"w": 1}),
    image("zero biases alone", RELU, {"bias": TWO}, {}),
    image("a filter that reads only zeros", "c = Relu(a) d = Conv(c, u) b = Relu(d)",
          {**ZERO, "u": ([0], [k for k in range(16) if k not in TWO])}, {"w": 2, "u": 1}, more="float[16,16,1,1] u"),
    image("constants through a chain of functions",
          "c = Add(a, p) d = HardSigmoid(c) e = Sub(d, half) f = Mul(e, s) b = Max(f, zero)",
          {"w": TWO, "bias": At(TWO, 1.0), "p": At(TWO, -1.0)}, {"w": 2},
          more="float[16,1,1] p, float half = {0.5}, float[16,1,1] s, float zero = {0}"),
    image("depthwise filters", "c = Conv<group=16>(a, u, p) b = Relu(c)", {"u": TWO, "p": (At([2]), At([5], -1.0))},
          {"w": 2}, more="float[16,1,3,3] u, float[16] p"),
    image("through a depthwise convolution", "c = Relu(a) b = Conv<group=16,pads=[1,1,1,1]>(c, u)", ZERO, {"w": 2},
          more="float[16,1,3,3] u"),
    image("a depthwise bias brings the channel back", "c = Conv<group=16>(a, u, p) b = Relu(c)",
          {**ZERO, "p": At(slice(None), 0.5)}, {}, more="float[16,1,3,3] u, float[16] p"),
    image("transposed filters", "c = ConvTranspose(a, u, p) b = Relu(c)",
          {"u": (slice(None), [1, 2, 3]), "p": [1, 2, 3]}, {"u": 3}, more="float[16,16,2,2] u, float[16] p"),
    image("one filter of every group", "c = Conv<group=4>(a, u) b = Relu(c)", {"u": [0, 5, 10, 15]}, {"u": 4},
          more="float[16,4,1,1] u"),
    image("one filter of every group, stopped in all but one", "c = Conv<group=4>(a, u, p) b = Relu(c)",
          {"u": [0, 5, 10, 15], "p": (At([0, 5, 10], -1.0), At(15, 1.0))}, {}, more="float[16,4,1,1] u, float[16] p"),
    image("filters that go together, stopped in all but one",
          "c = Conv(a, u, p) d = Relu(c) b = DepthToSpace<blocksize=2,mode=\"CRD\">(d)",
          {"u": slice(8, 12), "p": (At([8, 9, 10], -1.0), At(11, 1.0))}, {}, more="float[64,16,1,1] u, float[64] p"),
    image("filters that go together, all stopped",
          "c = Conv(a, u, p) d = Relu(c) b = DepthToSpace<blocksize=2,mode=\"CRD\">(d)",
          {"u": slice(8, 12), "p": At(slice(8, 12), -1.0)}, {"u": 4}, more="float[64,16,1,1] u, float[64] p"),
    image("a filter of all groups but one", "c = Conv<group=4>(a, u) b = Conv<group=4>(c, t)", {"u": [0, 1, 5, 10]},
          {}, more="float[16,4,1,1] u, float[16,4,1,1] t"),
    image("a scale and shift of zero", "c = BatchNormalization(a, s, p, q, s2) b = Relu(c)", {"s": TWO, "p": TWO},
          {"w": 2}, more="float[16] s, float[16] p, float[16] q, float[16] s2"),
    image("zero filters and what a normalisation adds", "c = BatchNormalization(a, s, p, q, s2) b = Relu(c)",
          {**ZERO, "q": (At([2], 3.0), At([5], -3.0)), "p": At(slice(None), 0.1)}, {"w": 1},
          more="float[16] s, float[16] p, float[16] q, float[16] s2", settings={"simplify": False}),
    token("zero columns", RELU, COLUMNS, {"w": 2}),
    token("zero columns of a transposed weight", "t = Transpose<perm=[1,0]>(u) c = MatMul(a, t) b = Relu(c)",
          {"u": TWO}, {"u": 2}, more="float[16,16] u", settings={"simplify": False}),
    token("a masked weight", "t = Mul(u, s) c = MatMul(a, t) b = Relu(c)", {"s": (0, TWO)}, {"u": 2},
          more="float[16,16] u, float[1,16] s", settings={"simplify": False}),
    token("a quantised weight", "t = DequantizeLinear(k, s, zero) c = MatMul(a, t) b = Relu(c)",
          {"k": At((slice(None), TWO), 3.0)}, {"k": 2}, more="int8[16,16] k, float s, int8 zero = {3}",
          settings={"simplify": False}),
    whole("layers of features", """(float[3,8] x) => (float[n,c] y)
          <float[16,8] w, float[16] bias, float[16,6] v, float[6,2] head> {
          a = Gemm<transB=1,beta=2.0>(x, w, bias) b = Relu(a) z = Gemm(b, v) y = MatMul(z, head) }""", ZERO, {"w": 2}),
)  # fmt: skip

SETTINGS = """float low = {-1}, float high = {1}, float two = {2}, float[16,1,1] s, float[16] s3, float[16,6,6] s4,
bool yes = {1}, float[16] zeros = {0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}, int64[8] pads = {0,0,1,1,0,0,1,1},
float[4] scales = {1,1,2,2}, int64[2] space = {2,3}, int64[1] channels = {1}, int64[4] repeats = {1,1,2,1}, float[4] s6,
int64[3] split = {0,4,-1}, int64[4] join = {0,16,6,6}"""
KEEPS_ZERO = (
    "b = Abs(a)", "b = Clip(a, low, high)", "b = Elu(a)", "b = Erf(a)", "b = Gelu(a)", "b = HardSwish(a)",
    "b = Identity(a)", "b = LeakyRelu(a)", "b = Neg(a)", "b = PRelu(a, s)", "b = Sign(a)", "b = Sin(a)", "b = Tanh(a)",
    "b = Mul(a, a)", "c = Sigmoid(a) b = Mul(a, c)", "b = Div(a, s)", "c = Exp(a) b = Div(a, c)", "b = Pow(a, two)",
    "b = ThresholdedRelu(a)",
    "b = Where(yes, a, a)", "b = MaxPool<kernel_shape=[2,2]>(a)", "b = AveragePool<kernel_shape=[2,2]>(a)",
    "b = GlobalAveragePool(a)", "b = InstanceNormalization(a, s3, zeros)", "b = Transpose<perm=[0,1,3,2]>(a)",
    "b = Concat<axis=2>(a, a)", "b = Pad(a, pads)", "b = Resize(a, , scales)", "b = Tile(a, repeats)",
    "b = ReduceMean(a, space)", "b = ReduceSum(a, space)", "b = ReduceMax(a, space)",
    "c = ReduceSum(a, channels) b = Mul(a, c)", "c = ReduceL2(a, channels) b = Mul(a, c)",
)  # fmt: skip
LOSES_ZERO = (
    "b = Sigmoid(a)", "b = Exp(a)", "b = Softplus(a)", "b = HardSigmoid(a)", "b = Cos(a)", "b = Clip(a, high)",
    "b = Add(a, high)", "b = Pad(a, pads, high)", "b = InstanceNormalization(a, s3, s3)",
    "b = ReduceLogSumExp(a, space)", "c = Pad(a, pads, high) d = Sub(c, high) b = Abs(d)",
)  # fmt: skip
COUNTS_CHANNELS = (
    "c = ReduceMean(a, channels) b = Mul(a, c)", "c = ReduceMax(a, channels) b = Mul(a, c)",
    "c = ReduceProd(a, channels) b = Add(a, c)", "c = ReduceLogSumExp(a, channels) b = Mul(a, c)",
    "b = LayerNormalization<axis=1>(a, s4)", "b = GroupNormalization<num_groups=2>(a, s3, s3)",
    "b = MeanVarianceNormalization<axes=[1]>(a)",
    "c = Reshape(a, split) d = InstanceNormalization(c, s6, s6) b = Reshape(d, join)",
)  # fmt: skip


def test_operators_that_keep_a_channel_of_zeros() -> None:
    gone = {body: removed(put(between(body, more=SETTINGS, opset=20), ZERO)) for body in KEEPS_ZERO}
    assert gone == {body: {"w": 2} for body in KEEPS_ZERO}


def test_operators_that_turn_zeros_into_something() -> None:
    gone = {body: removed(put(between(body, more=SETTINGS, opset=20), ZERO)) for body in LOSES_ZERO}
    assert gone == {body: {} for body in LOSES_ZERO}


def test_operators_that_count_channels_keep_them() -> None:
    """Neither zeros nor a consumer of zeros lets a channel go that a mean, an extreme or a norm counts."""
    spread = [2, 5, 8, 12]  # one in each of four groups
    fill = {"w": spread, "bias": spread, "v": (slice(None), spread)}
    gone = {body: removed(put(between(body, more=SETTINGS, opset=21), fill)) for body in COUNTS_CHANNELS}
    assert gone == {body: {} for body in COUNTS_CHANNELS}


# ---- consumers of zeros ------------------------------------------------------------------------------------------

UNREAD = {"v": (slice(None), TWO)}
"""The weights that read two channels are zero."""

CONSUMERS = (
    image("unread channels", "b = Sigmoid(a)", UNREAD, {"w": 2}),
    image("unread by one of two consumers", "c = Relu(a) d = Conv(c, u) e = Mul(c, c) b = Add(d, e)",
          {"u": (slice(None), TWO)}, {}, more="float[16,16,1,1] u"),
    image("unread by both consumers", "c = Conv(a, u) d = Conv(a, t) b = Add(c, d)",
          {"u": (slice(None), TWO), "t": (slice(None), TWO)}, {"w": 2}, more="float[16,16,1,1] u, float[16,16,1,1] t"),
    image("zero for one consumer, unread by the other", "c = Relu(a) d = Conv(c, u) s = Sigmoid(a) e = Conv(s, t)"
          " b = Add(d, e)", {**ZERO, "t": (slice(None), TWO)}, {"w": 2},
          more="float[16,16,1,1] u, float[16,16,1,1] t"),
    image("a layer that nothing reads, behind another", "c = Sigmoid(a) d = Conv(c, u, p) b = Sigmoid(d)",
          {"v": (slice(None), slice(0, 8)), "u": (slice(8, 16), slice(0, 4))}, {"w": 4, "u": 8},
          more="float[16,16,1,1] u, float[16] p"),
    image("read by itself alone", "c = Conv(a, u) d = Sigmoid(c) b = Add(a, d)",
          {"v": (slice(None), TWO), "u": ([k for k in range(16) if k != 2], 2)}, {"w": 1}, more="float[16,16,1,1] u"),
    token("unread by one product of two activations", "k = MatMul(x, u) t = Transpose<perm=[0,2,1]>(k) c = MatMul(a, t)"
          " d = Softmax(c) b = MatMul(d, a)", COLUMNS, {"w": 2}, more="float[8,16] u"),
    token("keys of zeros", "k = MatMul(x, u) t = Transpose<perm=[0,2,1]>(k) q = MatMul(x, o) c = MatMul(q, t)"
          " d = Softmax(c) b = MatMul(d, a)", {"u": (slice(None), TWO)}, {"u": 2}, more="float[8,16] u, float[8,16] o"),
    token("norm over the channels", "b = LayerNormalization(a, s, p)", {**COLUMNS, "v": TWO}, {},
          more="float[16] s, float[16] p"),
    token("hidden units of an LSTM", "l, h, c = LSTM<hidden_size=6>(a, u, r) b = Squeeze(l, axis)",
          {"v": [1], "r": (0, [k for k in range(24) if k % 6 != 1], 1)}, {"u": 1}, out=6,
          more="float[1,24,16] u, float[1,24,6] r, int64[1] axis = {1}"),
    token("hidden units of an LSTM without weights", "l, h, c = LSTM<hidden_size=6>(a, u, r) b = Squeeze(l, axis)",
          {"u": (0, [1, 7, 13, 19]), "r": (0, [1, 7, 13, 19])}, {"u": 1}, out=6,
          more="float[1,24,16] u, float[1,24,6] r, int64[1] axis = {1}"),
    token("hidden units of an LSTM with a bias", "l, h, c = LSTM<hidden_size=6>(a, u, r, p) b = Squeeze(l, axis)",
          {"u": (0, [1, 7, 13, 19]), "r": (0, [1, 7, 13, 19])}, {}, out=6,
          more="float[1,24,16] u, float[1,24,6] r, float[1,48] p, int64[1] axis = {1}"),
    token("hidden units of an LSTM with an initial state", """z0 = ConstantOfShape<value = float[1] {0.5}>(shape)
          l, h, c = LSTM<hidden_size=6>(a, u, r, , , z0) b = Squeeze(l, axis)""",
          {"u": (0, [1, 7, 13, 19]), "r": (0, [1, 7, 13, 19])}, {}, out=6,
          more="float[1,24,16] u, float[1,24,6] r, int64[1] axis = {1}, int64[3] shape = {1,5,6}"),
    token("inputs of an LSTM", "l, h, c = LSTM<hidden_size=6>(a, u, r) b = Squeeze(l, axis)",
          {"u": (0, slice(None), TWO)}, {"w": 2}, out=6,
          more="float[1,24,16] u, float[1,24,6] r, int64[1] axis = {1}"),
)  # fmt: skip

# ---- structures ----------------------------------------------------------------------------------------------------

STRUCTURES = (
    image("a residual with zeros in one branch", "c = Conv(a, u, p) d = Relu(a) e = Add(c, d) b = Relu(e)",
          ZERO, {}, more="float[16,16,1,1] u, float[16] p"),
    image("a residual with zeros in both branches", "c = Conv(a, u, p) d = Relu(a) e = Add(c, d) b = Relu(e)",
          {**ZERO, "u": [2, 3], "p": [2, 3]}, {"w": 1}, more="float[16,16,1,1] u, float[16] p"),
    image("a residual with a later branch", "c = Conv(a, u) d = Add(a, c) e = Relu(d) f = Conv(e, t) g = Add(d, f)"
          " b = Relu(g)", {**ZERO, "u": TWO, "t": [5]}, {"w": 1}, more="float[16,16,1,1] u, float[16,16,1,1] t"),
    image("joined channels", "c = Conv(x, u) d = Relu(c) e = Conv<pads=[1,1,1,1]>(d, t) b = Concat<axis=1>(a, e)",
          {**ZERO, "t": [0]}, {"w": 2, "t": 1}, out=20, more="float[6,4,1,1] u, float[4,6,3,3] t"),
    image("channels set beside themselves", "c = Conv(a, u) d = Add(a, c) b = Concat<axis=2>(d, a)", ZERO, {},
          more="float[16,16,1,1] u"),
    image("a part that would be emptied", "c, d = Split<num_outputs=2,axis=1>(a) e = Relu(c) b = Concat<axis=1>(d, e)",
          {"w": slice(0, 8), "bias": slice(0, 8)}, {"w": 7}),
    image("split channels", "c, d = Split<num_outputs=2,axis=1>(a) e = Sigmoid(d) b = Mul(c, e)",
          {"w": [1, 9, 2], "bias": [1, 9, 2]}, {"w": 2}, out=8),
    image("channels gated by their own mean", "p = GlobalAveragePool(a) c = Conv(p, u) d = Relu(c) e = Conv(d, t)"
          " s = Sigmoid(e) b = Mul(a, s)", ZERO, {"w": 2}, more="float[4,16,1,1] u, float[16,4,1,1] t"),
    image("channels gated by the means of their neighbours", "p = GlobalAveragePool(a) r = Squeeze(p, last)"
          " t = Transpose<perm=[0,2,1]>(r) c = Conv<pads=[1,1]>(t, u) s = Sigmoid(c) k = Transpose<perm=[0,2,1]>(s)"
          " g = Unsqueeze(k, last) b = Mul(a, g)", ZERO, {"w": 2}, more="float[1,1,3] u, int64[1] last = {3}"),
    image("channels made of their neighbours", "t = Transpose<perm=[0,2,1,3]>(a) c = Conv<group=6,pads=[1,1,1,1]>(t, u)"
          " b = Transpose<perm=[0,2,1,3]>(c)", ZERO, {}, more="float[6,1,3,3] u"),
    image("padded channels", "c = Pad(a, pads) d = Conv<pads=[1,1,1,1]>(x, u) b = Add(c, d)", {"u": TWO},
          {}, out=18, more="float[18,4,3,3] u, int64[8] pads = {0,1,0,0,0,1,0,0}"),
    image("shuffled channels", "c = Reshape(a, split) d = Transpose<perm=[0,2,1,3,4]>(c) e = Reshape(d, join)"
          " b = Conv<group=2>(e, u)", {"w": [0, 8, 5, 13, 1], "bias": [0, 8, 5, 13, 1]}, {"w": 4},
          more="float[16,8,1,1] u, int64[5] split = {0,2,8,6,6}, int64[4] join = {0,16,6,6}"),
    image("flattened channels", "c = Reshape(a, rows) d = MatMul(c, u) b = Reshape(d, back)",
          ZERO, {"w": 2}, more="float[576,144] u, int64[2] rows = {0,-1}, int64[4] back = {0,16,3,3}"),
)  # fmt: skip


@pytest.mark.parametrize("case", [*PRODUCERS, *CONSUMERS, *STRUCTURES], ids=repr)
def test_what_goes(case: Case) -> None:
    assert removed(case.model(), **case.settings) == dict(case.gone)


def test_two_axes_that_one_weight_sums_over_do_not_wait_for_each_other() -> None:
    proto = model("""(float[2,5,6] x) => (float[2,5,6] y) <float[6,4,4] v, float[4,4,6] o> {
        a = Einsum<equation="bsi,ihd->bhsd">(x, v)  y = Einsum<equation="bhsd,hdo->bso">(a, o) }""")
    # The first head is zero, and so are two of the features of others.
    proto = put(proto, {"v": (slice(None), [0, 2])})
    proto = put(proto, {"v": (slice(None), slice(None), [1, 3]), "o": (slice(None), [1, 3])})
    assert removed(put(proto, {"o": [0, 2]})) == {"v": 2, "v#2": 2}


def test_untouched_model_has_nothing_to_lose() -> None:
    with pytest.raises(NothingToPrune, match="without loss") as error:
        prune(between(RELU))
    assert error.value.exit_code == 4


def test_all_zero_layer_keeps_one_channel() -> None:
    """The layer behind it still wants something to read."""
    body = "c = Conv<pads=[1,1,1,1]>(x, u) d = Relu(c) e = Conv(d, t) b = Add(a, e)"
    proto = between(body, more="float[6,4,3,3] u, float[16,6,1,1] t")
    assert removed(put(proto, {"u": slice(None)})) == {"u": 5}


@pytest.mark.parametrize(
    ("settings", "gone"),
    [
        ({}, 6),
        ({"min_channels": 12}, 4),
        ({"max_ratio": 0.1, "round_to": 8}, 6),
        ({"exclude": ["w"]}, 0),
        ({"include": ["v"]}, 0),
        ({"include": ["Conv_0"]}, 6),
    ],
    ids=str,
)
def test_settings(settings: Mapping[str, Any], gone: int) -> None:
    """Globs and the minimum hold; rounding and the largest share are for what is chosen, not for what is dead."""
    proto = put(between(RELU), {"w": slice(0, 6), "bias": slice(0, 6)})
    assert removed(proto, **settings) == ({"w": gone} if gone else {})


def test_torch_masks_become_smaller() -> None:
    """Filters masked by torch's own pruning: a bias that was left goes with its filter if the ReLU stops it."""
    torch = pytest.importorskip("torch")
    from torch.nn.utils import prune as masks  # noqa: PLC0415

    torch.manual_seed(0)
    first, second, last = torch.nn.Conv2d(3, 16, 3), torch.nn.Conv2d(16, 24, 3), torch.nn.Linear(24, 5)
    for layer, amount in ((first, 0.25), (second, 0.5)):
        masks.ln_structured(layer, "weight", amount=amount, n=2, dim=0)
    dead = [layer.weight_mask.sum((1, 2, 3)) == 0 for layer in (first, second)]
    masks.custom_from_mask(first, "bias", (~dead[0]).float())
    stopped = int((dead[1] & (second.bias <= 0)).sum())
    assert 0 < stopped < 12
    pool = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    net = torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU(), *pool, last).eval()
    file = io.BytesIO()
    torch.onnx.export(net, (torch.randn(2, 3, 12, 12),), file, dynamo=False)
    proto = onnx.load_from_string(file.getvalue())
    assert list(removed(proto).values()) == [4, stopped]


def test_offsets_are_not_taken_for_a_bias() -> None:
    """Filters of zeros leave the bias of -1/2; with the offsets of 1/2 added, it would be zero and could go."""
    body = "b = DeformConv(a, u, o, p)"
    more = "float[16,16,1,1] u, float[3,2,6,6] o, float[16] p"
    fill = {"u": TWO, "o": At(slice(None), 0.5)}
    assert removed(put(between(body, more=more, opset=22), {**fill, "p": At(TWO, -0.5)})) == {}
    assert removed(put(between(body, more=more, opset=22), {**fill, "p": TWO})) == {"u": 2}


def test_weights_that_callers_may_replace_stay_inputs_of_their_shape() -> None:
    proto = model(
        "(float[n,8] x) => (float[n,3] y) <float[8,6] w, float[6,5] v, float[5,3] u> "
        "{ a = MatMul(x, w)  b = MatMul(a, v)  y = MatMul(b, u) }"
    )
    weights = {t.name: t for t in proto.graph.initializer}
    for name, column in {"w": 2, "v": 1}.items():
        array = numpy_helper.to_array(weights[name]).copy()
        array[:, column] = 0
        weights[name].CopyFrom(numpy_helper.from_array(array, name))
    free = command.prune(in_memory(proto), PruneSettings(lossless=True))
    assert len(free.plan.removals) == 2
    proto.graph.input.append(onnx.helper.make_tensor_value_info("u", onnx.TensorProto.FLOAT, [5, 3]))
    found = command.prune(in_memory(proto), PruneSettings(lossless=True))
    assert [str(v.name) for v in found.model.graph.inputs] == ["x", "u"]
    assert [list(v.shape) for v in found.model.graph.inputs][1] == [5, 3]
    # Between w and v nobody may replace anything.
    assert [len(removal.indices) for removal in found.plan.removals] == [1]
    proto.graph.input.append(onnx.helper.make_tensor_value_info("v", onnx.TensorProto.FLOAT, [6, 5]))
    with pytest.raises(NothingToPrune, match="weights that callers may replace, such as 'u'"):
        command.prune(in_memory(proto), PruneSettings(lossless=True))
