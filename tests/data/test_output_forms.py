"""Which form each output gets."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.data.output_forms import decide, vocabularies
from compressor.errors import UsageError
from tests.models import in_memory, model

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def softmax(scores: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(scores)
    return powers / powers.sum(axis, keepdims=True)


CLASSES = np.asarray([0, 1, 2, 3, 4, 0])


@pytest.mark.parametrize(
    ("values", "labels", "expected"),
    [
        (normal(6, 5), None, ("kl", 1, False)),
        (normal(6, 5), CLASSES, ("kl", 1, False)),
        (softmax(normal(6, 5), 1), None, ("kl", 1, True)),
        (softmax(normal(6, 7, 5), 2), None, ("kl", 2, True)),
        (normal(6, 5, 4, 4), np.zeros((6, 4, 4), np.int64), ("kl", 1, False)),
        (normal(6, 7, 5), np.zeros((6, 7), np.int64), ("kl", 2, False)),
        (normal(6, 3, 8, 8), None, ("mse", 1, False)),
        (normal(6, 3, 8, 8), CLASSES, ("mse", 1, False)),
        (unit(normal(6, 32)), None, ("mse", 1, False)),
        (normal(6, 1), None, ("mse", 1, False)),
        (normal(6), None, ("mse", 1, False)),
        (np.ones((6, 5), np.int64), None, ("none", 1, False)),
    ],
)
def test_the_rule(values: np.ndarray, labels: np.ndarray | None, expected: tuple[str, int, bool]) -> None:
    (form,) = decide(["y"], [values], labels, {})
    assert (form.kind, form.axis, form.probabilities) == expected
    assert form.reason in str(form)


@pytest.mark.parametrize(
    ("name", "shape", "known", "expected"),
    [
        ("y", (6, 7, 50), {50}, ("kl", 2)),
        ("y", (6, 7, 50), {49}, ("mse", 1)),
        ("logits", (6, 7, 50), (), ("kl", 2)),
        ("lm_head/logits:0", (6, 7, 50), (), ("kl", 2)),
        ("logits", (6, 21, 8, 8), (), ("kl", 1)),
        ("blogits", (6, 7, 50), (), ("mse", 1)),
        ("present.0.key", (6, 2, 7, 8), {50}, ("mse", 1)),
    ],
)
def test_more_axes(name: str, shape: tuple[int, ...], known: set[int], expected: tuple[str, int]) -> None:
    (form,) = decide([name], [normal(*shape)], None, {}, known)
    assert (form.kind, form.axis) == expected


def test_vocabularies_are_tables_that_whole_numbers_index() -> None:
    proto = model(
        """(int64[n,7] ids, float[n,7,8] x) => (float[n,7,9] y)
        <float[50,8] table, int64 zero = {0}, float[8,9] w>
        { moved = Add(ids, zero)  near = Cast<to=7>(ids)  e = Gather(table, near)  s = Add(e, x)  y = MatMul(s, w) }"""
    )
    assert vocabularies(in_memory(proto)) == {50}


def test_what_is_asked_for_goes_before_the_rule() -> None:
    outputs = [normal(6, 5), normal(6, 7, 5), normal(6, 5)]
    forms = decide(["a", "b", "c"], outputs, None, {"a": "mse", "b": "kl:-1", "c": "none"})
    assert [(f.kind, f.axis) for f in forms] == [("mse", 1), ("kl", 2), ("none", 1)]
    assert forms[0].variance == pytest.approx(float(outputs[0].astype(np.float64).var()))


@pytest.mark.parametrize(
    ("given", "word"),
    [({"z": "mse"}, "no output 'z'"), ({"y": "kl:3"}, "none of which is axis 3"), ({"y": "kl:0"}, "axis 0")],
)
def test_what_cannot_be_is_refused(given: dict[str, str], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        decide(["y"], [normal(6, 5)], None, given)


def boxes_and_shares() -> np.ndarray:
    """As a detector gives them: [n, 4 + 3, cells], pixels and probabilities."""
    return np.concatenate([normal(6, 4, 9) * 30 + 48, np.abs(normal(6, 3, 9)) * 0.05], 1)


@pytest.mark.parametrize(("values", "axis"), [(boxes_and_shares(), 1), (np.moveaxis(boxes_and_shares(), 1, 2), 2)])
def test_parts_in_units_of_their_own_have_variances_of_their_own(values: np.ndarray, axis: int) -> None:
    (form,) = decide(["y"], [values], None, {})
    assert (form.kind, form.axis) == ("mse", axis)
    boxes, shares = np.split(values.astype(np.float64), [4], axis)
    # Two parts, of which each counts half, whatever share of the seven rows it has.
    others = tuple(other for other in range(3) if other != axis)
    assert form.scales == pytest.approx([*(boxes.var(others) * 4 * 2 / 7), *(shares.var(others) * 3 * 2 / 7)])
    assert "each part along axis" in str(form)


def test_a_part_that_never_varies_counts_by_its_size() -> None:
    values = boxes_and_shares()
    values[:, 4:] = 0.25
    (form,) = decide(["y"], [values], None, {})
    assert form.scales[4:] == pytest.approx([0.25**2 * 3 * 2 / 7] * 3)


@pytest.mark.parametrize("values", [normal(6, 3, 8, 8), normal(6, 7, 5) * np.arange(1, 8)[:, None], normal(6, 200, 5)])
def test_parts_of_one_unit_have_one_variance(values: np.ndarray) -> None:
    (form,) = decide(["y"], [values], None, {})
    assert form.scales == ()


def test_labels_that_are_numbers_of_its_shape_say_that_an_output_is() -> None:
    values = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    for labels, kind in ((values + 1, "mse"), (np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]], "kl"), (None, "kl")):
        assert decide(["y"], [values], labels, {})[0].kind == kind
