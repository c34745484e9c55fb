"""What recovery brings: the CIFAR-10 ResNet-20 pruned, recovered in every way we have, beside Torch-Pruning.

    python benchmarks/recovery_cifar.py --data FILE --rival PYTHON [--macs 0.5,0.3] [--epochs 1,5,15]

FILE is what models/cifar.py reads; PYTHON has torch and torch-pruning. Every arm starts from the same trained
weights. Arms that are in the results already are not run again, so that an interrupted run continues.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import process

from compressor.commands.prune import PruneResult, prune
from compressor.config import PruneSettings
from compressor.data import open_data
from compressor.graph.disk import files
from compressor.metrics.evaluator import Evaluator
from compressor.steps import counts

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "cifar10-resnet20.onnx"
RESULTS = ROOT / "benchmarks" / "results" / "cifar.json"
TRAINING = {
    "learning_rate": 0.05, "weight_decay": 2e-4, "warmup": 0.05, "final_rate": 0.01, "batch_size": 128, "amp": "bf16",
    "clip_norm": 5.0,
}  # fmt: skip
"""The same for our arms and the rival's: SGD with Nesterov momentum over all training images, in bfloat16. Ours
alone clips gradients."""

sys.path.insert(0, str(ROOT / "models"))
import cifar  # noqa: E402 -- the folder of the models is no package


def as_npz(data: Path, folder: Path) -> tuple[Path, Path]:
    """Training images without labels, test images with them."""
    paths = folder / "train.npz", folder / "test.npz"
    np.savez(paths[0], x=cifar.read(data, "train")[0])
    images, labels = cifar.read(data, "test")
    np.savez(paths[1], x=images, y=labels)
    return paths


class Table:
    """Results by arm, written after each."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self._path = path
        self.rows: dict[str, dict[str, Any]] = {}
        if path.is_file():
            self.rows = json.loads(path.read_text())["arms"]
        self._about = about

    def add(self, arm: str, run: Callable[[], dict[str, Any]]) -> None:
        if arm in self.rows:
            return
        start = time.perf_counter()
        row = run()
        self.rows[arm] = {**row, "wall_seconds": round(time.perf_counter() - start, 1)}
        self._path.write_text(json.dumps({**self._about, "arms": self.rows}, indent=1) + "\n")
        print(arm, json.dumps(self.rows[arm]), flush=True)


def arms(epochs: list[int]) -> dict[str, dict[str, object]]:
    """Settings of our arms by name."""
    found: dict[str, dict[str, object]] = {how: {"recover": how} for how in ("none", "bias", "lstsq")}
    found["lstsq, noise"] = {"recover": "lstsq", "data": None}
    tuning = {**TRAINING, "recover": "finetune", "augment": ("flip", "crop"), "insert_bn": True, "val_share": 0}
    return found | {f"finetune {count}": {**tuning, "epochs": count} for count in epochs}


def ours(
    macs: float, round_to: int, train: Path, test: Path, settings: dict[str, object], keep: Path | None
) -> dict[str, Any]:
    asked = {"target_macs": macs, "round_to": round_to, "scope": "global", "data": str(train), **settings}
    result = prune(MODEL, PruneSettings.parse(asked))
    if keep is not None:
        files.save_model(result.model, keep)
    return {"accuracy": judged(result, test), "macs_left": left(result)}


def judged(result: PruneResult, test: Path) -> float:
    settings = PruneSettings(data=str(test), batch_size=500)
    return Evaluator().measure(result.model, open_data(settings, result.model)).value


def left(result: PruneResult) -> float:
    return counts.stats_in_memory(result.model, PruneSettings()).macs / result.report.input.macs


def rival(python: Path, data: Path, macs: float, epochs: int) -> dict[str, Any]:
    weights = MODEL.with_suffix(".safetensors")
    settings = {
        **TRAINING, "weights": str(weights), "data": str(data), "macs": macs, "epochs": epochs, "samples": 0,
        "seed": 0, "threads": int(os.environ.get("OMP_NUM_THREADS", "2")),
    }  # fmt: skip
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(settings, file)
        file.flush()
        script = Path(__file__).parent / "rival_cifar.py"
        done = subprocess.run([python, script, file.name], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    return {"accuracy": found["tuned"] if epochs else found["pruned"], "macs_left": found["macs_left"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rival", type=Path, help="interpreter with torch-pruning; left out, visibly, if not given")
    parser.add_argument("--macs", default="0.7,0.5,0.3", help="shares of the MACs to keep")
    parser.add_argument("--epochs", default="1,5,15")
    parser.add_argument("--round-to", type=int, default=1, help="widths of our arms are multiples of it")
    parser.add_argument("--keep", type=Path, help="folder, which is there, for the models of our arms")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    table = Table(options.out, {"machine": process.machine(), "training": TRAINING})
    with tempfile.TemporaryDirectory() as folder:
        train, test = as_npz(options.data, Path(folder))
        settings = PruneSettings(data=str(test), batch_size=500)
        dense = files.load_model(MODEL)
        table.add("dense", lambda: {"accuracy": Evaluator().measure(dense, open_data(settings, dense)).value})
        for macs in map(float, options.macs.split(",")):
            for arm, settings in arms(list(map(int, options.epochs.split(",")))).items():
                keep = options.keep and options.keep / f"{macs:g} {arm}.onnx"
                table.add(f"{macs:g} {arm}", partial(ours, macs, options.round_to, train, test, settings, keep))
            if options.rival is not None:
                for epochs in (0, *map(int, options.epochs.split(","))):
                    run = partial(rival, options.rival, options.data, macs, epochs)
                    table.add(f"{macs:g} torch-pruning {epochs}", run)
    if options.rival is None:
        print("torch-pruning: left out, as --rival names no interpreter")


if __name__ == "__main__":
    main()
