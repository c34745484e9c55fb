"""What the three stories (``story_detector.py``, ``story_text.py``, ``story_lm.py``) have in common.

A story starts from a network that is trained here, and goes on as its user would: ``onnx-prune`` at half of the MACs,
once for each of the ways in which accuracy comes back, judged by the metric of its field on samples with labels that
nothing else sees. Each way is a process of its own on one thread. Ways that are in the results already are not run
again, so that an interrupted story continues.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
Arrays = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Story:
    """One network, its data, and what it is judged by.

    Attributes:
        name: of the files.
        metric: as ``--eval`` takes it.
        train: writes the trained network to a path, resumable, and returns what is to be remembered of it.
        unlabelled: samples for calibration and distillation, by name of the input.
        judged: samples with labels ``y``.
        tuning: arguments of the run that distils.
        macs: share of the MACs that is kept.
    """

    name: str
    metric: str
    train: Callable[[Path], dict[str, Any]]
    unlabelled: Callable[[], Arrays]
    judged: Callable[[], Arrays]
    tuning: tuple[str, ...]
    macs: float = 0.5

    def ways(self, data: Path) -> dict[str, tuple[str, ...]]:
        """Arguments by what is given and done."""
        given = ("--data", str(data))
        return {
            "cut, nothing recovered": ("--recover", "none"),
            "nothing given": (),
            "unlabelled samples, least squares": (*given, "--recover", "lstsq"),
            "unlabelled samples, distilled": (*given, "--recover", "finetune", *self.tuning),
        }


def tell(story: Story, argv: list[str] | None = None) -> None:
    """Runs a story from the command line; prints a table and writes JSON."""
    parser = argparse.ArgumentParser(description=story.train.__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for the network, its data and the results")
    parser.add_argument("--out", type=Path, default=RESULTS / f"story_{story.name}.json")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    found = json.loads(options.out.read_text()) if options.out.exists() else {"ways": {}}
    model, data, judged = (options.work / f"{story.name}{end}" for end in (".onnx", "-unlabelled.npz", "-test.npz"))
    for path, make in ((data, story.unlabelled), (judged, story.judged)):
        if not path.exists():
            np.savez(path, **make())
    if not model.exists() or "training" not in found:
        start, processor = time.perf_counter(), time.process_time()
        about = story.train(model)
        times = {"seconds": time.perf_counter() - start, "processor seconds": time.process_time() - processor}
        found["training"] = {**{name: round(value, 1) for name, value in times.items()}, **about}
    found |= {"metric": story.metric, "macs": story.macs, **machine()}
    write(options.out, found)
    for way, arguments in story.ways(data).items():
        if way not in found["ways"]:
            small = options.work / f"{story.name}.{way.replace(', ', '-').replace(' ', '-')}.onnx"
            common = ("--target-macs", str(story.macs), "--eval", story.metric, "--val-data", str(judged))
            found["ways"][way] = pruned(model, small, (*common, *arguments))
            write(options.out, found)
        print(way, json.dumps(found["ways"][way]), flush=True)
    print(table(story, found))


def pruned(model: Path, small: Path, arguments: tuple[str, ...]) -> dict[str, Any]:
    """One run of ``onnx-prune``: the metric before and after, what is left, and what each part took."""
    report = small.with_suffix(".json")
    command = [sys.executable, "-m", "compressor", "prune", str(model), "-o", str(small), "--json", str(report), "-q"]
    start = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, env=environment)
    seconds = time.perf_counter() - start
    if done.returncode:
        return {"exit": done.returncode, "seconds": round(seconds, 1), "said": done.stderr.strip()[-500:]}
    document = json.loads(report.read_text())
    row, before, after = document["accuracy"][0], document["input"], document["output"]
    return {
        "before": row["before"],
        "cut": row["pruned"],
        "after": row["after"],
        "samples": row["samples"],
        **{f"{key} left": round(after[key] / before[key], 4) for key in ("macs", "params", "bytes")},
        "seconds": round(seconds, 1),
        "parts": {name: round(value, 1) for name, value in document["seconds"].items() if value >= 0.05},
        "warnings": document["warnings"],
    }


def machine() -> dict[str, str]:
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def write(path: Path, found: dict[str, Any]) -> None:
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(beside, path)


def table(story: Story, found: dict[str, Any]) -> str:
    lines = [f"| {story.name}, {story.macs:.0%} of the MACs | {story.metric} | seconds |", "| --- | --- | --- |"]
    for way, row in found["ways"].items():
        if len(lines) == 2 and "before" in row:
            lines.append(f"| as trained | {row['before']:.4g} | {found['training']['seconds']:.0f} |")
        lines.append(
            f"| {way} | {row['after']:.4g} | {row['seconds']:.0f} |" if "after" in row else f"| {way} | - | - |"
        )
    return "\n".join(lines)
