"""How far outputs are apart and how often they are right, on cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.evaluate.resemblance import ComparedOutputs, softmax

SCORES = np.array([[4.0, 1, 0], [0, 2, 1], [1, 0, 3]], np.float32)


def decided(outputs, labels=None):
    found = ComparedOutputs(labels)
    found.decide(outputs, 3)
    return found


def test_scores_are_compared_as_probabilities():
    other = SCORES[:, [0, 2, 1]]
    found = decided({"y": SCORES}).compare("y", SCORES, other)
    np.testing.assert_array_equal(found["agreement"], [1, 0, 0])
    apart = np.linalg.norm(softmax(other.astype(float), 1) - softmax(SCORES.astype(float), 1), axis=1)
    np.testing.assert_allclose(found["distance"], apart)
    np.testing.assert_allclose(found["relative_error"][1], np.sqrt(2) / np.sqrt(5))


def test_probabilities_are_taken_as_they_are():
    likely = softmax(SCORES.astype(float), 1).astype(np.float32)
    found = decided({"y": likely}).compare("y", likely, likely[::-1])
    np.testing.assert_allclose(found["distance"][1], 0)
    np.testing.assert_allclose(found["distance"][0], np.linalg.norm(likely[2] - likely[0]), rtol=1e-6)


def test_other_outputs_have_a_relative_error_only():
    values = np.random.default_rng(0).normal(size=(3, 4, 5))
    found = decided({"y": values}).compare("y", values, 1.5 * values)
    assert set(found) == {"relative_error"}
    np.testing.assert_allclose(found["relative_error"], 0.5)
    zero = np.zeros((3, 1))
    np.testing.assert_array_equal(ComparedOutputs().compare("y", zero, zero)["relative_error"], 0)
    np.testing.assert_array_equal(ComparedOutputs().compare("y", zero, zero + 1)["relative_error"], np.inf)


def test_what_cannot_be_compared_is_left_out_with_the_reason():
    found = decided({"ids": np.zeros((3, 2), np.int64), "boxes": np.zeros((7, 4)), "s": np.float32(1), "y": SCORES})
    assert found.left_out == {
        "ids": "it is int64, and only floating-point outputs are compared",
        "boxes": "its first axis does not count samples",
        "s": "its first axis does not count samples",
    }
    assert found.compare("y", SCORES, SCORES[:, :2]) == {}
    assert "shape [3, 3] in the original and [3, 2]" in found.left_out["y"]


@pytest.mark.parametrize("axis", [1, 2])
def test_labels_find_the_axis_of_classes(axis):
    dense = np.random.default_rng(0).normal(size=(3, 4, 5) if axis == 1 else (3, 5, 4))
    found = decided({"features": np.zeros((3, 9, 2, 2)), "y": dense}, (5,))
    assert (found.scored, found.axes) == ("y", {"y": axis})
    labels = dense.argmax(axis)
    labels[0, 0] = (labels[0, 0] + 1) % 4
    labels[1, :2] = -100
    labels[2] = -100
    right = found.right({"y": dense}, labels)
    np.testing.assert_allclose(right[:2], [4 / 5, 1])
    assert np.isnan(right[2])


def test_labels_that_no_output_has_scores_for():
    assert decided({"y": np.zeros((3, 4, 5))}, ()).scored == ""
