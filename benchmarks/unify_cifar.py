"""Unified weights on CIFAR-10: accuracy and bytes by block and method, beside int8 quantization on the same network.

    python benchmarks/unify_cifar.py --data FILE [--epochs 6] [--samples 20000] [--blocks 1x4 ...] [--methods admm ...]

FILE is what models/cifar.py reads. Training has no labels: it imitates the dense network. --pruned MODEL unifies and
quantizes a pruned and recovered network too, such as recovery_cifar.py --keep writes; it imitates the dense one, and
its ratios are to the dense file. Arms that are in the results already are not run again, so that an interrupted run
continues; with --layer-block or --learning-rate, which their names do not tell of, they need an --out of their own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import process
from recovery_cifar import MODEL, ROOT, Table, cifar

from compressor.commands.bench import bench
from compressor.commands.unify import unify_file
from compressor.config import BenchSettings, PruneSettings, UnifySettings
from compressor.data import open_data
from compressor.graph.disk import files
from compressor.metrics.evaluator import Evaluator

RESULTS = ROOT / "benchmarks" / "results" / "unify_cifar.json"
BLOCKS = ("1x4", "1x8", "4x4", "8x8", "tap")
METHODS = ("one-shot", "retrain", "admm", "iss", "ste")
TRAINING = {"batch_size": 128, "augment": ("flip", "crop"), "val_share": 0, "amp": "bf16"}


class Arms:
    """What is measured, on test images in ``folder`` and a dense file to compare with."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._folder, self._options = folder, options
        self.train, self.test, self.calibration = (folder / f"{n}.npz" for n in ("train", "test", "calibration"))
        images = cifar.read(options.data, "train")[0]
        order = np.random.default_rng(0).permutation(len(images))
        np.savez(self.train, x=images[order[: options.samples or None]])
        np.savez(self.calibration, x=images[order[:512]])
        images, labels = cifar.read(options.data, "test")
        np.savez(self.test, x=images, y=labels)

    def judged(self, path: Path) -> dict[str, Any]:
        """Accuracy and bytes of a file."""
        model, settings = files.load_model(path), PruneSettings(data=str(self.test), batch_size=500)
        share = Evaluator().measure(model, open_data(settings, model)).value
        size = path.stat().st_size
        return {"accuracy": share, "bytes": size, "times_smaller": round(MODEL.stat().st_size / size, 2)}

    def unified(self, source: Path, block: str, method: str, seed: int) -> dict[str, Any]:
        """One setting, all eligible layers."""
        asked: dict[str, Any] = {"block": block, "method": method, "seed": seed}
        if method != "one-shot":
            asked |= {**TRAINING, "data": str(self.train), "epochs": self._options.epochs, "teacher": str(MODEL)}
        if self._options.layer_block:
            asked["layer_block"] = tuple(self._options.layer_block)
        if self._options.learning_rate:
            asked["learning_rate"] = self._options.learning_rate
        output = self._folder / "unified.onnx"
        report = unify_file(source, output, UnifySettings.parse(asked))
        left = [row.name for row in report.left if row.weights > 1000]
        assert not left, f"not unified: {left}"
        found = {**self.judged(output), "gzip_bytes": report.gzip_bytes, "ideal_bytes": report.ideal_bytes}
        if self._options.keep:
            self._options.keep.mkdir(parents=True, exist_ok=True)
            (self._options.keep / f"{source.stem}-{block}-{method}-{seed}.onnx").write_bytes(output.read_bytes())
        return found

    def quantized(self, source: Path) -> dict[str, Any]:
        """Static int8 of ONNX Runtime, weights by channel, on 512 calibration images; latency in turns."""
        from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static  # noqa: PLC0415
        from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

        name = str(files.load_model(source).graph.inputs[0].name)
        with np.load(self.calibration) as data:
            feeds = iter([{name: batch} for batch in np.array_split(data["x"], 8)])

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            def get_next(self) -> dict[str, Any] | None:
                return next(feeds, None)

        ready, output = self._folder / "ready.onnx", self._folder / "int8.onnx"
        quant_pre_process(str(source), str(ready))
        quantize_static(str(ready), str(output), Reader(), per_channel=True, weight_type=QuantType.QInt8)
        return self.judged(output) | self.latency(source, output)

    def latency(self, one: Path, two: Path) -> dict[str, Any]:
        """How many times as fast the second is, with its interval, on one thread."""
        found = bench(one, two, BenchSettings(threads=1)).runs[0].speed_up
        assert found is not None
        return {"speed_up": [round(found.value, 3), round(found.low, 3), round(found.high, 3)]}


def arms(options: argparse.Namespace) -> Iterator[tuple[str, Path, str, str, int]]:
    sources = [] if options.only_pruned else [("", MODEL)]
    sources += [("pruned ", options.pruned)] if options.pruned else []
    for seed in range(options.seeds):
        for prefix, source in sources:
            for block in options.blocks:
                for method in options.methods:
                    if method == "one-shot" and seed:
                        continue
                    trained = "" if method == "one-shot" else f", {options.epochs} epochs of {options.samples or 'all'}"
                    yield f"{prefix}{block} {method}{trained}, seed {seed}", source, block, method, seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pruned", type=Path)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--samples", type=int, default=0, help="training images, 0 for all")
    parser.add_argument("--blocks", nargs="+", default=BLOCKS)
    parser.add_argument("--layer-block", action="append", metavar="GLOB=BLOCK", help="as for unify; repeatable")
    parser.add_argument("--learning-rate", type=float, help="default: that of unify")
    parser.add_argument("--only-pruned", action="store_true", help="leave the network itself out")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--quantize", action="store_true", help="measure int8 too")
    parser.add_argument("--keep", type=Path, help="folder for the unified models")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    table = Table(options.out, {"machine": process.machine(), "training": TRAINING})
    with tempfile.TemporaryDirectory() as folder:
        found = Arms(Path(folder), options)
        table.add("dense", partial(found.judged, MODEL))
        if options.pruned:
            table.add("pruned", partial(found.judged, options.pruned))
        if options.quantize:
            table.add("int8", partial(found.quantized, MODEL))
            if options.pruned:
                table.add("pruned int8", partial(found.quantized, options.pruned))
        for name, source, block, method, seed in arms(options):
            table.add(name, partial(found.unified, source, block, method, seed))


if __name__ == "__main__":
    sys.exit(main())
