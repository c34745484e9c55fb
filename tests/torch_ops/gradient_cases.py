"""Small nodes of every operator that has a gradient, in double precision, for comparison with finite differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Case:
    """An operator, the shapes of its differentiable inputs (None: left out; an array: constant), and attributes."""

    op: str
    inputs: tuple[Any, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 21
    low: float = -2.0
    high: float = 2.0
    outputs: int = 1


def case(
    op: str, *inputs: Any, opset: int = 21, low: float = -2.0, high: float = 2.0, outputs: int = 1, **attributes: Any
) -> Case:
    return Case(op, inputs, attributes, opset, low, high, outputs)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


_UNARY = (
    "Abs", "Asinh", "Atan", "Ceil", "Celu", "Cos", "Cosh", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "LogSoftmax", "Mish", "Neg", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin",
    "Sinh", "Softmax", "Softplus", "Softsign", "Tanh", "ThresholdedRelu", "LpNormalization", "Dropout",
)  # fmt: skip
_POSITIVE = ("Acosh", "Log", "Reciprocal", "Sqrt")
_BOUNDED = ("Acos", "Asin", "Atanh", "Tan")
_BINARY = ("Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean")
_REDUCE = ("L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
_X = (1, 2, 5, 5)

CASES: tuple[Case, ...] = (
    *(case(op, (2, 3)) for op in _UNARY),
    *(case(op, (2, 3), low=1.1, high=2.0) for op in _POSITIVE),
    *(case(op, (2, 3), low=-0.8, high=0.8) for op in _BOUNDED),
    *(case(op, (2, 3), (3,)) for op in _BINARY),
    *(case(f"Reduce{kind}", (2, 3, 2), ints(1), keepdims=0) for kind in _REDUCE),
    case("ReduceLogSum", (2, 3), ints(1), low=0.5),
    case("ReduceProd", (2, 3), ints(0, 1)),
    case("ReduceMean", (2, 3), axes=[-1], opset=13),
    case("Div", (2, 3), (3,), low=0.5),
    case("Mod", (2, 3), floats(0.7).astype(np.float64), fmod=1, low=0.1),
    case("Pow", (2, 3), (3,), low=0.5),
    case("Pow", (2, 3), np.float64(3.0)),
    case("Pow", (2, 3), np.float64(0.5), low=0.5),
    case("PRelu", (2, 3), (3,)),
    case("Where", np.array([[True], [False]]), (2, 3), (2, 3)),
    case("Clip", (2, 3), np.float64(-1.0), np.float64(1.0)),
    case("Clip", (2, 3), min=-1.0, max=1.0, opset=9),
    case("Gelu", (2, 3)),
    case("Gelu", (2, 3), approximate="tanh"),
    case("Swish", (2, 3), alpha=1.3, opset=24),
    case("SwiGLU", (2, 3), (2, 3), opset=28),
    case("Cast", (2, 3), to=11),
    case("CastLike", (2, 3), np.zeros(1)),
    case("Trilu", (3, 3), ints(1)),
    case("Einsum", (2, 3), (4, 3), equation="bi,oi->bo"),
    case("Det", (2, 3, 3)),
    case("Gemm", (2, 3), (4, 3), (4,), transB=1),
    case("Gemm", (3, 2), (3, 4), (2, 1), transA=1, alpha=0.7, beta=1.3),
    case("Gemm", (2, 3), (3, 4)),
    case("MatMul", (2, 2, 3), (3, 4)),
    case("Conv", _X, (4, 1, 3, 3), (4,), group=2, pads=[1, 1, 1, 1], strides=[2, 2]),
    case("Conv", (1, 2, 7), (3, 2, 3), auto_pad="SAME_LOWER", dilations=[2]),
    case("Conv", (1, 1, 3, 3, 3), (2, 1, 2, 2, 2), pads=[0, 1, 0, 1, 0, 1]),
    case("ConvTranspose", (1, 2, 3, 3), (2, 2, 3, 3), (2,), strides=[2, 2], output_shape=[7, 6]),
    case("ConvTranspose", (1, 2, 3), (2, 1, 3), strides=[2], pads=[1, 1], output_padding=[1]),
    case("CausalConvWithState", (1, 2, 4), (2, 1, 3), (2,), (1, 2, 2), outputs=2, opset=27),
    case("Col2Im", (1, 4, 4), ints(3, 3), ints(2, 2), opset=18),
    case("DeformConv", (1, 2, 4, 4), (2, 2, 2, 2), (1, 8, 3, 3), (2,), (1, 4, 3, 3), opset=22, low=-0.4, high=0.4),
    case("MaxPool", _X, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    case("MaxPool", _X, kernel_shape=[3, 3], pads=[1, 0, 0, 1], dilations=[2, 2]),
    case("AveragePool", _X, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2], count_include_pad=1),
    case("AveragePool", _X, kernel_shape=[3, 3], auto_pad="SAME_UPPER", strides=[2, 2]),
    case("LpPool", _X, kernel_shape=[2, 2], low=0.5),
    case("GlobalAveragePool", _X),
    case("GlobalMaxPool", _X),
    case("GlobalLpPool", _X, low=0.5),
    case("MaxUnpool", (1, 1, 1, 2), ints(1, 4).reshape(1, 1, 1, 2), kernel_shape=[2, 2], strides=[2, 2]),
    case("BatchNormalization", (3, 2, 2), (2,), (2,), floats(0.1, 0.2).astype(float), floats(1, 2).astype(float)),
    case("InstanceNormalization", (2, 2, 4), (2,), (2,)),
    case("LayerNormalization", (2, 3, 4), (3, 4), (3, 4), axis=1, outputs=3),
    case("LayerNormalization", (2, 4), (1,)),
    case("RMSNormalization", (2, 3, 4), (4,), opset=23),
    case("GroupNormalization", (2, 4, 3), (4,), (4,), num_groups=2),
    case("GroupNormalization", (2, 4, 3), (2,), (2,), num_groups=2, opset=18),
    case("LRN", (1, 4, 2, 2), size=3),
    case("MeanVarianceNormalization", (2, 2, 2, 2)),
    case("Softmax", (2, 3, 2), axis=1, opset=11),
    case("CumSum", (2, 3), ints(1), exclusive=1, reverse=1),
    case("CumProd", (2, 3), ints(1), opset=26),
    case("TopK", (2, 4), ints(2), outputs=2),
    case("Reshape", (2, 3), ints(3, -1)),
    case("Flatten", (2, 3, 2), axis=2),
    case("Transpose", (2, 3, 2), perm=[2, 0, 1]),
    case("Squeeze", (2, 1, 3), ints(1)),
    case("Unsqueeze", (2, 3), ints(0, -1)),
    case("Concat", (2, 3), (2, 1), axis=-1),
    case("Split", (2, 5), ints(2, 3), axis=1, outputs=2),
    case("Expand", (2, 1), ints(2, 2, 3)),
    case("Tile", (2, 3), ints(2, 1)),
    case("Slice", (2, 5), ints(4), ints(0), ints(1), ints(-2)),
    case("Pad", (2, 3), ints(1, -1, 0, 2)),
    *(case("Pad", (2, 3), ints(1, 1, 1, 2), mode=mode) for mode in ("edge", "reflect")),
    case("Pad", (2, 3), ints(1, 1, 1, 2), mode="wrap"),
    case("CenterCropPad", (4, 3), ints(3, 5)),
    case("DepthToSpace", (1, 4, 2, 2), blocksize=2, mode="CRD"),
    case("SpaceToDepth", (1, 1, 4, 4), blocksize=2),
    case("ReverseSequence", (3, 2), ints(3, 2)),
    case("Gather", (4, 3), ints(0, -1, 0)),
    case("Gather", (2, 4, 2), ints(3, 1).reshape(1, 2), axis=1),
    case("GatherElements", (2, 3), ints(0, 2).reshape(2, 1), axis=1),
    case("GatherND", (2, 3, 2), ints(0, 1, 1, 2).reshape(2, 2)),
    case("ScatterElements", (2, 3), ints(0, 2).reshape(2, 1), (2, 1), axis=1),
    case("Scatter", (2, 3), ints(0, 1).reshape(2, 1), (2, 1), axis=1, opset=9),
    *(case("ScatterElements", (2, 3), ints(0, 2).reshape(2, 1), (2, 1), axis=1, reduction=how, low=0.5)
      for how in ("add", "mul", "max", "min")),
    *(case("ScatterND", (4, 2), ints(1, 3).reshape(2, 1), (2, 2), reduction=how, low=0.5)
      for how in ("none", "add", "mul", "max", "min")),
    case("TensorScatter", (1, 4, 2), (1, 2, 2), ints(1), opset=24),
    case("Compress", (3, 2), np.array([True, False, True]), axis=0),
    case("Unique", (4,), outputs=4),
    *(case("Resize", (1, 1, 3, 4), None, floats(1, 1, 1.5, 0.5), mode=mode, coordinate_transformation_mode=how)
      for mode in ("linear", "cubic") for how in ("half_pixel", "align_corners", "asymmetric")),
    case("Resize", (1, 1, 3, 4), None, None, ints(1, 1, 5, 6)),
    case("Resize", (1, 1, 6, 6), None, floats(1, 1, 0.6, 0.6), mode="cubic", antialias=1),
    case("Upsample", (1, 1, 2, 2), floats(1, 1, 2, 2), mode="linear", opset=9),
    *(case("GridSample", (1, 1, 4, 4), (1, 2, 3, 2), mode=mode, opset=20, low=-0.8, high=0.8)
      for mode in ("linear", "cubic")),
    case("AffineGrid", (1, 2, 3), ints(1, 1, 3, 4), opset=20),
    case("RoiAlign", _X, np.array([[0, 0, 3, 3]], float), ints(0), output_height=2, output_width=2, sampling_ratio=2),
    case("RoiAlign", _X, np.array([[0, 0, 3, 3]], float), ints(0), output_height=2, output_width=2, mode="max"),
    case("MaxRoiPool", _X, np.array([[0, 0, 0, 3, 3]], float), pooled_shape=[2, 2], opset=22),
    case("Attention", (1, 2, 3, 2), (1, 1, 4, 2), (1, 1, 4, 2), (3, 4), opset=23),
    case("Attention", (1, 3, 4), (1, 3, 4), (1, 3, 4), q_num_heads=2, kv_num_heads=2, is_causal=1, softcap=2.0,
         opset=23),
    case("RotaryEmbedding", (1, 2, 3, 4), (1, 3, 2), (1, 3, 2), opset=23),
    case("RotaryEmbedding", (1, 2, 3, 4), (1, 3, 2), (1, 3, 2), interleaved=1, opset=23),
    case("LinearAttention", (1, 2, 4), (1, 2, 2), (1, 2, 2), None, (1, 2, 1), (1, 2, 1), q_num_heads=2,
         kv_num_heads=1, outputs=2, opset=27),
    case("LSTM", (2, 2, 3), (2, 8, 3), (2, 8, 2), (2, 16), hidden_size=2, direction="bidirectional", outputs=3),
    case("LSTM", (2, 2, 3), (1, 8, 3), (1, 8, 2), (1, 16), ints(2, 1).astype(np.int32), (1, 2, 2), (1, 2, 2), (1, 6),
         hidden_size=2, direction="reverse", clip=0.9, outputs=3),
    case("GRU", (2, 2, 3), (1, 6, 3), (1, 6, 2), (1, 12), hidden_size=2, linear_before_reset=1, outputs=2),
    case("GRU", (2, 2, 3), (1, 6, 3), (1, 6, 2), (1, 12), hidden_size=2, outputs=2),
    case("RNN", (2, 2, 3), (1, 2, 3), (1, 2, 2), (1, 4), hidden_size=2, outputs=2),
    case("NegativeLogLikelihoodLoss", (3, 4), ints(0, 3, 1)),
    case("SoftmaxCrossEntropyLoss", (3, 4), ints(0, 3, 1), outputs=2),
    case("DFT", (1, 4, 2), opset=20),
    case("DFT", (1, 4, 1), onesided=1, opset=20),
    case("STFT", (1, 8, 1), ints(2).reshape(()), np.ones(4)),
    case("DequantizeLinear", np.array([[1, -3]], np.int8), (), opset=21),
)  # fmt: skip

ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(("If", "Loop", "Scan", "SequenceMap"), "test_control.py"),
    **dict.fromkeys(
        ("ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement", "SequenceAt",
         "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength", "SplitToSequence"),
        "lists of tensors, which compute nothing",
    ),
    "Constant": "has no input",
    "QuantizeLinear": "a straight-through gradient, which finite differences do not see: test_graph_module.py",
}  # fmt: skip
"""Operators with a gradient that are checked elsewhere, and where."""
