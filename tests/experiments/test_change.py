from __future__ import annotations

from math import inf
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from compressor.config import DataSettings
from compressor.data import Batch
from compressor.errors import UsageError
from compressor.experiments.change import ReferenceOutputs, open_samples
from tests.experiments.case import Samples, identity
from tests.models import in_memory, model


def reference(folder: Path, source: ir.Model, samples: object = None, **settings: object) -> ReferenceOutputs:
    chosen = DataSettings.parse({"samples": 12, "batch_size": 5, **settings})
    return ReferenceOutputs.make(source, samples or Samples(), chosen, folder)  # type: ignore[arg-type]


def with_weight(weight: np.ndarray) -> ir.Model:
    made = identity()
    made.graph.initializers["w"].const_value = ir.tensor(weight.astype(np.float32), name="w")
    return made


def test_the_original_is_no_change(tmp_path):
    found = reference(tmp_path, identity()).change(identity())
    assert (found.distance, found.agreement, found.accuracy) == (0.0, 1.0, 1.0)


def test_distance_is_the_norm_of_the_difference_over_all_batches(tmp_path):
    weight = np.array([[1.0, 0.2, 0.0], [0.0, 0.9, 0.0], [0.5, 0.0, 1.0]])
    found = reference(tmp_path, identity()).change(with_weight(weight))
    x = Samples().x.astype(np.float64)
    y = x @ weight
    assert found.distance == pytest.approx(np.linalg.norm(y - x) / np.linalg.norm(x), rel=1e-5)
    assert found.agreement == found.accuracy == np.mean(y.argmax(axis=1) == x.argmax(axis=1))
    assert 0 < found.agreement < 1


def test_the_output_that_moved_most_counts_and_integers_by_positions(tmp_path):
    text = """(float[n,3] x) => (float[n,3] y, int64[n,1] k, float[n,3] z) <float[3,3] w>
              { y = Identity(x)  z = MatMul(x, w)  k = ArgMax<axis=1>(z) }"""
    moved = identity(text)
    turned = np.eye(3, dtype=np.float32)[[1, 2, 0]]
    moved.graph.initializers["w"].const_value = ir.tensor(turned, name="w")
    x = Samples().x
    expected = np.linalg.norm(x @ turned - x) / np.linalg.norm(x)
    assert expected > 1.0, "all positions of k differ, so that this is the larger one"
    found = reference(tmp_path, identity(text), Samples(labelled=False)).change(moved)
    assert found.distance == pytest.approx(expected)


def test_outputs_of_strings_and_of_other_precisions(tmp_path):
    text = """(float[n,3] x) => (bfloat16[n,3] y, string[n] k) <float[3,3] w>
              { z = MatMul(x, w)  y = Cast<to=16>(z)  m = ArgMax<axis=1,keepdims=0>(z)  k = Cast<to=8>(m) }"""
    made = reference(tmp_path, identity(text))
    assert made.change(identity(text)).distance == 0.0
    moved = identity(text)
    moved.graph.initializers["w"].const_value = ir.tensor(np.eye(3, dtype=np.float32)[[1, 2, 0]], name="w")
    assert made.change(moved).distance > 1.0


def test_the_digest_of_strings_is_that_of_their_text(tmp_path):
    class Words:
        labelled = False

        def __init__(self, last: str) -> None:
            self.words = np.asarray([*"abcdefghijk", last], object)

        def __len__(self) -> int:
            return len(self.words)

        def take(self, indices: np.ndarray) -> Batch:
            return Batch({"x": np.asarray(["".join(word) for word in self.words[indices]], object)}, None)

    echo = in_memory(model("(string[n] x) => (string[n] y) { y = Identity(x) }"))
    digests = [reference(tmp_path, echo, Words(last)).digest for last in ("l", "l", "m")]
    assert digests[0] == digests[1] != digests[2]


def test_other_shapes_and_new_nans_are_infinitely_far(tmp_path):
    wider = in_memory(model("(float[n,3] x) => (float[n,6] y) { y = Concat<axis=1>(x, x) }"))
    found = reference(tmp_path, identity(), Samples(labelled=False))
    assert found.change(wider).distance == inf
    assert found.change(with_weight(np.full((3, 3), np.nan))).distance == inf


def test_the_same_infinities_do_not_count(tmp_path):
    text = "(float[n,3] x) => (float[n,3] y) <float[3,3] w> { a = MatMul(x, w)  r = Relu(a)  y = Log(r) }"
    assert reference(tmp_path, identity(text), Samples(labelled=False)).change(identity(text)).distance == 0.0


def test_a_fixed_batch_takes_whole_batches_and_refuses_too_few(tmp_path):
    text = "(float[8,3] x) => (float[8,3] y) <float[3,3] w> { y = MatMul(x, w) }"
    found = reference(tmp_path, identity(text))
    assert (found.batches, found.samples) == (1, 8)
    with pytest.raises(UsageError, match=r"takes batches of 8, the data has 4 samples"):
        reference(tmp_path, identity(text), Samples(4))


def test_the_digest_tells_samples_and_labels_apart(tmp_path):
    class Other(Samples):
        def take(self, indices: np.ndarray) -> Batch:
            found = super().take(indices)
            return Batch(found.inputs, None if found.labels is None else (found.labels + 1) % 3)

    kinds = [Samples(), Other(), Samples(labelled=False), Samples(11)]
    digests = [reference(tmp_path, identity(), samples).digest for samples in kinds]
    assert len(set(digests)) == len(kinds)
    assert reference(tmp_path, identity()).digest == digests[0]


def test_made_up_samples_stand_in_for_data_and_fill_the_batch():
    text = "(float[8,3] x) => (float[8,3] y) <float[3,3] w> { y = MatMul(x, w) }"
    samples = open_samples(identity(text), DataSettings(samples=2))
    assert len(samples) == 8
    assert not samples.labelled
