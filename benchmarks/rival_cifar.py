"""Prunes the CIFAR-10 ResNet-20 with Torch-Pruning and fine-tunes it: rival_cifar.py SETTINGS.json.

Group L2 magnitude, one local step, BatchNorms in place; the ratio is found by bisection for the share of MACs asked
for. Training is cross-entropy with labels, SGD with Nesterov momentum, linear warm-up and cosine, flips and crops:
the optimiser, schedule and data of the other arms, on the same torch weights. Prints accuracies as JSON.

SETTINGS: ``weights`` (safetensors), ``data`` (the file models/cifar.py reads), ``macs``, ``epochs``,
``learning_rate``, ``weight_decay``, ``warmup``, ``final_rate``, ``batch_size``, ``amp`` (bf16 or off), ``seed``,
``threads``, and ``samples`` to train on (0: all).
"""

import copy
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
import cifar


def pruned(model: nn.Module, ratio: float) -> nn.Module:
    """A copy without the share `ratio` of the channels of every group."""
    small = copy.deepcopy(model)
    pruner = tp.pruner.BasePruner(
        small,
        torch.zeros(1, 3, 32, 32),
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=ratio,
        ignored_layers=[m for m in small.modules() if isinstance(m, nn.Linear)],
    )
    pruner.step()
    return small


def macs(model: nn.Module) -> float:
    found, _ = tp.utils.count_ops_and_params(copy.deepcopy(model), torch.zeros(1, 3, 32, 32))
    return float(found)


def at_macs(model: nn.Module, share: float) -> nn.Module:
    """The copy whose MACs are nearest to `share` of the model's."""
    whole, low, high = macs(model), 0.0, 0.95
    tried = []
    for _ in range(12):
        middle = (low + high) / 2
        small = pruned(model, middle)
        left = macs(small) / whole
        tried.append((abs(left - share), small))
        low, high = (middle, high) if left > share else (low, middle)
    return min(tried, key=lambda pair: pair[0])[1]


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    model.eval()
    right = sum(int((model(a).argmax(1) == b).sum()) for a, b in zip(x.split(500), y.split(500), strict=True))
    return right / len(y)


def train(model: nn.Module, x: Tensor, y: Tensor, settings: dict[str, Any]) -> None:
    batch, epochs = int(settings["batch_size"]), int(settings["epochs"])
    steps = epochs * math.ceil(len(x) / batch)
    rise, rest = max(1, round(settings["warmup"] * steps)), settings["final_rate"]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=settings["learning_rate"], momentum=0.9, nesterov=True)

    def rate(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return rest + (1 - rest) * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    model.to(memory_format=torch.channels_last).train()
    for _ in range(epochs):
        for index in torch.randperm(len(x)).split(batch):
            images = cifar.augmented(x[index]).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=settings["amp"] == "bf16"):
                scores = model(images)
            loss = cross_entropy(scores.float(), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(int(settings["threads"]))
    torch.manual_seed(int(settings["seed"]))
    x, y = map(torch.from_numpy, cifar.read(Path(settings["data"]), "train"))
    test_x, test_y = map(torch.from_numpy, cifar.read(Path(settings["data"]), "test"))
    if settings["samples"]:
        chosen = torch.from_numpy(np.random.default_rng(settings["seed"]).permutation(len(x))[: settings["samples"]])
        x, y = x[chosen], y[chosen]
    model = cifar.ResNet20()
    model.load_state_dict(load_file(settings["weights"]))
    dense = accuracy(model, test_x, test_y)
    small = at_macs(model, settings["macs"])
    before = accuracy(small, test_x, test_y)
    start = time.perf_counter()
    if settings["epochs"]:
        train(small, x, y, settings)
    print(
        json.dumps(
            {
                "dense": dense,
                "macs_left": macs(small) / macs(model),
                "pruned": before,
                "tuned": accuracy(small, test_x, test_y) if settings["epochs"] else None,
                "seconds": round(time.perf_counter() - start, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
