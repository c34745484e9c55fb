"""A ResNet-20 for CIFAR-10 and its training; ``build.py`` exports it.

The data is not part of this project. It is read from a file with the JPEG bytes of all images, one after the
other: for each split ``SPLIT_jpeg`` (uint8), ``SPLIT_offsets`` (int64, n+1) and ``SPLIT_labels`` (uint8).
"""

import io
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

MEAN = (0.4914, 0.4822, 0.4465)
"""Mean of the training images by channel (red, green, blue), of pixels in 0..1."""
STD = (0.2470, 0.2435, 0.2616)
"""Their standard deviation."""


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the width changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class ResNet20(nn.Module):
    """Three stages of three blocks with 16, 32 and 64 channels (He et al., arXiv 1512.03385, section 4.2).

    Input: normalised images [n, 3, 32, 32]; output: logits [n, 10].
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        widths = [(16, 16, 1)] * 3 + [(16, 32, 2), (32, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1)]
        self.blocks = nn.Sequential(*(Block(*stage) for stage in widths))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(image)))


def read(path: Path, split: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Images float32[n, 3, 32, 32], normalised, and labels int64[n] of the split ``train`` or ``test``."""
    with np.load(path, allow_pickle=False) as data:
        raw, offsets, labels = (data[f"{split}_{key}"] for key in ("jpeg", "offsets", "labels"))
    images = np.empty((len(labels), 32, 32, 3), np.uint8)
    for k in range(len(labels)):
        images[k] = np.asarray(Image.open(io.BytesIO(raw[offsets[k] : offsets[k + 1]].tobytes())).convert("RGB"))
    scaled = (images.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)), labels.astype(np.int64)


def augmented(x: Tensor) -> Tensor:
    """A batch [n, 3, 32, 32], each image moved by up to four pixels in each direction and flipped or not."""
    windows = pad(x, (4, 4, 4, 4)).unfold(2, 32, 1).unfold(3, 32, 1)  # [n, 3, 9, 9, 32, 32]
    down, right = torch.randint(0, 9, (2, len(x)))
    moved = windows[torch.arange(len(x)), :, down, right]
    return torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, moved.flip(3), moved)


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int, batch: int = 128) -> None:
    """SGD with Nesterov momentum and one learning-rate cycle; bfloat16 where that is faster and safe."""
    steps = epochs * (len(x) // batch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.15, momentum=0.9, weight_decay=2e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.15, total_steps=steps, pct_start=0.15, cycle_momentum=False
    )
    device = next(model.parameters()).device
    model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        for index in torch.randperm(len(x))[: len(x) // batch * batch].split(batch):
            images = augmented(x[index]).to(device, memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16):
                loss = cross_entropy(model(images), y[index].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1}/{epochs}: loss {total / (len(x) // batch):.4f}, {seconds:.0f} s", flush=True)
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
