"""Operators on single positions: whatever they compute, channels pass through them."""

from __future__ import annotations

import pytest

from compressor.graph.ir import elementwise
from compressor.graph.ir.movement import MOVEMENT
from compressor.graph.sizes import data_rules, ranges, shape_rules
from compressor.operators.elementwise import BROADCAST, unary
from compressor.operators.table import RULES

from .case import Case, check, image, token

PLAIN = (
    "Abs", "Asinh", "Atan", "Ceil", "Celu", "Cos", "Elu", "Erf", "Floor", "HardSigmoid", "HardSwish", "LeakyRelu",
    "Mish", "Neg", "Relu", "Round", "Selu", "Shrink<bias=0.1,lambd=0.2>", "Sigmoid", "Sign", "Sin", "Softplus",
    "Softsign", "Tanh", "ThresholdedRelu<alpha=0.5>",
)  # fmt: skip
SMALL = ("Acos", "Asin", "Atanh", "Exp", "Cosh", "Sinh", "Tan")
POSITIVE = ("Acosh", "Log", "Reciprocal", "Sqrt")

UNARY = (
    *(image(op.partition("<")[0], f"b = {op}(a)") for op in PLAIN),
    *(image(op, f"t = Tanh(a)  s = Mul(t, near)  b = {op}(s)", more="float near = {0.9}") for op in SMALL),
    *(image(op, f"p = Softplus(a)  s = Add(p, one)  b = {op}(s)", more="float one = {1}") for op in POSITIVE),
    image("Gelu", "b = Gelu(a)", opset=20),
    image("Gelu tanh", 'b = Gelu<approximate="tanh">(a)', opset=20),
    image("Swish", "b = Swish(a)", opset=24),
    image("Identity", "b = Identity(a)", settings={"simplify": False}),
    image("Identity dropped", "b = Identity(a)"),
    image("Cast", "h = Cast<to=10>(a)  b = Cast<to=1>(h)"),
    image("CastLike", "i = Floor(a)  h = CastLike(i, like)  b = CastLike(h, a)", more="int32 like = {1}", opset=19),
    image("BitCast", "h = BitCast<to=6>(a)  b = BitCast<to=1>(h)", opset=26),
    image("BitwiseNot", "i = Cast<to=6>(a)  n = BitwiseNot(i)  b = Cast<to=1>(n)"),
    image("Not", "c = Less(a, zero)  n = Not(c)  b = Cast<to=1>(n)", more="float zero = {0}"),
    image("IsNaN", "r = Sqrt(a)  n = IsNaN(r)  b = Cast<to=1>(n)", opset=20),
    image("IsInf", "r = Floor(a)  i = Reciprocal(r)  n = IsInf(i)  b = Cast<to=1>(n)", opset=20),
    image("Clip 6", "b = Clip<min=-0.5, max=1.5>(a)", opset=10),
    *(image(f"Clip {v}", "b = Clip(a, low, high)", more="float low = {-0.5}, float high = {1.5}", opset=v)
      for v in (11, 12, 13, 21)),
    image("Clip upper only", "b = Clip(a, , high)", more="float high = {1.5}"),
    image("Dropout 7", "b = Dropout<ratio=0.3>(a)", opset=9, settings={"simplify": False}),
    image("Dropout 12", "b, mask = Dropout(a, ratio)", more="float ratio = {0.3}", opset=12,
          settings={"simplify": False}),
    image("Dropout 13", "b = Dropout(a, ratio, training)", more="float ratio = {0.3}, bool training = {0}", opset=13),
    image("Dropout 22", "b = Dropout(a)", opset=22),
    image("CastLike of a fixed type", "h = CastLike(a, like)  b = Cast<to=1>(h)", more="int32 like = {1}", opset=19),
    token("Trilu of a matrix of features", "b = Trilu(a)", removed={"v": 3}, frozen={"w": "Trilu counts along it"}),
    image("Trilu", "b = Trilu(a)"),
)  # fmt: skip


@pytest.mark.parametrize("case", UNARY, ids=repr)
def test_unary(case: Case) -> None:
    check(case)


BINARY = (
    *(image(op, f"b = {op}(a, p)", more="float[16,1,1] p") for op in ("Add", "Sub", "Mul", "Max", "Min", "Mean",
          "Sum")),
    image("Div", "b = Div(a, s)", more="float[16,1,1] s"),
    image("Pow", "q = Abs(a)  b = Pow(q, s)", more="float[1,16,1,1] s"),
    image("PRelu", "b = PRelu(a, p)", more="float[16,1,1] p"),
    image("PRelu shared", "b = PRelu(a, p)", more="float[1] p"),
    image("Mod", "b = Mod<fmod=1>(a, s)", more="float[16,1,1] s"),
    *(image(op, f"c = {op}(a, p)  b = Cast<to=1>(c)", more="float[16,1,1] p")
      for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")),
    *(image(op, f"c = Less(a, p)  d = Greater(a, q)  e = {op}(c, d)  b = Cast<to=1>(e)",
            more="float[16,1,1] p, float[16,1,1] q") for op in ("And", "Or", "Xor")),
    *(image(op, f"i = Cast<to=6>(a)  n = {op}(i, p)  b = Cast<to=1>(n)", more="int32[16,1,1] p")
      for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")),
    image("BitShift", 'q = Abs(a)  i = Cast<to=2>(q)  n = BitShift<direction="LEFT">(i, two)  b = Cast<to=1>(n)',
          more="uint8 two = {2}"),
    image("Where", "c = Less(a, p)  b = Where(c, q, a)", more="float[16,1,1] p, float[1,16,1,1] q"),
    image("Where spatial", "b = Where(c, a, zero)", more="bool[6] c = {1,1,0,1,0,1}, float zero = {0}"),
    image("Sum of three", "n = Neg(a)  r = Relu(a)  b = Sum(a, n, r)"),
    image("Add of two convolutions", "c = Conv(x, u)  b = Add(a, c)", more="float[16,4,1,1] u"),
    image("Mul by a gate for each pixel", "c = Conv(x, u)  g = Sigmoid(c)  b = Mul(a, g)", more="float[1,4,1,1] u"),
    image("Add of the input", "c = Concat<axis=1>(x, x, x, x)  b = Add(a, c)", removed={"v": 4},
          frozen={"w": "nothing to remove"}),
    image("Add of one scale for two", "b = Add(a, p)", more="float[1,16,6,6] p"),
    token("Add of positions", "b = Add(a, p)", more="float[5,16] p"),
    token("Mul by a scalar", "b = Mul(a, half)", more="float half = {0.5}"),
)  # fmt: skip


@pytest.mark.parametrize("case", BINARY, ids=repr)
def test_broadcasting(case: Case) -> None:
    check(case)


CASES = UNARY + BINARY


# ---- what the graph knows of them ---------------------------------------------------------------------------

STANDARD = {name: record for (domain, name), record in RULES.items() if domain == ""}


def test_the_graph_broadcasts_what_the_records_broadcast() -> None:
    assert {name for name, r in STANDARD.items() if r.signature == BROADCAST} - {"PRelu"} == elementwise.BROADCASTS


def test_functions_of_one_operand_are_those_of_the_records() -> None:
    found = {name for name, r in STANDARD.items() if r.labels is unary}
    assert found - {"Dropout"} == elementwise.UNARY
    assert {name for name in elementwise.UNARY if not STANDARD[name].pointwise} == {"Gelu"}, "onnx.reference lacks it"


def test_every_rule_of_a_size_is_of_an_operator_that_is_known() -> None:
    by_element = elementwise.BROADCASTS | elementwise.UNARY
    assert by_element > data_rules._ELEMENTWISE.keys()
    assert ranges._COMPUTED.keys() - by_element == {"Range"}
    assert shape_rules.SHAPE_RULES.keys() | MOVEMENT.keys() <= STANDARD.keys()
