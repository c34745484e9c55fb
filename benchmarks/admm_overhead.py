"""What ADMM adds to a step of training: the CIFAR-10 ResNet-20 on random images, plain and with ADMM in turns.

    python benchmarks/admm_overhead.py [--batch 128] [--rounds 20] [--out FILE]

A step is forward, backward and update as the training loop makes it. ADMM adds a pull after each step, and a refresh
of Z and V every ``interval`` steps.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import process
from timed_steps import TimedSteps

from compressor.config import UnifySettings
from compressor.graph.disk import files
from compressor.steps.unify import get_ready
from compressor.train.constraints.admm import Admm
from compressor.train.module.graph_module import GraphModule
from compressor.unification.methods import schedule_of
from compressor.unification.project import target

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "cifar10-resnet20.onnx"
RESULTS = ROOT / "benchmarks" / "results" / "admm_overhead.json"
MANY = 10**9


class Arm(TimedSteps):
    """A copy of the model that makes steps."""

    def __init__(self, settings: UnifySettings, batch: int, interval: int | None) -> None:
        ready = get_ready(files.load_model(MODEL), settings, 0, None)
        sets = {layer.name: target(layer, settings) for layer in ready.weights.layers}
        self.admm = None if interval is None else Admm(sets, replace(schedule_of(settings), refreshes=MANY // interval))
        super().__init__(GraphModule(ready.model), [] if self.admm is None else [self.admm], settings, batch, MANY)


def hook(arm: Arm, rounds: int) -> float:
    """Seconds of the process for what ADMM does after a step."""
    assert arm.admm is not None
    found = []
    for _ in range(rounds):
        start = time.process_time()
        arm.admm.after_step(arm.module, 1)
        found.append(time.process_time() - start)
    return statistics.median(found)


def measure(batch: int, rounds: int, interval: int) -> dict[str, Any]:
    """Medians of seconds; what ADMM adds is timed on its own, as it is far below the noise of whole steps."""
    settings = UnifySettings(all_layers=True, learning_rate=1e-6)
    plain, trained = Arm(settings, batch, None), Arm(settings, batch, MANY)
    times = [(plain.step(), trained.step()) for _ in range(rounds + 2)][2:]
    one, two = (statistics.median(row[k] for row in times) for k in range(2))
    pull, refresh = hook(trained, 5 * rounds), hook(Arm(settings, batch, 1), rounds)
    return {
        "batch": batch,
        "rounds": rounds,
        "plain_step_s": one,
        "admm_step_s": two,
        "pull_s": pull,
        "refresh_s": refresh,
        "interval": interval,
        "ratio": 1 + (pull + refresh / interval) / one,
    }


def main() -> None:
    """Measures, and writes what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--interval", type=int, default=100, help="steps between two refreshes, for the last ratio")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    found = measure(options.batch, options.rounds, options.interval)
    options.out.write_text(json.dumps({"machine": process.machine(), **found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
