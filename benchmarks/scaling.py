"""How long coupling, selection and surgery take, against the number of nodes: CPU seconds, over folders of models."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from compressor.channels.channel_mask import Cut
from compressor.channels.coupling import Coupling
from compressor.channels.plan import units_of
from compressor.config import PruneSettings
from compressor.errors import CompressorError
from compressor.graph.files import load
from compressor.graph.normalise import unshare
from compressor.operators.table import RULES
from compressor.pruning.analysis import Policy, prepare
from compressor.pruning.select import choose
from compressor.pruning.surgery import remove


def measure(path: Path, settings: PruneSettings) -> dict[str, float | int | str]:
    """CPU seconds of each phase for one model; preparation (shapes, folding) is reported beside them."""
    source = load(path)
    start = time.process_time()
    model, shapes = prepare(source, settings)
    unshare(model)
    prepared = time.process_time()
    coupling = Coupling(model.graph, shapes, RULES, Policy(heads=settings.attention == "heads")).run()
    coupled = time.process_time()
    plan = choose(coupling, settings, RULES, path.stat().st_size).plan
    chosen = time.process_time()
    nodes = model.graph.num_nodes()
    remove(model, Cut(coupling, units_of(plan, coupling)), RULES)
    end = time.process_time()
    return {
        "model": path.name,
        "nodes": nodes,
        "mib": round(path.stat().st_size / 2**20, 1),
        "prepare": round(prepared - start, 4),
        "couple": round(coupled - prepared, 4),
        "choose": round(chosen - coupled, 4),
        "remove": round(end - chosen, 4),
        "core": round(end - prepared, 4),
    }


def slope(rows: list[dict[str, float | int | str]], key: str) -> float:
    """Exponent of ``seconds = a * nodes ** slope`` by least squares on logarithms."""
    nodes = np.log([float(r["nodes"]) for r in rows])
    seconds = np.log([max(float(r[key]), 1e-4) for r in rows])
    return float(np.polyfit(nodes, seconds, 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    settings = PruneSettings.parse({"ratio": 0.5, "round_to": 1})
    rows = []
    for path in sorted(p for folder in options.folders for p in folder.rglob("*.onnx")):
        try:
            row = measure(path, settings)
        except CompressorError as error:
            print(f"{path.name}: {error}")
            continue
        rows.append(row)
        times = f"prepare {row['prepare']:7.3f}  core {row['core']:7.3f} s CPU"
        print(f"{row['model']:52} {row['nodes']:6} nodes  {times}", flush=True)
    exponents = {key: round(slope(rows, key), 2) for key in ("couple", "choose", "remove", "core", "prepare")}
    print(f"seconds grow as nodes to the power of: {exponents}")
    if options.out:
        machine = {"platform": platform.platform(), "python": platform.python_version()}
        result = {"machine": machine, "exponents": exponents, "models": rows}
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
