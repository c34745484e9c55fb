"""Trains and exports the example models: python models/build.py [--cifar FILE].

Two classifiers of scikit-learn's handwritten digits, and with the data of CIFAR-10 a ResNet-20.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cifar
import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

Split = tuple[Tensor, Tensor, Tensor, Tensor]


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the width changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from the mean of all channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width // 4, 1), nn.ReLU(),
            nn.Conv2d(width // 4, width, 1), nn.Hardsigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class InvertedResidual(nn.Module):
    """Expand, depthwise 3x3, squeeze-excite, project; added to the input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        width = 4 * inputs
        self.adds = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), activation(),
            nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False), nn.BatchNorm2d(width),
            activation(), SqueezeExcite(width),
            nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return x + y if self.adds else y


class Classifier(nn.Module):
    """Stem, the given blocks, mean over space and linear layer: image [n, 1, 8, 8] -> logits [n, 10]."""

    def __init__(self, stem: int, blocks: list[nn.Module], width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU())
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(image)))


def resnet() -> nn.Module:
    """Three stages of 32, 64 and 128 channels."""
    stages = [(32, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2)]
    return Classifier(32, [Residual(*stage) for stage in stages], 128)


def mobilenet() -> nn.Module:
    """Three stages of 24, 40 and 64 channels: ReLU6 in the first, hardswish after it."""
    relu6, hardswish = nn.ReLU6, nn.Hardswish
    stages = [
        (24, 24, 1, relu6),
        (24, 40, 2, hardswish),
        (40, 40, 1, hardswish),
        (40, 64, 2, hardswish),
        (64, 64, 1, hardswish),
    ]
    return Classifier(24, [InvertedResidual(*stage) for stage in stages], 64)


def load_split() -> Split:
    """The digits with pixels in 0..1, three quarters to train on and a quarter held out, stratified."""
    digits = load_digits()
    x = (digits.images / 16).astype(np.float32)[:, None]
    parts = train_test_split(x, digits.target, test_size=0.25, stratify=digits.target, random_state=0)
    train_x, test_x, train_y, test_y = (torch.from_numpy(part) for part in parts)
    return train_x, test_x, train_y, test_y


def shifted(x: Tensor) -> Tensor:
    """A batch [n, 1, 8, 8] where each image moved by up to one pixel in each direction."""
    windows = pad(x, (1, 1, 1, 1)).unfold(2, 8, 1).unfold(3, 8, 1)  # [n, 1, 3, 3, 8, 8]
    down, right = torch.randint(0, 3, (2, len(x)))
    return windows[torch.arange(len(x)), :, down, right]


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int, batch: int = 64) -> None:
    """AdamW with one learning-rate cycle on shifted images and smoothed labels."""
    steps = epochs * (len(x) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    model.train()
    for _ in range(epochs):
        for index in torch.randperm(len(x))[: len(x) // batch * batch].split(batch):
            optimizer.zero_grad()
            cross_entropy(model(shifted(x[index])), y[index], label_smoothing=0.05).backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of images [n, 1, 8, 8] whose largest logit is their label [n]."""
    return (model.eval()(x).argmax(1) == y).float().mean().item()


def export(model: nn.Module, path: Path, shape: tuple[int, ...] = (1, 8, 8)) -> None:
    """Writes the model in eval mode with a dynamic batch, and without the exporter's notes (source paths)."""
    example = torch.zeros(2, *shape)
    program = torch.onnx.export(
        model.eval(), (example,), dynamo=True, verbose=False, input_names=["image"], output_names=["logits"],
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
    )  # fmt: skip
    assert program is not None
    ClearMetadataAndDocStringPass()(program.model)
    ir.save(program.model, path)


def build_digits(out: Path, epochs: int) -> None:
    """``digits-resnet.onnx``, ``digits-mobilenet.onnx`` and the images they learn from and are judged on."""
    train_x, test_x, train_y, test_y = load_split()
    np.savez_compressed(out / "digits-train.npz", x=train_x.numpy(), y=train_y.numpy())
    np.savez_compressed(out / "digits-test.npz", x=test_x.numpy(), y=test_y.numpy())
    for build in (resnet, mobilenet):
        torch.manual_seed(0)
        start = time.perf_counter()
        model = build()
        train(model, train_x, train_y, epochs)
        path = out / f"digits-{build.__name__}.onnx"
        export(model, path)
        tell(model, path, accuracy(model, test_x, test_y), len(test_x), start)


def build_cifar(out: Path, data: Path, epochs: int) -> None:
    """``cifar10-resnet20.onnx``, and its weights before the exporter folds the BatchNorms away."""
    torch.manual_seed(0)
    start = time.perf_counter()
    model = cifar.ResNet20()
    cifar.train(model, *map(torch.from_numpy, cifar.read(data, "train")), epochs)
    path = out / "cifar10-resnet20.onnx"
    export(model, path, (3, 32, 32))
    save_file(model.state_dict(), path.with_suffix(".safetensors"))
    test_x, test_y = map(torch.from_numpy, cifar.read(data, "test"))
    tell(model, path, accuracy(model, test_x, test_y), len(test_x), start)


def tell(model: nn.Module, path: Path, right: float, count: int, start: float) -> None:
    parameters = sum(p.numel() for p in model.parameters())
    print(
        f"{path.name}: {right:.2%} of {count} held-out images, {parameters:,} parameters, "
        f"{path.stat().st_size:,} bytes, {time.perf_counter() - start:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write into")
    parser.add_argument("--epochs", type=int, default=40, help="for the digits")
    parser.add_argument("--cifar", type=Path, metavar="FILE", help="data of CIFAR-10, as models/cifar.py reads it")
    parser.add_argument("--cifar-epochs", type=int, default=22)
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    build_digits(options.out, options.epochs)
    if options.cifar is None:
        print("cifar10-resnet20.onnx: left out, as --cifar names no data")
    else:
        build_cifar(options.out, options.cifar, options.cifar_epochs)


if __name__ == "__main__":
    main()
