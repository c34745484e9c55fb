"""Trains and exports the networks on which defaults are chosen: python benchmarks/networks.py --data FILE --out OUT.

Six small networks of six families, all from scratch: four on CIFAR-10 (``resnet20``, ``vgg``, ``mobilenet``, ``vit``;
FILE is what models/cifar.py reads), a text classifier (``text``) and a causal language model (``lm``) on data that is
made here. For each NAME it writes OUT/NAME.onnx, OUT/NAME.json (accuracy of that file in ONNX Runtime on samples held
out, and how it was trained), and the data as ``--data`` takes it: {cifar,text,lm}-{train,test}.npz. It runs on one
core. After each epoch it writes OUT/NAME.pt; a call that was interrupted goes on there, and networks that have a
NAME.json are left alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import networks_data as data
import networks_modules as modules
import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
import torch
from networks_data import cifar
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

CALIBRATION = 2000
"""Training samples that are written of the data made here; of the photographs all are."""


@dataclass(frozen=True)
class Network:
    """What is trained, on what, and how.

    Attributes:
        build: the module with new weights.
        task: ``cifar``, ``text`` or ``lm``: the name of its data.
        epochs: passes over the training samples.
        batch: samples a step.
        rate: the highest learning rate of the cycle.
        adam: AdamW with weight decay 0.05 instead of SGD with Nesterov momentum 0.9 and weight decay 5e-4.
    """

    build: Callable[[], nn.Module]
    task: str
    epochs: int
    batch: int
    rate: float
    adam: bool = False


NETWORKS = {
    "vgg": Network(modules.Vgg, "cifar", 10, 128, 0.1),
    "mobilenet": Network(modules.MobileNet, "cifar", 8, 128, 0.15),
    "text": Network(
        partial(modules.Encoder, data.VOCABULARY, data.LENGTH, data.CLASSES), "text", 15, 64, 2e-3, adam=True
    ),
    "lm": Network(partial(modules.LanguageModel, 256, 128), "lm", 3, 16, 2e-3, adam=True),
    "vit": Network(modules.Vit, "cifar", 8, 128, 2e-3, adam=True),
    "resnet20": Network(cifar.ResNet20, "cifar", 8, 128, 0.15),
}
"""In the order in which they are trained."""

INPUTS = {"cifar": "image", "text": "tokens", "lm": "tokens"}


class Training:
    """One network in training: its weights, its optimiser, and how far it is.

    Attributes:
        model: the module that is trained.
        record: epochs done, seconds, whether in bfloat16, the loss of each epoch.
    """

    def __init__(self, network: Network, samples: data.Samples, seed: int, epochs: int) -> None:
        torch.manual_seed(seed)
        self.model = network.build().to(memory_format=torch.channels_last)
        self.record: dict[str, Any] = {"seed": seed, "epochs": 0, "seconds": 0.0, "processor seconds": 0.0}
        self.record["losses"] = []
        self._network, self._epochs = network, epochs
        self._x, self._y = (torch.from_numpy(np.ascontiguousarray(part)) for part in samples)
        self._optimizer = optimizer(network, self.model)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, network.rate, self._steps * epochs, pct_start=0.2, cycle_momentum=False
        )

    @property
    def _steps(self) -> int:
        return len(self._x) // self._network.batch

    @property
    def done(self) -> bool:
        return bool(self.record["epochs"] >= self._epochs)

    def epoch(self) -> None:
        """One pass over the samples in an order that follows from the seed and the number of the epoch alone."""
        if "bf16" not in self.record:
            self.record["bf16"] = self._faster_in_bf16()
        start, processor, total = time.perf_counter(), time.process_time(), 0.0
        torch.manual_seed(1000 * (self.record["seed"] + 1) + self.record["epochs"])
        for index in self._order():
            total += self._step(self.model, self._optimizer, index, self.record["bf16"])
            self._schedule.step()
        self.record["epochs"] += 1
        self.record["seconds"] = round(self.record["seconds"] + time.perf_counter() - start, 1)
        self.record["processor seconds"] = round(self.record["processor seconds"] + time.process_time() - processor, 1)
        self.record["losses"].append(round(total / self._steps, 4))

    def save(self, path: Path) -> None:
        """Everything that the next epoch needs; an interrupted write leaves what was there."""
        beside = path.with_suffix(".part")
        torch.save({key: part.state_dict() for key, part in self._parts().items()} | {"record": self.record}, beside)
        os.replace(beside, path)

    def load(self, path: Path) -> None:
        saved = torch.load(path, weights_only=True)
        for key, part in self._parts().items():
            part.load_state_dict(saved[key])
        self.record = saved["record"]

    def _parts(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self._optimizer, "schedule": self._schedule}

    def _order(self) -> list[Tensor]:
        size = self._network.batch
        return list(torch.randperm(len(self._x))[: self._steps * size].split(size))

    def _step(self, model: nn.Module, by: torch.optim.Optimizer, index: Tensor, bf16: bool) -> float:
        x, y = self._x[index], self._y[index]
        if self._network.task == "cifar":
            x = cifar.augmented(normalised(x)).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = cross_entropy(model.train()(x), y)
        by.zero_grad()
        loss.backward()
        by.step()
        return loss.item()

    def _faster_in_bf16(self, steps: int = 20) -> bool:
        """Times steps of a copy in both precisions, without the first three of each, which set up kernels.

        In seconds of the processor, so that what else the machine does decides nothing.
        """
        seconds = {}
        for bf16 in (False, True):
            model = deepcopy(self.model)
            by = optimizer(self._network, model)
            order = self._order()
            for index in order[:3]:
                self._step(model, by, index, bf16)
            start = time.process_time()
            for index in order[3 : steps + 3]:
                self._step(model, by, index, bf16)
            seconds[bf16] = (time.process_time() - start) / steps
        print(f"a step takes {seconds[False]:.4f} s in float32, {seconds[True]:.4f} s in bfloat16", flush=True)
        return seconds[True] < seconds[False]


def optimizer(network: Network, model: nn.Module) -> torch.optim.Optimizer:
    """Norms, biases and what else is a vector do not decay under AdamW."""
    if not network.adam:
        return torch.optim.SGD(model.parameters(), network.rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
    weights = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": weights, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, network.rate, betas=(0.9, 0.98))


def normalised(pixels: Tensor) -> Tensor:
    """uint8[n, 3, 32, 32] -> float32 as ``models/cifar.py`` normalises."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (cifar.MEAN, cifar.STD))
    return (pixels / 255 - mean) / std


def samples_of(task: str, file: Path | None) -> tuple[data.Samples, data.Samples]:
    if task == "text":
        return data.reviews()
    if task == "lm":
        return data.source_text()
    if file is None:
        raise SystemExit("--data names no file with the images of CIFAR-10; see models/cifar.py for what is in it")
    return data.photographs(file)


def prepared(task: str, file: Path | None, out: Path) -> tuple[data.Samples, data.Samples]:
    """Training and held-out samples, which are written to OUT as arrays for ``--data`` if they are not there."""
    train, test = samples_of(task, file)
    some = slice(None) if task == "cifar" else slice(CALIBRATION)
    for name, (x, y) in {"train": (train[0][some], train[1][some]), "test": test}.items():
        path = out / f"{task}-{name}.npz"
        if not path.exists():
            np.savez(path.with_suffix(".part.npz"), x=x, y=y)
            os.replace(path.with_suffix(".part.npz"), path)
    return train, test


def export(model: nn.Module, path: Path, name: str, example: Tensor) -> None:
    """Writes the module in eval mode at opset 18, the batch open, without the exporter's notes (source paths)."""
    program = torch.onnx.export(
        model.eval().to(memory_format=torch.contiguous_format), (example,), dynamo=True, opset_version=18,
        verbose=False, input_names=[name], output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )  # fmt: skip
    assert program is not None
    ClearMetadataAndDocStringPass()(program.model)
    ir.save(program.model, path)


def accuracy(path: Path, samples: data.Samples, batch: int = 250) -> float:
    """How often the largest of the logits [n, classes] or [n, classes, positions] of a file is the label."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    [given] = session.get_inputs()
    right = 0
    for start in range(0, len(samples[0]), batch):
        x, y = (part[start : start + batch] for part in samples)
        [logits] = session.run(None, {given.name: as_fed(x)})
        right += int((logits.argmax(1) == y).sum())
    return right / samples[1].size


def as_fed(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """What the model takes: pixels normalised, tokens as they are."""
    return normalised(torch.from_numpy(x)).numpy() if x.dtype == np.uint8 else x


def produce(name: str, file: Path | None, out: Path, seed: int, epochs: int | None) -> None:
    """Trains one network from where it stands, and writes what belongs to it; its record comes last."""
    network = NETWORKS[name]
    train, test = prepared(network.task, file, out)
    training = Training(network, train, seed, epochs or network.epochs)
    checkpoint, path = out / f"{name}.pt", out / f"{name}.onnx"
    if checkpoint.exists():
        training.load(checkpoint)
    while not training.done:
        training.epoch()
        training.save(checkpoint)
        print(f"{name}: {json.dumps(training.record)}", flush=True)
    export(training.model, path, INPUTS[network.task], torch.from_numpy(as_fed(test[0][:2])))
    record = {
        "accuracy": round(accuracy(path, test), 4), "held out": int(test[1].size), "training samples": len(train[0]),
        **training.record, "parameters": sum(p.numel() for p in training.model.parameters()),
        "bytes": path.stat().st_size, "python": platform.python_version(), "torch": torch.__version__,
        "onnx": onnx.__version__,
    }  # fmt: skip
    (out / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"{name}: accuracy {record['accuracy']:.2%} of {record['held out']} held out", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FILE", help="CIFAR-10, for all but text and lm")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--only", metavar="NAME,...", default=",".join(NETWORKS), help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, help="instead of what suits each")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := [name for name in names if name not in NETWORKS]:
        parser.error(f"no network is named {unknown[0]}; there are {', '.join(NETWORKS)}")
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (options.out / f"{name}.json").exists():
            produce(name, options.data, options.out, options.seed, options.epochs)


if __name__ == "__main__":
    main()
