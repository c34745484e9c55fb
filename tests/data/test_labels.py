"""Labels against the classes of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from compressor.data import Dataset, all_labels, check_labels, classes, open_data
from compressor.errors import UsageError
from tests.data.case import everything, saved, settings, taking


def labelled(folder: Path, labels: Any, output: str) -> tuple[Dataset, ir.Model]:
    """A dataset with these labels and a model with this output."""
    path = saved(folder / "a.npz", x=np.zeros((len(labels), 4), "f4"), y=labels)
    model = taking("float[N,4] x", output=output)
    return open_data(settings(path), model), model


@pytest.mark.parametrize(
    ("labels", "output", "width"),
    [
        (np.array([0, 9, 5]), "float[N,10] y", 10),
        (np.array([0, 9, 5], "u1"), "float[N,10] y", 10),
        (np.array([[0], [1]], "i4"), "float[N,2] y", 2),
        (np.array([False, True]), "float[N,2] y", 2),
        (np.array([0, 90]), "float[N,K] y", None),
        (np.array([0, 90]), "float y", None),
        (np.zeros((2, 5, 6), int), "float[N,3,5,6] y", 3),
        (np.full((2, 5), 7), "float[N,5,8] y", 8),
        (np.array([[0, -100, 7]]), "float[N,3,8] y", 8),
    ],
)
def test_classes_in_range(tmp_path: Path, labels: np.ndarray, output: str, width: int | None) -> None:
    dataset, model = labelled(tmp_path, labels, output)
    assert check_labels(dataset, model) == width
    found = dataset.take(everything(len(dataset))).labels
    assert found is not None
    assert found.dtype == np.int64


@pytest.mark.parametrize(
    ("labels", "output", "message"),
    [
        (np.array([1, 10]), "float[N,10] y", "labels run from 1 to 10, and the model's classes from 0 to 9; renumber"),
        (np.array([-1, 3]), "float[N,10] y", "labels run from -1 to 3, .* from 0 to 9"),
        (np.array([-1, 3]), "float[N,K] y", "labels run from -1 to 3, .* from 0 up"),
        (np.array([-100, 3]), "float[N,10] y", "labels run from -100 to 3"),
        (np.array([0.5, 1.5]), "float[N,10] y", "labels are float64, and classes are whole numbers"),
        (np.eye(4, dtype=int), "float[N,4] y", "labels are 4x4, and the model gives Nx4|.x4 scores; give one class"),
        (np.zeros((2, 5, 7), int), "float[N,3,5,6] y", "make the sizes agree"),
        (np.full((1, 3), 9), "float[N,3,8] y", "labels run from 9 to 9, .* from 0 to 7"),
    ],
)
def test_what_are_no_classes(tmp_path: Path, labels: np.ndarray, output: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_labels(*labelled(tmp_path, labels, output))


def test_data_without_labels(tmp_path: Path) -> None:
    dataset = open_data(settings(saved(tmp_path / "a.npz", x=np.zeros((2, 4)))), taking("float[N,4] x"))
    with pytest.raises(UsageError, match="the data has no labels; add an array y, or choose a loss that needs none"):
        check_labels(dataset, taking("float[N,4] x"))


def test_the_width_of_scores() -> None:
    assert classes(taking("float[N,4] x", output="float[N,7] y")) == 7
    assert classes(taking("float[N,4] x", output="float[N,K] y")) is None
    assert classes(taking("float[N,4] x", output="float[N,3,7] y")) is None
    assert classes(taking("float[N,4] x", output="int64[N,3] y")) is None


def test_maps_of_labels_stay_as_narrow_as_they_are_stored(tmp_path: Path) -> None:
    dataset, model = labelled(tmp_path, np.full((2, 5, 6), 2, "u1"), "float[N,3,5,6] y")
    assert check_labels(dataset, model) == 3
    assert np.asarray(all_labels(dataset)).dtype == np.uint8
    assert np.asarray(dataset.take(everything(2)).labels).dtype == np.int64


def test_values_come_in_the_byte_order_of_the_machine(tmp_path: Path) -> None:
    dataset, _ = labelled(tmp_path, np.array([0.5, 2.0], ">f4"), "float[N,1] y")
    found = np.asarray(dataset.take(everything(2)).labels)
    assert found.dtype == np.dtype("=f4")
    assert found.tolist() == [0.5, 2.0]
