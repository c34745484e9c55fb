"""benchmarks/networks.py: its data, what it exports, and that an interrupted training goes on as if it had not been."""

from __future__ import annotations

import importlib
import io
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
image = pytest.importorskip("PIL.Image")

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def networks() -> ModuleType:
    sys.path.insert(0, str(FOLDER))
    return importlib.import_module("networks")


def test_a_review_is_labelled_by_what_it_says_of_the_noun_asked_about(networks: ModuleType) -> None:
    data = networks.data
    rng = np.random.default_rng(3)
    strengths = np.arange(len(data.ADJECTIVES)) - 25
    labels = []
    for _ in range(200):
        words, label = data.review(rng, strengths)
        assert len(words) == data.LENGTH
        assert max(words) < data.VOCABULARY
        assert words[0] == data.ASK
        total = noun = 0
        sign = 1
        for word in words[2:]:
            if word in data.NOUNS:
                noun, sign = word, 1
            sign *= {data.NOT: -1, data.VERY: 2}.get(word, 1)
            if word in data.ADJECTIVES and noun == words[1]:
                total += sign * int(strengths[word - data.ADJECTIVES.start])
        assert label == 1 + np.sign(total)
        labels.append(label)
    assert set(labels) == {0, 1, 2}


def test_the_same_seed_writes_the_same_reviews(networks: ModuleType) -> None:
    (x, y), (held_x, held_y) = networks.data.reviews(30, 10, seed=5)
    (again, _), _ = networks.data.reviews(30, 10, seed=5)
    (other, _), _ = networks.data.reviews(30, 10, seed=6)
    assert (x.dtype, y.dtype) == (np.int64, np.int64)
    assert (x.shape, y.shape, held_x.shape, held_y.shape) == ((30, 20), (30,), (10, 20), (10,))
    assert np.array_equal(x, again)
    assert not np.array_equal(x, other)


def test_each_byte_of_the_text_is_asked_for_once(networks: ModuleType, tmp_path: Path) -> None:
    paths = [tmp_path / "a.py", tmp_path / "b.py"]
    paths[0].write_bytes(bytes(range(100)))
    paths[1].write_bytes(bytes(range(100, 200)))
    x, y = networks.data.next_tokens(networks.data.windows(paths, 40))
    text = b"\n".join(path.read_bytes() for path in paths)
    assert bytes(x.astype(np.uint8).reshape(-1)) == text[:200]
    assert bytes(y.astype(np.uint8).reshape(-1)) == text[1:201]


def test_photographs_are_the_pixels_of_the_file(networks: ModuleType, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    arrays = {}
    for split in ("train", "test"):
        coded = []
        for one in pixels:
            image.fromarray(one).save(coded_file := io.BytesIO(), "PNG")  # without loss, so that pixels are known
            coded.append(coded_file.getvalue())
        arrays[f"{split}_jpeg"] = np.frombuffer(b"".join(coded), np.uint8)
        arrays[f"{split}_offsets"] = np.cumsum([0, *map(len, coded)])
        arrays[f"{split}_labels"] = np.array([4, 0, 9], np.uint8)
    np.savez(tmp_path / "data.npz", **arrays)
    for x, y in networks.data.photographs(tmp_path / "data.npz"):
        assert np.array_equal(x, pixels.transpose(0, 3, 1, 2))
        assert y.tolist() == [4, 0, 9]


def test_training_goes_on_as_if_it_had_not_stopped(networks: ModuleType, tmp_path: Path) -> None:
    network = networks.NETWORKS["text"]
    samples, _ = networks.data.reviews(3 * network.batch, 1)
    at_once = networks.Training(network, samples, seed=1, epochs=2)
    at_once.record["bf16"] = False  # nothing to time in three steps
    at_once.epoch()
    at_once.save(tmp_path / "text.pt")
    at_once.epoch()
    later = networks.Training(network, samples, seed=2, epochs=2)
    later.load(tmp_path / "text.pt")
    assert not later.done
    later.epoch()
    assert later.done
    assert later.record["losses"] == at_once.record["losses"]
    for one, two in zip(at_once.model.parameters(), later.model.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(
    "name", ["resnet20", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mobilenet", "vit", "lm"))]
)
def test_what_is_exported_takes_any_batch_and_tells_no_paths(networks: ModuleType, name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = networks.NETWORKS[name].build()
    example = torch.randint(0, 256, (2, 128)) if name == "lm" else torch.randn(2, 3, 32, 32)
    path = tmp_path / f"{name}.onnx"
    networks.export(model, path, "x", example)
    found = onnx.load(path)
    assert [entry.version for entry in found.opset_import if not entry.domain] == [18]
    assert "BatchNormalization" not in {node.op_type for node in found.graph.node}
    graph = onnx.load(path)
    del graph.graph.initializer[:]  # numbers may spell anything
    assert b".py" not in graph.SerializeToString()
    five = torch.cat([example, example, example[:1]])
    [logits] = onnxruntime.InferenceSession(path).run(None, {"x": five.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(logits, model.eval()(five).numpy(), atol=1e-4)
