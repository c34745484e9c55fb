"""What each structure keeps at a budget: accuracy, MACs, bytes and time, without training and without labels.

    python benchmarks/structures.py NET.onnx... --train TRAIN.npz --test TEST.npz --out structures.json

Every network is compressed to every share of its MACs by every structure, from 256 samples without labels; --mean and
--std are handed on. Accuracy is taken on the first test samples, time on one thread in turns with the original, with an
interval of 95 %. Without --train and --test samples are made up and accuracy is not taken: for networks of random
weights, whose time alone says something. Rows that --out already has are not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from process import machine, version

from compressor.commands.bench import bench
from compressor.commands.prune_file import prune_file
from compressor.config import BenchSettings, PruneSettings, choices
from compressor.data import open_data, subset
from compressor.errors import CompressorError
from compressor.graph.disk import files
from compressor.metrics.evaluator import Evaluator

STRUCTURES = tuple(name for name in choices.STRUCTURES)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", type=Path, nargs="+")
    parser.add_argument("--train", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--mean", default="")
    parser.add_argument("--std", default="")
    parser.add_argument("--macs", type=float, nargs="+", default=[0.7, 0.5, 0.3])
    parser.add_argument("--structures", default=",".join(STRUCTURES))
    parser.add_argument("--lower", default="auto", help="as of onnx-prune")
    parser.add_argument("--recover", default="auto", help="as of onnx-prune")
    parser.add_argument("--round-to", type=int, default=0, help="0: the default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=2000, help="test samples")
    parser.add_argument("--seconds", type=float, default=3.0, help="timed runs of each pair, at least")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def prepared(options: argparse.Namespace) -> dict[str, Any]:
    return {key: getattr(options, key) for key in ("mean", "std") if getattr(options, key)}


def drawn(options: argparse.Namespace, folder: Path) -> Path:
    """A file of 256 samples without labels."""
    with np.load(options.train, allow_pickle=False) as whole:
        x = whole["x"]
    path = folder / "samples.npz"
    np.savez(path, x=x[np.random.default_rng(options.seed).permutation(len(x))[:256]])
    return path


def judged(path: Path, options: argparse.Namespace) -> float | None:
    """Top-1 on the first test samples, where there are any."""
    if options.test is None:
        return None
    model = files.load_model(path)
    settings = PruneSettings.parse({"data": str(options.test), **prepared(options)})
    test = open_data(settings, model)
    return Evaluator().measure(model, subset(test, min(options.samples, len(test)), 0)).value


def row(network: Path, key: dict[str, Any], calibration: Path | None, options: argparse.Namespace) -> dict[str, Any]:
    """One run: compressed, proved, judged and timed."""
    asked = {"round_to": key["round_to"]} if key["round_to"] else {}
    data = {} if calibration is None else {"data": str(calibration), "val_share": 0, **prepared(options)}
    fixed = {"structure": key["structure"], "target_macs": key["macs"], "threads": 1, "lower": key["lower"]}
    fixed |= {"seed": key["seed"], "recover": options.recover}
    settings = PruneSettings.parse({**fixed, **asked, **data})
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.onnx"
        start, busy = time.perf_counter(), time.process_time()
        try:
            report = prune_file(network, small, settings).report
        except CompressorError as error:
            return {**key, "error": str(error)}
        spent = {"seconds": round(time.perf_counter() - start, 1), "processor": round(time.process_time() - busy, 1)}
        found = {"accuracy": judged(small, options), **spent, **timed(network, small, options)}
    assert report.output is not None
    assert report.proof is not None
    return {
        **key,
        "macs_left": round(report.output.macs / report.input.macs, 4),
        "bytes": report.output.bytes,
        "params_left": round(report.output.params / report.input.params, 4),
        "channels_removed": sum(group.removed for group in report.groups),
        "layers_changed": {layer.node: layer.became for layer in report.changed},
        "layers_lowered": sum(layer.lowered for layer in report.changed),
        "proof": report.proof.max_rel_err,
        **found,
    }


def timed(network: Path, small: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Time of the original over that of the result, with its interval."""
    settings = BenchSettings.parse({"threads": 1, "seconds": options.seconds, "memory": False})
    run = bench(network, small, settings).runs[0]
    found = run.speed_up
    assert found is not None
    return {
        "speed_up": round(found.value, 3),
        "interval": [round(found.low, 3), round(found.high, 3)],
        "noisy": run.noisy,
    }


def main() -> None:
    """Runs what the file lacks, writes it after every run, and prints a line for each."""
    options = parse()
    rows: list[dict[str, Any]] = json.loads(options.out.read_text())["rows"] if options.out.is_file() else []
    names = ("network", "structure", "macs", "round_to", "lower", "seed")
    done = [{name: old.get(name) for name in names} for old in rows]
    with tempfile.TemporaryDirectory() as folder:
        calibration = None if options.train is None else drawn(options, Path(folder))
        for network in options.networks:
            arms = [("original", 1.0), *((s, m) for m in options.macs for s in options.structures.split(","))]
            for structure, macs in arms:
                values = (network.stem, structure, macs, options.round_to, options.lower, options.seed)
                key = dict(zip(names, values, strict=True))
                if key in done:
                    continue
                if structure == "original":
                    rows.append({**key, "accuracy": judged(network, options), "bytes": network.stat().st_size})
                else:
                    rows.append(row(network, key, calibration, options))
                print(json.dumps(rows[-1]), flush=True)
                text = {"onnxruntime": version("onnxruntime-gpu"), "machine": machine(), "rows": rows}
                options.out.write_text(json.dumps(text, indent=1) + "\n")


if __name__ == "__main__":
    main()
