"""Which criterion keeps the channels that matter? Accuracy after pruning by each, with nothing trained afterwards.

    python benchmarks/criteria.py --case MODEL CALIBRATION TEST [--case ...] --out benchmarks/results/criteria.json

CALIBRATION and TEST are .npz files with x and y; CALIBRATION may be the word digits, for the training part of
scikit-learn's digits. Without --case: the two networks of models/, and a CIFAR-10 network where --cifar names a folder
with resnet20.onnx, train.npz and test.npz. What is not there is named and left out; rows that --out has already are
not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from process import machine, version

from compressor import reconstruct
from compressor.channels.channel_mask import ChannelMask
from compressor.channels.plan import units_of
from compressor.config import PruneSettings
from compressor.data import Batch, Indices
from compressor.errors import TargetOutOfReach
from compressor.graph.disk import files
from compressor.graph.form import clean
from compressor.pruning.budgets.select import choose_channels
from compressor.pruning.criteria import CRITERIA, Need, criterion
from compressor.pruning.cut import surgery
from compressor.pruning.cut.analysis import analyse
from compressor.runtime.library import ort
from compressor.steps.score import measure_for_criterion

ROOT = Path(__file__).parent.parent
POOL = 5000
"""Samples of the calibration file that the seeds draw from."""
LOSSES = frozenset({Need.GATES, Need.SLOPES, Need.FLOW})
"""Measurements that take labels where there are any."""


@dataclass(frozen=True)
class Arrays:
    """Samples in memory, for one input."""

    name: str
    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64] | None

    @property
    def labelled(self) -> bool:
        return self.y is not None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, indices: Indices) -> Batch:
        return Batch({self.name: self.x[indices]}, None if self.y is None else self.y[indices])


@dataclass(frozen=True)
class Case:
    """A model and its data."""

    path: Path
    calibration: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
    test: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
    input: str


@dataclass(frozen=True)
class Arm:
    """A criterion, with labels or without, and how groups compete."""

    criterion: str
    labels: bool
    scope: str

    @property
    def random(self) -> bool:
        return self.criterion == "random" or criterion(self.criterion).needs not in (None, Need.PATHS)


def read(path: str, test: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    if path == "digits":
        from sklearn.datasets import load_digits  # noqa: PLC0415 - for the digits only

        bunch = load_digits()
        x = (bunch.images / 16).astype(np.float32)[:, None]
        with np.load(test, allow_pickle=False) as held:
            seen = {image.tobytes() for image in held["x"]}
        new = np.asarray([image.tobytes() not in seen for image in x])
        return x[new], bunch.target[new].astype(np.int64)
    with np.load(path, allow_pickle=False) as data:
        return data["x"], data["y"]


def accuracy(model: ir.Model, case: Case) -> float:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    x, y = case.test
    right = 0
    for start in range(0, len(x), 250):
        scores = session.run(None, {case.input: x[start : start + 250]})[0]
        right += int((scores.argmax(axis=1) == y[start : start + 250]).sum())
    return right / len(x)


def once(case: Case, arm: Arm, kept: float, seed: int, recoveries: list[str]) -> dict[str, float]:
    """Accuracies after each recovery, and the seconds that measuring took."""
    settings = PruneSettings.parse(
        {"criterion": arm.criterion, "scope": arm.scope, "target_macs": kept, "seed": seed, "round_to": 1}
    )
    x, y = case.calibration
    data = Arrays(case.input, x, y if arm.labels else None)
    analysis = analyse(files.load_model(case.path), settings)
    start = time.perf_counter()
    measured = measure_for_criterion(analysis, settings, data)
    seconds = time.perf_counter() - start
    plan = choose_channels(analysis.coupling, settings, case.path.stat().st_size, measured=measured).plan
    cut = ChannelMask(analysis.coupling, units_of(plan, analysis.coupling))
    original = analysis.model.clone()
    surgery.remove(analysis.model, cut)
    result = {"seconds": seconds}
    for method in recoveries:
        smaller = analysis.model.clone()
        if method != "none":
            samples, options = Arrays(case.input, x, None), reconstruct.ReconstructOptions(seed=seed)
            reconstruct.recover(smaller, original, cut, method, samples, options)
        clean.tidy(smaller, simplify=True)
        result[method] = accuracy(smaller, case)
    return result


def arms(names: list[str], scopes: list[str]) -> list[Arm]:
    found = []
    for scope in scopes:
        for name in names:
            found.append(Arm(name, False, scope))
            if criterion(name).needs in LOSSES:
                found.append(Arm(name, True, scope))
    return found


def rows(case: Case, options: argparse.Namespace, done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row for each arm and amount that is not in ``done``."""
    for kept in options.kept:
        for arm in arms(options.criteria, options.scopes):
            key: dict[str, Any] = {"model": case.path.stem, "criterion": arm.criterion, "labels": arm.labels}
            key |= {"scope": arm.scope, "macs_kept": kept, "recoveries": options.recover}
            if any(row.items() >= key.items() for row in done):
                continue
            try:
                runs = [once(case, arm, kept, s, options.recover) for s in range(options.seeds if arm.random else 1)]
            except TargetOutOfReach as error:
                print(f"{case.path.stem:16} {arm.criterion:10} {arm.scope:6} {kept:.0%}: {error}", flush=True)
                continue
            yield key | summary(runs, options.recover)


def summary(runs: list[dict[str, float]], recoveries: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"seconds": round(float(np.median([r["seconds"] for r in runs])), 2)}
    for method in recoveries:
        values = [round(100 * r[method], 2) for r in runs]
        mean, spread = round(float(np.mean(values)), 2), round(float(np.std(values)), 2)
        found[method] = {"mean": mean, "std": spread, "runs": values}
    return found


def line(row: dict[str, Any]) -> str:
    name = row["criterion"] + ("+labels" if row["labels"] else "")
    text = "".join(f"  {m} {row[m]['mean']:5.1f} ± {row[m]['std']:4.1f}" for m in row["recoveries"])
    return f"{row['model']:16} {name:15} {row['scope']:6} {row['macs_kept']:.0%} of MACs:{text}"


def cases(options: argparse.Namespace) -> list[Case]:
    wanted = options.case or [[str(ROOT / f"models/digits-{n}.onnx"), "digits", str(ROOT / "models/digits-test.npz")]
                              for n in ("resnet", "mobilenet")]  # fmt: skip
    if options.cifar:
        wanted.append([f"{options.cifar}/{n}" for n in ("resnet20.onnx", "train.npz", "test.npz")])
    found = []
    for model, calibration, test in wanted:
        missing = [p for p in (model, calibration, test) if p != "digits" and not Path(p).is_file()]
        if missing:
            print(f"left out: {', '.join(missing)} is not there", flush=True)
            continue
        x, y = read(calibration, Path(test))
        held = read(test, Path(test))
        name = str(files.load_model(Path(model)).graph.inputs[0].name)
        limit = options.tests
        found.append(Case(Path(model), (x[:POOL], y[:POOL]), (held[0][:limit], held[1][:limit]), name))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs=3, action="append", metavar=("MODEL", "CALIBRATION", "TEST"))
    parser.add_argument("--cifar", type=Path, help="folder with resnet20.onnx, train.npz and test.npz")
    parser.add_argument("--criteria", nargs="+", default=list(CRITERIA))
    parser.add_argument("--scopes", nargs="+", default=["local", "global"])
    parser.add_argument("--kept", nargs="+", type=float, default=[0.7, 0.5])
    parser.add_argument("--recover", nargs="+", default=["none", "bias", "lstsq"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tests", type=int, default=10000, help="test samples to judge by")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {"dense": {}, "rows": []}
    if options.out and options.out.is_file():
        found = json.loads(options.out.read_text(encoding="utf-8"))
    found["machine"] = machine() | {"torch": version("torch")}
    for case in cases(options):
        dense = round(100 * accuracy(files.load_model(case.path), case), 2)
        found["dense"][case.path.stem] = {"accuracy": dense, "test_samples": len(case.test[0])}
        print(f"{case.path.stem}: {dense} % of {len(case.test[0])} samples before", flush=True)
        for row in rows(case, options, list(found["rows"])):
            print(line(row), flush=True)
            found["rows"].append(row)
            if options.out:
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
