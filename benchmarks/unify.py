"""What weight unification costs and buys: seconds to project and to pack, bytes, load time and latency of the packed
file against the same weights stored plain, both timed in turn; accuracy of the one-shot result where there are labels.

    python benchmarks/unify.py resnet50.onnx models/digits-resnet.onnx --data models/digits-test.npz --out FILE.json
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from compressor.commands import unify
from compressor.config import UnifySettings
from compressor.core.clock import Clock
from compressor.graph.disk import files
from compressor.graph.ir.edit import constant_array
from compressor.graph.sizes.feeds import feeds
from compressor.runtime.library import ort
from compressor.steps.unify import get_ready
from compressor.unification.packed import HALF_TYPES, pack_blocks
from compressor.unification.projections import Mixed

LARGE = 20_000_000
BLOCKS = ("1x4", "1x8", "4x4", "8x8", "tap")


def open_session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def in_turn(one: Callable[[], object], two: Callable[[], object], rounds: int) -> tuple[list[float], list[float]]:
    """CPU seconds of each on one thread, called alternately; the order turns in every round."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            start = time.process_time()
            (one, two)[which]()
            times[which].append(time.process_time() - start)
    return times


def interval(packed: list[float], dense: list[float]) -> tuple[float, float, float]:
    """Median ratio of packed to dense over rounds, with a 95 % bootstrap interval."""
    ratios = np.array(packed) / np.array(dense)
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return round(float(np.median(ratios)), 4), round(float(low), 4), round(float(high), 4)


def speed(path: Path, settings: UnifySettings) -> dict[str, float]:
    """CPU seconds of projection and packing of all weights, least of five, without reading files."""
    source = files.load_model(path)
    ready = get_ready(source, settings, 0, path)
    weights = [np.array(constant_array(layer.value)) for layer in ready.weights.layers]
    wide = [w.astype(np.float32) if w.dtype in HALF_TYPES else w for w in weights]
    layouts = [layer.layout for layer in ready.weights.layers]

    def least(work: Callable[[], object]) -> float:
        seconds = []
        for _ in range(5):
            start = time.process_time()
            work()
            seconds.append(time.process_time() - start)
        return round(min(seconds), 4)

    def project(unify: float, prune: float) -> list[Any]:
        return [Mixed(at, unify, prune).project(w) for at, w in zip(layouts, wide, strict=True)]

    done = project(1.0, 0.0)
    kinds = [Mixed(at).kinds(w) for at, w in zip(layouts, wide, strict=True)]
    packs = [pack_blocks(w, at, k, "float16") for w, at, k in zip(done, layouts, kinds, strict=True)]
    return {
        "weights": int(sum(w.size for w in weights)),
        "project_all": least(lambda: project(1.0, 0.0)),
        "project_half": least(lambda: project(0.5, 0.0)),
        "project_mixed": least(lambda: project(0.5, 0.3)),
        "pack": least(
            lambda: [pack_blocks(w, at, k, "float16") for w, at, k in zip(done, layouts, kinds, strict=True)]
        ),
        "decode": least(lambda: [p.decode() for p in packs]),
    }


def timing(path: Path, settings: UnifySettings, folder: Path, rounds: int) -> dict[str, Any]:
    """Load time and latency of the packed file against the plain one, and whether their outputs are equal."""
    clock = Clock()
    result = unify.unify(path, settings, clock=clock)
    assert result.report.exact
    packed, dense = folder / "packed.onnx", folder / "dense.onnx"
    files.save_model(result.model, packed)
    files.save_model(result.dense, dense)
    ready = get_ready(files.load_model(path), settings, 0, path)
    inputs = feeds(ready.model, {k: (1, *v[1:]) if v else v for k, v in ready.shapes.inputs.items()}, ready.shapes, 0)
    loads = in_turn(lambda: open_session(packed), lambda: open_session(dense), max(3, rounds // 10))
    one, two = open_session(packed), open_session(dense)
    names = {value.name for value in one.get_inputs()}
    given = {name: array for name, array in inputs.items() if name in names}
    pairs = list(zip(one.run(None, given), two.run(None, given), strict=True))
    in_turn(lambda: one.run(None, given), lambda: two.run(None, given), max(3, rounds // 10))  # warm-up
    runs = in_turn(lambda: one.run(None, given), lambda: two.run(None, given), rounds)
    return {
        "bytes": {"original": files.size_on_disk(path), "packed": packed.stat().st_size, "dense": dense.stat().st_size},
        "gzip": {"original": _gzip(path), "packed": _gzip(packed)},
        "load_cpu_seconds": {"packed": round(min(loads[0]), 4), "dense": round(min(loads[1]), 4)},
        "latency_cpu_ms": {
            name: round(1e3 * statistics.median(t), 3) for name, t in zip(("packed", "dense"), runs, strict=True)
        },
        "latency_ratio": interval(*runs),
        "outputs_equal": all(np.array_equal(a, b) for a, b in pairs),
        "seconds": clock.seconds,
    }


def _gzip(path: Path) -> int:
    return len(gzip.compress(path.read_bytes(), 6))


def accuracy(path: Path, data: Path | None) -> float | None:
    """Share of right labels, or None where the data does not fit the model."""
    if data is None:
        return None
    with np.load(data, allow_pickle=False) as arrays:
        x, y = arrays["x"], arrays["y"]
    session = open_session(path)
    if list(session.get_inputs()[0].shape[1:]) != list(x.shape[1:]):
        return None
    name, right = session.get_inputs()[0].name, 0
    for start in range(0, len(x), 100):
        scores = session.run(None, {name: x[start : start + 100]})[0]
        right += int((scores.argmax(1) == y[start : start + 100]).sum())
    return round(right / len(y), 4)


def blocks(path: Path, all_layers: bool, data: Path | None, folder: Path) -> list[dict[str, Any]]:
    """One row a block shape: bytes, ratios, error, accuracy in one shot."""
    rows = []
    target = folder / "small.onnx"
    for block in BLOCKS:
        # The plain proof of `timing` stands for all shapes of a large model.
        settings = UnifySettings(block=block, all_layers=all_layers, verify=path.stat().st_size < LARGE)
        report = unify.unify_file(path, target, settings)
        assert report.output is not None
        norms = [(row.error**2 * row.weights, row.weights) for row in report.layers]
        rows.append(
            {
                "block": block,
                "bytes": report.output.bytes,
                "ratio": round(report.input.bytes / report.output.bytes, 2),
                "gzip": report.gzip_bytes,
                "ideal": report.ideal_bytes,
                "weight_error": round((sum(a for a, _ in norms) / sum(b for _, b in norms)) ** 0.5, 3),
                "output_error": report.output_error,
                "accuracy": accuracy(target, data),
                "original_accuracy": accuracy(path, data),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, help="npz with x and y, for the models whose input it fits")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--all-layers", action="store_true", help="the first and last layer too")
    parser.add_argument("--no-blocks", action="store_true", help="leave out the table of block shapes")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    settings = UnifySettings(all_layers=options.all_layers)
    found = []
    for path in options.models:
        with tempfile.TemporaryDirectory() as folder:
            row: dict[str, Any] = {"model": path.name, "speed": speed(path, settings)}
            row["packed"] = timing(path, settings, Path(folder), options.rounds)
            if not options.no_blocks:
                row["blocks"] = blocks(path, options.all_layers, options.data, Path(folder))
        print(json.dumps(row), flush=True)
        found.append(row)
    environment = {
        "machine": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": [round(x, 1) for x in os.getloadavg()],
        "onnxruntime": ort.__version__,
        "numpy": np.__version__,
        "threads": 1,
        "settings": {"block": settings.block, "all_layers": settings.all_layers, "rounds": options.rounds},
    }
    if options.out:
        options.out.write_text(json.dumps({"environment": environment, "models": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
