"""What each regularizer adds to a step of training, and to the memory of it: the CIFAR-10 ResNet-20 on random images.

    python benchmarks/regularizer_overhead.py [--batch 64] [--rounds 8] [--out FILE]

A step is forward, backward and update as the training loop makes it, in seconds of the process. What acts on weights is
timed on its own, over a stretch of steps with looks and refreshes in it, as it is below the noise of whole steps; what
acts on activations (feature flow) by whole steps, plain and with it in turns. Memory is the peak of a process that
makes a few steps and nothing else.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import process
import torch
from timed_steps import TimedSteps

from compressor.channels.groups import group
from compressor.config import PruneSettings
from compressor.config.choices import REGULARIZERS
from compressor.graph.disk import files
from compressor.pruning.budgets.select import choose_channels
from compressor.pruning.cut.analysis import analyse
from compressor.pruning.cut.apply import cut_of
from compressor.train.module.graph_module import GraphModule
from compressor.train.module.intermediate_outputs import with_outputs
from compressor.train.regularizers.coupled_channels import couple
from compressor.train.regularizers.regularizer import ChosenRegularizer, Regularizer, TrainedChannels
from compressor.train.sparsify import BEFORE_A_CUT

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "cifar10-resnet20.onnx"
RESULTS = ROOT / "benchmarks" / "results" / "regularizer_overhead.json"
PLAIN = "plain"
STEPS = 1000
"""Of the run that is imagined; a fiftieth of it is timed."""
ALLOWED, ALLOWED_GRAM, ALLOWED_MEMORY = 1.1, 1.2, 1.3
GRAM = ("tpp",)


class Arm(TimedSteps):
    """A copy of the model that makes steps, with a regularizer or without."""

    def __init__(self, name: str, batch: int) -> None:
        settings = PruneSettings(ratio=0.5, round_to=1, learning_rate=1e-3, device="cpu")
        analysis = analyse(files.load_model(MODEL), settings)
        cut = cut_of(choose_channels(analysis.coupling, settings, 1).plan, analysis)
        groups = group(analysis.coupling)
        gone = {g.name: ~cut.keeps_units(g.units) for g in groups}
        asked = ChosenRegularizer(name, BEFORE_A_CUT)
        subject = TrainedChannels(analysis, couple(analysis.coupling, groups, gone, analysis.model), cut, asked)
        self.method: Regularizer | None = None if name == PLAIN else REGULARIZERS[name].make(subject)
        values = () if self.method is None else self.method.values
        extensions = [] if self.method is None else [self.method]
        super().__init__(GraphModule(with_outputs(analysis.model, values)), extensions, settings, batch, STEPS)

    def hooks(self) -> float:
        """Seconds of the process for what the regularizer does in a step with gradients and weights; the mean."""
        assert self.method is not None
        # A controller that starts from nothing would leave the penalty out.
        controller = getattr(self.method, "controller", None)
        if controller is not None:
            controller.strength = max(controller.strength, 1.0)
        start, count = time.process_time(), STEPS // 20
        for step in range(self.index + 1, self.index + 1 + count):
            self.method.after_clipping(self.module)
            self.method.after_step(self.module, step)
        return (time.process_time() - start) / count


def peak(name: str, batch: int) -> int:
    """Bytes that a process holds at most in which an arm makes three steps."""
    command = [sys.executable, __file__, "--arm", name, "--batch", str(batch)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def measure(batch: int, rounds: int) -> dict[str, Any]:
    """Ratios to the plain step and to its memory, by method."""
    plain, found = Arm(PLAIN, batch), {}
    base = peak(PLAIN, batch)
    for name in REGULARIZERS:
        arm = Arm(name, batch)
        # The first step warms up; those that follow hold as many lazy ones as any stretch of so many.
        acts = bool(arm.method is not None and arm.method.values)
        times = [(plain.step(), arm.step()) for _ in range((rounds if acts else 4) + 1)][1:]
        alone = statistics.median(row[0] for row in times)
        hooks = None if acts else arm.hooks()
        ratio = sum(two for _, two in times) / sum(one for one, _ in times) if hooks is None else 1 + hooks / alone
        memory = peak(name, batch) / base
        allowed = ALLOWED_GRAM if name in GRAM else ALLOWED
        found[name] = {
            "step": round(ratio, 3), "memory": round(memory, 3), "hooks_s": hooks, "plain_step_s": alone,
            "within": ratio <= allowed and memory <= ALLOWED_MEMORY,
        }  # fmt: skip
        print(name, found[name], flush=True)
    return {"batch": batch, "rounds": rounds, "methods": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=16, help="steps, of methods that act on activations")
    parser.add_argument("--arm", help="for a process that measures the memory of one")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.arm is not None:
        arm = Arm(options.arm, options.batch)
        for _ in range(3):
            arm.step()
        # Kilobytes on Linux.
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        return
    found = measure(options.batch, options.rounds)
    options.out.write_text(json.dumps({"machine": process.machine(), **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
