"""Does training towards a cut pay? Every method beside the plain cut, at the same number of epochs in all.

    python benchmarks/sparsity_training.py --train train.npz --test test.npz --out sparsity.json
        [--macs 0.5,0.3] [--images 10000] [--epochs 4] [--before 2] [--seeds 0] [--arms NAME,NAME] [--amp bf16]

The files hold ``x`` (uint8 [n, h, w, 3] or [n, 3, h, w]) and ``y``. Every arm starts from the same trained network,
models/cifar10-resnet20.onnx or ``--model``, and sees ``--images`` training images ``--epochs`` times: ``cut`` all after
the cut, methods ``--before`` times before it. The teacher is the original, so no label is used. Accuracy is measured on
all test images, before the cut, right after it, and in the end. Arms that are in the results already are not run again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.config.choices import REGULARIZERS

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "cifar10-resnet20.onnx"
STATISTICS = {"mean": "0.4914,0.4822,0.4465", "std": "0.2470,0.2435,0.2616"}
FRESH: dict[str, dict[str, Any]] = {
    "scratch": {"reinitialise": "after"},
    "synflow at initialisation": {"reinitialise": "before", "criterion": "synflow", "scope": "global"},
    "snip at initialisation": {"reinitialise": "before", "criterion": "snip", "scope": "global"},
    "random at initialisation": {"reinitialise": "before", "criterion": "random", "scope": "local"},
}
"""Arms that forget the trained weights; they learn from the trained network all the same."""
PLAIN = "cut"
AFTER: dict[str, dict[str, Any]] = {PLAIN: {}, "orthogonal": {"reinitialise": "orthogonal"}, **FRESH}
"""Arms that train after the cut alone."""
TICKET = "ticket"
"""Fresh weights trained, cut where they ended, and trained again from where they began: half of the epochs each."""


def arm(name: str, asked: argparse.Namespace, macs: float, seed: int) -> dict[str, Any]:
    """Settings of an arm beyond those that all share."""
    shared = {"target_macs": macs, "seed": seed, "recover": "finetune", "round_to": 1, "batch_size": 128}
    if name in AFTER:
        return {**shared, **AFTER[name], "epochs": asked.epochs}
    if name == TICKET:
        return {**shared, "rewind": 0, "epochs": asked.epochs // 2}
    before = {"sparsify": name, "sparsify_epochs": asked.before}
    return {**shared, **before, "epochs": asked.epochs - asked.before}


def subset(path: Path, count: int, seed: int, folder: Path) -> Path:
    """So many samples, drawn at random, the same for every arm of a seed; all of them for 0."""
    held = np.load(path)
    chosen = np.random.default_rng(seed).permutation(len(held["x"]))[: count or None]
    made = folder / f"{path.stem}-{seed}.npz"
    np.savez(made, x=held["x"][chosen], y=held["y"][chosen])
    return made


def run(name: str, asked: argparse.Namespace, macs: float, seed: int, folder: Path) -> dict[str, Any]:
    """One arm: accuracy of the original, right after the cut, and in the end."""
    settings = PruneSettings.parse({
        **STATISTICS, **arm(name, asked, macs, seed), "augment": ("flip", "crop"), "device": "cpu", "amp": asked.amp,
        "data": str(subset(asked.train, asked.images, seed, folder)),
        "val_data": str(subset(asked.test, asked.judged, 0, folder)), "verify": "off",
    })  # fmt: skip
    start = time.perf_counter()
    report = prune(asked.model, settings).report
    [row] = report.accuracy
    removed = sum(group.removed for group in report.groups)
    return {
        "dense": row.before, "after cut": row.pruned, "final": row.after, "removed channels": removed,
        "macs": None if report.output is None else report.output.macs / report.input.macs,
        "seconds": round(time.perf_counter() - start, 1), "warnings": report.warnings,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--macs", default="0.5,0.3")
    parser.add_argument("--images", type=int, default=10000, help="training images; 0: all")
    parser.add_argument("--judged", type=int, default=0, help="test images; 0: all")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--before", type=int, default=2)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--arms", default=",".join([*AFTER, TICKET, *REGULARIZERS]))
    parser.add_argument("--amp", default="off")
    asked = parser.parse_args()
    done: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.is_file() else {}
    about = {k: str(v) for k, v in vars(asked).items() if k not in ("out", "arms", "macs", "seeds")}
    done = {"about": about, "arms": done.get("arms", {})}
    with tempfile.TemporaryDirectory() as folder:
        for macs in map(float, asked.macs.split(",")):
            for seed in map(int, asked.seeds.split(",")):
                for name in asked.arms.split(","):
                    key = f"{macs:g} {name} {seed}"
                    if key not in done["arms"]:
                        done["arms"][key] = run(name, asked, macs, seed, Path(folder))
                        asked.out.write_text(json.dumps(done, indent=1) + "\n")
                        print(key, done["arms"][key], flush=True)


if __name__ == "__main__":
    main()
