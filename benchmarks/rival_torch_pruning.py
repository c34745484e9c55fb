"""Prunes a torchvision model with Torch-Pruning and exports it: rival_torch_pruning.py NAME OUT.onnx RATIO.

Group L2 magnitude, one local step, the classifier's outputs kept. Prints the seconds of each phase as JSON.
"""

import json
import sys
import time
from itertools import pairwise

import torch_pruning as tp
from torch import nn
from torchvision_source import build, example, export


def prune(model: nn.Module, ratio: float) -> None:
    """Removes the share `ratio` of the channels of every group, in place."""
    classifier = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    pruner = tp.pruner.BasePruner(
        model,
        example(),
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=ratio,
        ignored_layers=[classifier],
    )
    pruner.step()
    if hasattr(model, "hidden_dim"):  # torchvision's ViT reshapes to this number, which no pruner can see
        model.hidden_dim = model.conv_proj.out_channels


def main() -> None:
    name, output, ratio = sys.argv[1:]
    marks = [time.perf_counter()]
    model = build(name)
    marks.append(time.perf_counter())
    prune(model, float(ratio))
    marks.append(time.perf_counter())
    export(model, output)
    marks.append(time.perf_counter())
    seconds = [round(after - before, 3) for before, after in pairwise(marks)]
    print(json.dumps(dict(zip(("build", "prune", "export"), seconds, strict=True))))


if __name__ == "__main__":
    main()
