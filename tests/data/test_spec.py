"""What samples of a model look like: inputs, images, channels, and how many it takes at a time."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from compressor.data.spec import InputSpec, sizes_of, specs, too_few
from compressor.errors import UsageError
from tests.models import in_memory, model

REAL, BYTES = ir.DataType.FLOAT, ir.DataType.UINT8


@pytest.mark.parametrize(
    ("shape", "dtype", "image", "channels", "spatial"),
    [
        (("n", 3, 32, 24), REAL, True, 3, (2, 3)),
        (("n", 32, 24, 3), REAL, True, 3, (1, 2)),
        (("n", 3, 8, 3), BYTES, True, 3, (2, 3)),  # both could be channels: first
        ((1, 64, 7, 7), REAL, True, 64, (2, 3)),
        (("n", 1, 8, 8, 8), REAL, True, 1, (3, 4)),
        (("n", "c", 8, 8), REAL, True, None, (2, 3)),
        (("n", 3, 8, 8), ir.DataType.INT64, False, None, (2, 3)),
        (("n", 16), REAL, False, None, None),
        (None, REAL, False, None, None),
    ],
)
def test_images_and_where_their_channels_are(shape, dtype, image, channels, spatial) -> None:
    spec = InputSpec("x", dtype, shape)
    assert (spec.image, spec.channels) == (image, channels)
    assert spatial is None or spec.spatial == spatial


def test_samples_in_words() -> None:
    assert InputSpec("x", REAL, ("n", 3, "h", None)).wanted == "float32 3xhx?"
    assert InputSpec("x", ir.DataType.STRING, None).wanted == "string a tensor"
    assert sizes_of(()) == "scalar"
    assert InputSpec("a\nb", REAL, None).quoted == r"input 'a\nb'"


def test_initializers_that_are_listed_as_inputs_take_no_samples() -> None:
    network = in_memory(model("(float[n,4] x) => (float y) <float[4,2] w> { y = MatMul(x, w) }"))
    network.graph.inputs.append(network.graph.initializers["w"])
    assert specs(network) == (InputSpec("x", REAL, ("n", 4)),)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("() => (float y) <float w> { y = Relu(w) }", "the model has no input"),
        ("(float x) => (float y) { y = Relu(x) }", "'x' is a scalar"),
        ("(seq(float[2]) x) => (float y) { y = ConcatFromSequence<axis=0>(x) }", "'x' is no tensor"),
    ],
)
def test_inputs_that_samples_cannot_fill_are_refused(text: str, fact: str) -> None:
    with pytest.raises(UsageError, match=fact):
        specs(in_memory(model(text, checked=False)))


def test_too_few_samples_for_a_batch() -> None:
    assert "takes batches of 8, the data has 3 samples" in str(too_few(8, range(3)))
