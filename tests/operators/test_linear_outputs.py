"""Where outputs of linear operators are read."""

from __future__ import annotations

from compressor.operators.linear_outputs import LinearOutput, linear_outputs
from compressor.operators.sizes import infer
from tests.models import in_memory, model


def found(text: str, **options: int) -> list[LinearOutput]:
    network = in_memory(model(text, **options))
    return linear_outputs(network.graph, infer(network))


def test_values_behind_bias_and_norm() -> None:
    outputs = found("""(float[2,3,8,8] x) => (float y)
        <float[4,3,3,3] w, float[4] g, float[4] b, float[4] m, float[4] sv, float[4,5] v, float[5] c> {
        z = Conv(x, w) n = BatchNormalization(z, g, b, m, sv) r = Relu(n)
        p = GlobalAveragePool(r) f = Flatten(p) h = MatMul(f, v) y = Add(h, c) }""")
    assert outputs == [LinearOutput("n", 1, 4, 2 * 4 * 36), LinearOutput("y", 1, 5, 10)]


def test_values_that_something_else_reads_too_are_not_passed() -> None:
    outputs = found("""(float[2,3] x) => (float y, float z) <float[3,4] w, float[4] c> {
        h = MatMul(x, w) y = Add(h, c) z = Relu(h) }""")
    assert [output.name for output in outputs] == ["h"]


def test_products_of_computed_values_are_not_layers() -> None:
    assert not found("(float[2,3,4] x, float[2,4,5] z) => (float y) { y = MatMul(x, z) }")


def test_gemm_and_transposed_convolution() -> None:
    outputs = found("""(float[2,3,4,4] x) => (float y) <float[3,6,2,2] w, float[7,5] v, float[6] b> {
        a = ConvTranspose(x, w, b) f = GlobalAveragePool(a) s = Flatten(f)
        t = Concat<axis=1>(s, s) y = Relu(t) }""")
    assert [(o.name, o.axis, o.channels) for o in outputs] == [("a", 1, 6)]
    outputs = found("(float[2,3] x) => (float y) <float[5,3] w, float[5] b> { y = Gemm<transB=1>(x, w, b) }")
    assert [(o.name, o.axis, o.channels) for o in outputs] == [("y", 1, 5)]


def test_every_layer_that_a_record_tells_of_is_read() -> None:
    outputs = found(
        """(float[2,3,6,6] x, float[2,18,6,6] o) => (float y) <float[4,3,3,3] w, float[1,4,1,1] s> {
        d = DeformConv<pads=[1,1,1,1]>(x, w, o) r = Div(d, s) y = Relu(r) }""",
        opset=22,
    )
    assert outputs == [LinearOutput("r", 1, 4, 2 * 4 * 36)]
