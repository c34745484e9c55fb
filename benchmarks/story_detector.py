"""A detector from end to end: trained on generated scenes, pruned to half of its MACs without labels, distilled.

    python benchmarks/story_detector.py --work WORK [--out FILE]

Scenes of 96x96 pixels hold up to five discs, squares and triangles of any colour and size, which cover each other, on
coloured noise. The network is of the YOLO kind: a backbone with split-and-join blocks, a neck that goes down and up
again, two scales, no anchors. It is exported as YOLOv8 is: one output [n, 4 + 3, cells] of boxes (centre and size in
pixels) and probabilities.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import story
import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE, CLASSES, MOST = 96, 3, 5
STRIDES = (8, 16)
TRAINING, UNLABELLED, JUDGED = 6000, 2000, 500
EPOCHS, BATCH, RATE = 8, 32, 2e-3
Floats = npt.NDArray[np.float32]


def scenes(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], Floats]:
    """Images uint8[count, 3, 96, 96], and boxes float32[count, 5, 5] of corners and class, -1 where there is none."""
    rng = np.random.default_rng(seed)
    images, boxes = np.empty((count, 3, SIZE, SIZE), np.uint8), np.full((count, MOST, 5), -1, np.float32)
    for index in range(count):
        image = texture(rng)
        for slot in range(rng.integers(1, MOST + 1)):
            boxes[index, slot] = drawn(image, rng)
        images[index] = np.clip(image + rng.normal(0, 6, image.shape), 0, 255)
    return images, boxes


def texture(rng: np.random.Generator) -> Floats:
    """Coloured noise whose amplitude falls with frequency, around a colour."""
    steps = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None])
    weight = np.maximum(steps, 1 / SIZE) ** -rng.uniform(0.8, 1.6)
    drawn = rng.normal(size=(2, 3, *weight.shape))
    field = np.fft.irfft2((drawn[0] + 1j * drawn[1]) * weight, s=(SIZE, SIZE))
    field /= field.std()
    return (rng.uniform(50, 200, (3, 1, 1)) + field * rng.uniform(10, 35)).astype(np.float32)


def drawn(image: Floats, rng: np.random.Generator) -> Floats:
    """Draws one shape into the image; its box and class."""
    kind, radius = int(rng.integers(CLASSES)), rng.uniform(6, 20)
    x, y = rng.uniform(radius, SIZE - radius, 2)
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    across, down = (columns - x) / radius, (rows - y) / radius
    if kind == 0:
        inside = across**2 + down**2 <= 1
    elif kind == 1:
        inside = np.maximum(abs(across), abs(down)) <= 1
    else:
        inside = (abs(down) <= 1) & (abs(across) <= (down + 1) / 2)
    colour = rng.uniform(0, 255, (3, 1))
    image[:, inside] = colour + rng.normal(0, 8, (3, int(inside.sum())))
    return np.array([x - radius, y - radius, x + radius, y + radius, kind], np.float32)


def layer(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.SiLU())


class SplitAndJoin(nn.Module):
    """Half of the channels go through two layers, with a way past them; all are joined in the end (as in C2f)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.start, self.end = layer(inputs, width, 1), layer(width + width // 2, width, 1)
        self.inner = nn.Sequential(layer(width // 2, width // 2), layer(width // 2, width // 2))

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.start(x).chunk(2, 1)
        return self.end(torch.cat([one, two, two + self.inner(two)], 1))


class Detector(nn.Module):
    """Input: images float32[n, 3, 96, 96] in 0..1; output: float32[n, 7, 180]."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        one, two, three = 2 * width, 4 * width, 6 * width
        self.down8 = nn.Sequential(
            layer(3, width, 3, 2), layer(width, one, 3, 2), SplitAndJoin(one, one), layer(one, two, 3, 2),
            SplitAndJoin(two, two),
        )  # fmt: skip
        self.down16 = nn.Sequential(layer(two, three, 3, 2), SplitAndJoin(three, three))
        self.up = SplitAndJoin(three + two, two)
        self.heads = nn.ModuleList(
            nn.Sequential(layer(inputs, two), nn.Conv2d(two, 4 + CLASSES, 1)) for inputs in (two, three)
        )
        for stride, head in zip(STRIDES, self.heads, strict=True):
            # Sides of 24 pixels, and few objects: where training starts from.
            nn.init.constant_(head[-1].bias[:4], float(np.log(np.expm1(12 / stride))))
            nn.init.constant_(head[-1].bias[4:], -4.0)
        places = [centres(stride) for stride in STRIDES]
        self.register_buffer("centres", torch.cat(places, 1))
        lengths = [torch.full((p.shape[1],), float(stride)) for p, stride in zip(places, STRIDES, strict=True)]
        self.register_buffer("strides", torch.cat(lengths))

    def raw(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Corners [n, 4, cells] in pixels, and logits of the classes [n, 3, cells]."""
        fine = self.down8(image)
        coarse = self.down16(fine)
        joined = self.up(torch.cat([functional.interpolate(coarse, scale_factor=2.0, mode="nearest"), fine], 1))
        found = [head(x).flatten(2) for head, x in zip(self.heads, (joined, coarse), strict=True)]
        whole = torch.cat(found, 2)
        away = functional.softplus(whole[:, :4]) * self.strides
        return torch.cat([self.centres - away[:, :2], self.centres + away[:, 2:]], 1), whole[:, 4:]

    def forward(self, image: Tensor) -> Tensor:
        corners, logits = self.raw(image)
        low, high = corners[:, :2], corners[:, 2:]
        return torch.cat([(low + high) / 2, high - low, logits.sigmoid()], 1)


def centres(stride: int) -> Tensor:
    """x and y of the middle of every cell, [2, cells]."""
    steps = (torch.arange(SIZE // stride) + 0.5) * stride
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([columns.flatten(), rows.flatten()])


def assigned(model: Detector, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which true box each cell answers for: where its middle is near the box's own, of the smallest such box.

    Returns:
        bool[n, cells]; float32[n, 4, cells], its corners; int64[n, cells], its class.
    """
    middle = (boxes[..., :2] + boxes[..., 2:4]) / 2
    reach = model.strides[None, None] * 1.0
    gaps = (middle[..., None] - model.centres[None, None]).abs().amax(2)
    side = (boxes[..., 2:4] - boxes[..., :2]).amax(-1)
    fine = model.strides[None, None] == STRIDES[0]
    fits = torch.where(fine, side[..., None] < 28, side[..., None] >= 20)
    near = (gaps <= reach) & fits & (boxes[..., 4] >= 0)[..., None]
    area = torch.where(near, side[..., None].expand_as(gaps), float("inf"))
    smallest, which = area.min(1)
    corners = torch.gather(boxes[..., :4], 1, which[..., None].expand(-1, -1, 4)).transpose(1, 2)
    return smallest < float("inf"), corners, torch.gather(boxes[..., 4].long(), 1, which)


def loss(model: Detector, images: Tensor, boxes: Tensor) -> Tensor:
    """1 - GIoU of cells that answer for a box, and cross-entropy of the classes with IoU as target."""
    corners, logits = model.raw(images)
    answers, true, kind = assigned(model, boxes)
    found, wanted = (t.transpose(1, 2)[answers] for t in (corners, true))
    overlap, generalised = gious(found, wanted)
    targets = torch.zeros_like(logits.transpose(1, 2))
    targets[answers] = functional.one_hot(kind[answers], CLASSES) * overlap.detach()[:, None].clamp(0.1)
    count = targets.sum().clamp(1)
    return (1 - generalised).mean() * 2 + functional.binary_cross_entropy_with_logits(
        logits.transpose(1, 2), targets, reduction="sum"
    ) / count


def gious(one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    """IoU, and IoU less the share of the hull that neither covers (Rezatofighi et al., CVPR 2019)."""
    low, high = torch.maximum(one[:, :2], two[:, :2]), torch.minimum(one[:, 2:], two[:, 2:])
    common = (high - low).clamp(0).prod(1)
    areas = [(box[:, 2:] - box[:, :2]).prod(1) for box in (one, two)]
    union = areas[0] + areas[1] - common
    hull = (torch.maximum(one[:, 2:], two[:, 2:]) - torch.minimum(one[:, :2], two[:, :2])).prod(1)
    overlap = common / union
    return overlap, overlap - (hull - union) / hull


def train(path: Path) -> dict[str, Any]:
    """Trains the detector and exports it; goes on after the last epoch that was finished."""
    torch.manual_seed(0)
    images, boxes = (torch.from_numpy(part) for part in scenes(TRAINING, 1))
    model = Detector().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.02)
    steps = TRAINING // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps * EPOCHS, pct_start=0.1)
    checkpoint, done, losses = path.with_suffix(".pt"), 0, list[float]()
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        done, losses = saved["epochs"], saved["losses"]
    for epoch in range(done, EPOCHS):
        torch.manual_seed(epoch)
        total = 0.0
        for index in torch.randperm(TRAINING)[: steps * BATCH].split(BATCH):
            batch, own = images[index].float() / 255, boxes[index].clone()
            if torch.rand(()) < 0.5:
                batch, own[..., [0, 2]] = batch.flip(3), SIZE - own[..., [2, 0]]
            value = loss(model.train(), batch.contiguous(memory_format=torch.channels_last), own)
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            schedule.step()
            total += value.item()
        losses.append(round(total / steps, 4))
        torch.save({n: p.state_dict() for n, p in parts.items()} | {"epochs": epoch + 1, "losses": losses}, checkpoint)
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {losses[-1]}", flush=True)
    export(model, path)
    return {"epochs": EPOCHS, "samples": TRAINING, "losses": losses}


def export(model: Detector, path: Path) -> None:
    torch.onnx.export(
        model.eval().to(memory_format=torch.contiguous_format), (torch.rand(2, 3, SIZE, SIZE),), path, dynamo=True,
        opset_version=18, input_names=["images"], output_names=["output0"], verbose=False, external_data=False,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )  # fmt: skip


def judged() -> story.Arrays:
    images, boxes = scenes(JUDGED, 3)
    return {"images": images, "y": boxes}


DETECTOR = story.Story(
    "detector", "map", train, lambda: {"images": scenes(UNLABELLED, 2)[0]}, judged, ("--epochs", "4")
)

if __name__ == "__main__":
    story.tell(DETECTOR)
