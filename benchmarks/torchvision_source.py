"""The torchvision models that compare.py prunes, and their export: torchvision_source.py NAME OUT.onnx.

Runs in the competitors' environment. Torch-Pruning starts from the same module as the exported file.
"""

import importlib
import sys

import torch
from torch import Tensor, nn

SIZE = 224


def import_torchvision() -> object:
    """Imports torchvision.models, also where torch cannot load torchvision's compiled operators.

    torchvision declares shape functions for two compiled operators while it is imported; where its library
    does not load, declaring the operators first is enough, as no classifier calls them.
    """
    try:
        return importlib.import_module("torchvision.models")
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", "(Tensor boxes, Tensor scores, float iou) -> Tensor")
        return importlib.import_module("torchvision.models")


def build(name: str) -> nn.Module:
    """The named model in eval mode, with seeded random weights in which nothing is left constant.

    Zero biases and unit scales, as untrained models have them, would be merged by the exporter and hide
    mistakes; a trained model has none.
    """
    torch.manual_seed(0)
    model: nn.Module = import_torchvision().get_model(name, weights=None).eval()  # type: ignore[attr-defined]
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point() and tensor.numel() > 1 and tensor.min() == tensor.max():
                tensor.add_(0.1 * torch.rand_like(tensor))
    return model


def example() -> Tensor:
    """One image, float32[1, 3, 224, 224]."""
    return torch.zeros(1, 3, SIZE, SIZE)


def export(model: nn.Module, path: str) -> None:
    """Writes the model as one ONNX file, input `x` and output `y`."""
    torch.onnx.export(
        model, (example(),), path, dynamo=True, external_data=False, verbose=False,
        input_names=["x"], output_names=["y"],
    )  # fmt: skip


if __name__ == "__main__":
    export(build(sys.argv[1]), sys.argv[2])
