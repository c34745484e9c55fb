"""An independent check of one ONNX file, as JSON: python benchmarks/verdict.py FILE [--count] [--run].

`refusal` is null if onnx.checker accepts the file and an ONNX Runtime CPU session loads it (and, with --run,
runs it on seeded input and answers finite numbers); otherwise it is the sentence that says why not.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it looks when it is imported
import onnxruntime as ort
from macs import count

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}


def inspect(file: Path, runs: bool) -> dict[str, Any]:
    """Checks, loads and perhaps runs the file; any exception of the two libraries is a refusal."""
    try:
        onnx.checker.check_model(str(file))
    except Exception as error:  # noqa: BLE001 - whatever the library raises is the finding
        return {"refusal": f"onnx.checker: {_sentence(error)}"}
    try:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        return {"refusal": None} | (_run(session) if runs else {})
    except Exception as error:  # noqa: BLE001 - whatever the library raises is the finding
        return {"refusal": f"ONNX Runtime: {_sentence(error)}"}


def _run(session: ort.InferenceSession) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    feeds: dict[str, np.ndarray] = {}
    for value in session.get_inputs():
        shape = [size if isinstance(size, int) else 1 for size in value.shape]
        dtype = DTYPES[value.type]
        floating = np.issubdtype(dtype, np.floating)
        drawn = rng.standard_normal(shape) if floating else rng.integers(0, 2, shape)
        feeds[value.name] = np.asarray(drawn).astype(dtype)
    outputs = [np.asarray(output) for output in session.run(None, feeds)]
    shapes = {value.name: list(o.shape) for value, o in zip(session.get_outputs(), outputs, strict=True)}
    broken = [name for name, output in zip(shapes, outputs, strict=True) if not np.isfinite(output).all()]
    refusal = f"the output {broken[0]} holds numbers that are not finite" if broken else None
    return {"refusal": refusal, "outputs": shapes}


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", action="store_true", help="also count MACs and parameters")
    parser.add_argument("--run", action="store_true", help="also run it once")
    options = parser.parse_args()
    verdict = inspect(options.file, options.run)
    if options.count:
        verdict |= vars(count(onnx.load(options.file)))
    verdict["bytes"] = options.file.stat().st_size
    json.dump(verdict, sys.stdout)


if __name__ == "__main__":
    main()
