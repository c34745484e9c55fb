"""What the defaults make of networks: accuracy by MACs kept and by what is given, beside earlier defaults.

    python benchmarks/defaults.py FOLDER --out benchmarks/results/defaults.json

FOLDER holds NAME.onnx with NAME-train.npz and NAME-test.npz (arrays x and y), or one pair of files for several networks
that --data names, such as ``vgg=cifar,mobilenet=cifar``. --mean and --std are handed on for networks of images. Rows
that --out already has are not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from process import machine, version

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.data import open_data, subset
from compressor.errors import CompressorError
from compressor.graph.disk import files
from compressor.metrics.evaluator import Evaluator

TOGETHER = {"recover": "lstsq", "scope": "global", "criterion": "consumers"}
TRAINED = {"recover": "finetune", "epochs": 1}
ARMS: dict[str, dict[str, dict[str, Any]]] = {
    "nothing": {
        "bare cut": {"recover": "none", "scope": "local"},
        "lstsq, ranked together": TOGETHER,
        "default": {},
    },
    "256 unlabelled": {"lstsq, ranked together": TOGETHER, "default": {}, "distilled": {"recover": "distill"}},
    "one epoch unlabelled": {"fine-tuned": TRAINED},
    "one epoch labelled": {"fine-tuned": TRAINED},
}
"""What is given -> how a network is cut and recovered; the bare cut was the default once."""
FEW = 256


@dataclass(frozen=True)
class Network:
    """A model and its data.

    Attributes:
        name: what rows call it.
        path: the model file.
        data: prefix of the files of samples.
        prepared: how samples are prepared, as settings.
    """

    name: str
    path: Path
    data: Path
    prepared: dict[str, str]


def given_to(network: Network, given: str, seed: int, folder: Path) -> dict[str, Any]:
    """Settings that name the samples; none where nothing is given."""
    if given == "nothing":
        return {}
    whole = f"{network.data}-train.npz"
    if given == "one epoch labelled":
        return {"data": whole, **network.prepared}
    with np.load(whole, allow_pickle=False) as file:
        x = file["x"]
    few = given == "256 unlabelled"
    path = folder / f"{network.data.name}-{seed if few else 'all'}.npz"
    if not path.exists():
        chosen = np.random.default_rng(seed).permutation(len(x))[:FEW] if few else np.arange(len(x))
        np.savez(path, x=x[chosen])
    # So few are needed all.
    return {"data": str(path), **({"val_share": 0} if few else {}), **network.prepared}


def judged(model: Any, network: Network, count: int) -> tuple[float, int]:
    """Top-1 on the first test samples, and how many these are."""
    settings = PruneSettings.parse({"data": f"{network.data}-test.npz", **network.prepared})
    test = open_data(settings, model)
    count = min(count, len(test))
    return Evaluator().measure(model, subset(test, count, 0)).value, count


def row(network: Network, key: dict[str, Any], count: int, folder: Path) -> dict[str, Any]:
    """One run: cut, recovered, judged."""
    arm = ARMS[key["given"]][key["arm"]]
    settings: dict[str, Any] = {"target_macs": key["macs"], "seed": key["seed"], "verify": False, **arm}
    settings |= given_to(network, key["given"], key["seed"], folder)
    start, busy = time.perf_counter(), time.process_time()
    try:
        result = prune(network.path, PruneSettings.parse(settings))
    except CompressorError as error:
        return {**key, "error": str(error)}
    spent = {"seconds": time.perf_counter() - start, "processor": time.process_time() - busy}
    share, samples = judged(result.model, network, count)
    outputs = result.report.outputs
    agreement = None if outputs is None or outputs.agreement is None else outputs.agreement.value
    return {**key, "accuracy": share, "samples": samples, "agreement": agreement, **spent}


def keys(networks: list[Network], options: argparse.Namespace) -> Iterator[tuple[Network, dict[str, Any]]]:
    cells = [(given, arm) for given in options.given for arm in ARMS[given]]
    for seed, network, macs, (given, arm) in product(range(options.seeds), networks, options.macs, cells):
        yield network, {"network": network.name, "macs": macs, "given": given, "arm": arm, "seed": seed}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", default="", help="names, separated by commas; all of the folder by default")
    parser.add_argument("--data", default="", help="NAME=PREFIX of files of samples, separated by commas")
    parser.add_argument("--mean", default="")
    parser.add_argument("--std", default="")
    parser.add_argument("--macs", type=float, nargs="+", default=[0.7, 0.5, 0.3])
    parser.add_argument("--given", nargs="+", choices=list(ARMS), default=list(ARMS), help="rows by what is given")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--samples", type=int, default=2000, help="test samples")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def networks_of(options: argparse.Namespace) -> list[Network]:
    """Those of the folder that have samples; what has none is named."""
    prefixes = dict(pair.split("=") for pair in options.data.split(",") if pair)
    wanted = [name for name in options.networks.split(",") if name]
    found = []
    for path in sorted(options.folder.glob("*.onnx")):
        if wanted and path.stem not in wanted:
            continue
        data = options.folder / prefixes.get(path.stem, path.stem)
        if not Path(f"{data}-test.npz").is_file():
            print(f"{path.stem}: no {data.name}-test.npz, left out")
            continue
        image = np.load(f"{data}-test.npz", allow_pickle=False)["x"].ndim == 4
        prepared = {k: v for k, v in (("mean", options.mean), ("std", options.std)) if v} if image else {}
        found.append(Network(path.stem, path, data, prepared))
    return found


def main() -> None:
    options = parsed()
    rows: list[dict[str, Any]] = json.loads(options.out.read_text())["rows"] if options.out.is_file() else []
    found = networks_of(options)
    done = [{name: old.get(name) for name in ("network", "macs", "given", "arm", "seed")} for old in rows]
    with tempfile.TemporaryDirectory() as folder:
        for network in found:
            key = {"network": network.name, "macs": 1.0, "given": "nothing", "arm": "original", "seed": 0}
            if key not in done:
                share, samples = judged(files.load_model(network.path), network, options.samples)
                rows.append({**key, "accuracy": share, "samples": samples})
        for network, key in keys(found, options):
            if key in done:
                continue
            rows.append(row(network, key, options.samples, Path(folder)))
            print(json.dumps(rows[-1]), flush=True)
            text = {"onnxruntime": version("onnxruntime-gpu"), "machine": machine(), "rows": rows}
            options.out.write_text(json.dumps(text, indent=1) + "\n")


if __name__ == "__main__":
    main()
