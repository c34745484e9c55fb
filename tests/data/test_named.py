"""Data from the user's own code, in all the forms it may come in."""

from __future__ import annotations

import itertools
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compressor.data import Dataset, named, open_data
from compressor.errors import UsageError
from tests.data.case import close, everything, settings, taking

Opened = Callable[..., Dataset]
COUNTER = itertools.count()
IMAGE = "float[N,3,4,4] x"
HEAD = "import numpy as np\nX = np.arange(5 * 48).reshape(5, 3, 4, 4).astype('float32')\nY = np.arange(5)\n"
X = np.arange(5 * 48).reshape(5, 3, 4, 4).astype("float32")

TENSOR = """
class Tensor:
    def __init__(self, array, steps=()): self.array, self.steps = array, steps
    def detach(self): return Tensor(self.array, (*self.steps, 'detach'))
    def cpu(self): return Tensor(self.array, (*self.steps, 'cpu'))
    def __array__(self, dtype=None, copy=None):
        assert self.steps == ('detach', 'cpu')
        return np.asarray(self.array)
"""
OWN = """
from compressor.data import Batch
class Own:
    labelled = True
    inputs = lambda self, i: {'x': X[i]}
    labels = lambda self, i: Y[i]
    def __len__(self): return len(X)
    def take(self, i): return Batch(self.inputs(i), self.labels(i))
"""


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Opens what a module of the current directory gives; ``body`` defines ``load``."""
    monkeypatch.chdir(tmp_path)

    def opened(body: str, *inputs: str, **values: object) -> Dataset:
        name = f"user_data_{next(COUNTER)}"
        (tmp_path / f"{name}.py").write_text(HEAD + textwrap.dedent(body))
        before = list(sys.path)
        try:
            return open_data(settings(f"{name}:load", **values), taking(*(inputs or (IMAGE,))))
        finally:
            assert sys.path == before
            sys.modules.pop(name, None)

    return opened


@pytest.mark.parametrize(
    "body",
    [
        "load = lambda: (X, Y)",
        "load = lambda: {'x': X, 'y': Y}",
        "load = lambda: {'images': X, 'labels': Y, 'more': None}",
        "load = lambda: zip(X, Y)",
        "load = lambda: [(x, int(y)) for x, y in zip(X, Y)]",
        "load = lambda: ((X[i:i + 2], Y[i:i + 2]) for i in (0, 2, 4))",
        "load = lambda: ({'x': x, 'y': y} for x, y in zip(X, Y))",
        "load = lambda: ((x.transpose(1, 2, 0), y) for x, y in zip(X, Y))",
        TENSOR + "load = lambda: (Tensor(X), Tensor(Y))",
        TENSOR + "load = lambda: ((Tensor(x), Tensor(y)) for x, y in zip(X, Y))",
        "class load:\n  __len__ = lambda s: 5\n  __getitem__ = lambda s, i: (X[i % 5], i)",
        OWN + "load = Own",
    ],
)
def test_every_form_gives_the_same_samples(given: Opened, body: str) -> None:
    dataset = given(body)
    assert len(dataset) == 5
    assert dataset.labelled
    batch = dataset.take(np.array([3, 0]))
    np.testing.assert_array_equal(batch.inputs["x"], X[[3, 0]], strict=True)
    np.testing.assert_array_equal(np.asarray(batch.labels), np.array([3, 0]), strict=True)


@pytest.mark.parametrize("body", ["load = lambda: X", "load = lambda: (X, None)", "load = lambda: iter(X)",
                                  "load = lambda: ([x] for x in X)"])  # fmt: skip
def test_labels_are_optional(given: Opened, body: str) -> None:
    dataset = given(body)
    assert not dataset.labelled
    batch = dataset.take(everything(5))
    assert batch.labels is None
    np.testing.assert_array_equal(batch.inputs["x"], X)


def test_labels_and_inputs_by_name(given: Opened) -> None:
    body = "load = lambda: ({'a': x[0], 'b': x[1], 'target': x.mean()} for x in X)"
    dataset = given(body, "float[N,4,4] a", "float[N,4,4] b", labels="target")
    batch = dataset.take(np.array([2]))
    np.testing.assert_array_equal(batch.inputs["b"], X[2:3, 1])
    assert batch.labels is not None
    close(batch.labels, X[2].mean())


def test_pillow_images_are_arrays(given: Opened) -> None:
    pytest.importorskip("PIL")
    body = (
        "from PIL import Image\nload = lambda: [(Image.fromarray(np.full((4, 4, 3), y, np.uint8)), y) for y in (5, 9)]"
    )
    close(given(body).take(everything(2)).inputs["x"][:, 0, 0, 0], [5 / 255, 9 / 255])


def test_endless_data_is_read_up_to_a_limit(given: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "import itertools\nload = lambda: itertools.repeat(X[0])"
    monkeypatch.setattr(named, "MAX_SAMPLES", 100)
    assert len(given(body)) == 100
    monkeypatch.setattr(named, "MAX_BYTES_HELD", 10 * X[0].nbytes)
    assert len(given(body)) == 10
    for body in ("load = lambda: list(X)", "class load:\n  __len__ = lambda s: 9\n  __getitem__ = lambda s, i: X[0]"):
        assert given(body)
        monkeypatch.setattr(named, "MAX_SAMPLES", 4)
        with pytest.raises(UsageError, match=r"more than the 4 samples or .* that are read into memory; give arrays"):
            given(body)
        monkeypatch.setattr(named, "MAX_SAMPLES", 100)


def test_preparation_is_that_of_files(given: Opened) -> None:
    dataset = given("load = lambda: (X.astype('uint8').transpose(0, 2, 3, 1), Y)", mean="0.5", std="0.25")
    close(dataset.take(everything(5)).inputs["x"], (X / 255 - 0.5) / 0.25)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "has no 'load'"),
        ("load = 3", "it is int, which cannot be called"),
        ("load = lambda a: a", "raised TypeError: .*missing 1 required"),
        ("def load():\n    raise RuntimeError('disk on fire')", "raised RuntimeError: disk on fire"),
        ("import no_such_package_anywhere\nload = 3", "raised ModuleNotFoundError: No module named 'no_such_package"),
        ("def load(:", "raised SyntaxError"),
        ("load = lambda: None", "it gave NoneType; give a pair of arrays"),
        ("load = lambda: (X, Y, Y)", "it gave a tuple of 3; give a pair of arrays"),
        ("load = lambda: []", "it gave no sample"),
        ("load = lambda: 'abc'", "an item is str; give arrays, pairs"),
        ("load = lambda: [X[0], X[1, :2]]", r"of item 1 is float32 \(2, 4, 4\), that of the first float32 \(3, 4, 4\)"),
        ("load = lambda: [X[0], X[1].astype('f8')]", "of item 1 is float64"),
        ("load = lambda: [X[0], (X[1], 1)]", "item 1 has other parts than the first"),
        ("load = lambda: (X[:, :2], Y)", "takes samples of 3x4x4, .* holds 2x4x4"),
        ("load = lambda: (X, Y[:3])", "5 samples and 3 labels"),
        ("load = lambda: (X * np.nan, Y)", "NaN or infinity in sample 0"),
        ("def load():\n    yield X[0]\n    raise ValueError('later')", "raised ValueError: later"),
        (OWN + "class load(Own):\n    __len__ = lambda self: 0", "there is no sample"),
        (OWN + "class load(Own):\n    inputs = lambda self, i: {}", "gave nothing for input 'x'; name arrays"),
        (
            OWN + "class load(Own):\n    inputs = lambda self, i: {'x': X[i].astype('f8')}",
            "gave float64 .* takes float32",
        ),
        (OWN + "class load(Own):\n    inputs = lambda self, i: {'x': X[i][..., :2]}", "gave samples of 3x4x2 .* 3x4x4"),
        (OWN + "class load(Own):\n    inputs = lambda self, i: {'x': X[:3]}", "gave 3 samples for 1 indices"),
        (OWN + "class load(Own):\n    inputs = lambda self, i: {'x': X[i] + np.inf}", "NaN or infinity in sample 0"),
        (OWN + "class load(Own):\n    labels = lambda self, i: None", "it is labelled, and take gave no labels"),
        (OWN + "class load(Own):\n    take = lambda self, i: 1 / 0", "take raised ZeroDivisionError"),
    ],
)
def test_what_does_not_fit_is_refused(given: Opened, body: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        given(body)
    assert "user_data_" in str(caught.value)


def test_arrays_for_several_inputs_need_names(given: Opened) -> None:
    with pytest.raises(UsageError, match=r"the model has 2 inputs \(a, b\); give a mapping of arrays"):
        given("load = lambda: X", "float[N,4] a", "float[N,4] b")


def test_missing_modules_are_said(given: Opened) -> None:
    with pytest.raises(UsageError, match="there is no module 'nowhere'; start in its folder or install its package"):
        open_data(settings("nowhere.inner:load"), taking(IMAGE))
