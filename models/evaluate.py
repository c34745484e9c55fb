"""Accuracy of ONNX classifiers in ONNX Runtime: python models/evaluate.py MODEL... [--data FILE.npz]."""

import argparse
import os
import sys
from pathlib import Path

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it looks when it is imported
import onnxruntime as ort


def load_data(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images float32[n, ...] and labels int64[n] of an .npz with the keys `x` and `y`, never unpickled."""
    with np.load(path, allow_pickle=False) as data:
        missing = {"x", "y"} - set(data.files)
        if missing:
            sys.exit(f"{path} lacks the array(s) {', '.join(sorted(missing))}; it holds {data.files}")
        return data["x"], data["y"]


def count_correct(model: Path, x: np.ndarray, y: np.ndarray, batch: int) -> int:
    """How many rows of the first output have their largest entry at the label; a short last batch is fine."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    correct = 0
    for start in range(0, len(x), batch):
        scores = session.run(None, {name: x[start : start + batch]})[0]
        correct += int((scores.argmax(axis=1) == y[start : start + batch]).sum())
    return correct


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--data", type=Path, default=Path(__file__).parent / "digits-test.npz")
    parser.add_argument("--batch", type=int, default=256)
    options = parser.parse_args()
    for path in (options.data, *options.models):
        if not path.is_file():
            sys.exit(f"{path} is not a file; models/build.py makes the models and their held-out images")
    x, y = load_data(options.data)
    width = max(len(str(path)) for path in options.models)
    for path in options.models:
        correct = count_correct(path, x, y, options.batch)
        size = path.stat().st_size
        print(f"{path!s:{width}}  {correct / len(y):7.2%}  ({correct} of {len(y)}, {size:,} bytes)")


if __name__ == "__main__":
    main()
