"""The last layer is fitted to labels where held-out samples gain by it, and left alone where not."""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from compressor.data import Batch
from compressor.errors import UsageError
from compressor.reconstruct.labels import class_targets, last_layer, refit_last
from tests.models import in_memory, model, weight
from tests.reconstruct.case import HEAD, Arrays, images, outputs


class Labelled(Arrays):
    def __init__(self, labels: NDArray[np.int64], **arrays: NDArray[np.float32]) -> None:
        super().__init__(**arrays)
        self.labels = labels

    @property
    def labelled(self) -> bool:
        return True

    def take(self, indices: NDArray[np.int64]) -> Batch:
        return Batch(super().take(indices).inputs, self.labels[indices])


def classes(source: ir.Model, x: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.asarray(outputs(source, {"x": x})[0].argmax(axis=1))


def spoilt(source: ir.Model, size: float) -> ir.Model:
    copy = source.clone()
    head = weight(source, "head")
    noise = np.random.default_rng(1).normal(size=head.shape) * size
    copy.graph.initializers["head"].const_value = ir.tensor((head + noise).astype(np.float32), name="head")
    return copy


def test_a_spoilt_layer_learns_its_classes_again() -> None:
    source = in_memory(model(HEAD))
    x = images()
    made = spoilt(source, 2.0)
    labels = classes(source, x)
    before = float((classes(made, x) != labels).mean())
    done = refit_last(made, Labelled(labels, x=x))
    fresh = images(seed=5)
    after = float((classes(made, fresh) != classes(source, fresh)).mean())
    assert before > 0.2
    assert done.changed
    assert done.after < done.before
    assert after < before / 2
    ir.to_proto(made)


def test_labels_that_mean_nothing_change_nothing() -> None:
    source = in_memory(model(HEAD))
    x = images()
    made = source.clone()
    done = refit_last(made, Labelled(classes(source, x), x=x))
    assert not done.changed
    assert done.before == done.after == 0
    assert np.array_equal(weight(made, "head"), weight(source, "head"))


def test_targets_have_the_mean_and_the_spread_of_the_logits() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(400, 5)) * 3 + 2
    targets = class_targets(logits, rng.integers(0, 5, 100))
    own = logits - logits.mean(axis=1, keepdims=True)
    assert targets.mean() == pytest.approx(logits.mean())
    assert np.square(targets - targets.mean()).mean() == pytest.approx(np.square(own).mean())


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("h = MatMul(f, head)  y = Mul(h, h)", "(Mul) stands behind it"),
        ("y = Neg(f)", "(Neg) stands behind it"),
        ("y = MatMul(f, f)", "finds no layer to refit"),
    ],
)
def test_what_gives_no_classes_is_refused(end: str, words: str) -> None:
    text = f"""
    (float[n,6,4,4] x) => (float[n,c] y) <float[8,6,1,1] w, float[8,3] head> {{
        a = Sin(x)  p = GlobalAveragePool(a)  f = Flatten(p)  {end}
    }}"""
    with pytest.raises(UsageError, match=re.escape(words)):
        last_layer(in_memory(model(text)))


def test_a_map_of_classes_is_refused() -> None:
    text = "(float[n,6,4,4] x) => (float[n,3,4,4] y) <float[3,6,1,1] w> { a = Sin(x)  y = Conv(a, w) }"
    data = Labelled(np.zeros(40, np.int64), x=images(40))
    with pytest.raises(UsageError, match="one class a sample"):
        refit_last(in_memory(model(text)), data)
