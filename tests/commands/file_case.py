"""Small model files for tests of commands, and how they are run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from compressor.config import PruneSettings
from tests.models import between, model

MODELS = Path(__file__).parents[2] / "models"


DIGITS = ("digits-resnet", "digits-mobilenet")


SETTINGS = PruneSettings(ratio=0.5)


def digits(name: str) -> Path:
    return MODELS / f"{name}.onnx"


def run(path: Path, images: NDArray[np.generic]) -> NDArray[np.generic]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, ["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])


def images(count: int) -> NDArray[np.generic]:
    with np.load(MODELS / "digits-test.npz") as data:
        return data["x"][:count]


def written(folder: Path, proto: onnx.ModelProto, name: str = "in.onnx") -> Path:
    onnx.save(proto, folder / name)
    return folder / name


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def good(folder: Path) -> Path:
    return written(folder, between("b = Relu(a)"))


def frozen(folder: Path) -> Path:
    return written(folder, model("(float[3,8] x) => (float y) <float[8,4] w> { y = MatMul(x, w) }"))
