"""How long coupling, selection and surgery take, against the size of the graph: CPU seconds.

Over folders of models, or over graphs that are made to grow: ``--made concat --sizes 500 1000 2000``.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from scaling_graphs import GRAPHS

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.coupling import Coupling
from compressor.channels.fills import give_each_its_own
from compressor.channels.plan import units_of
from compressor.config import PruneSettings
from compressor.core.machine import rarely_collect
from compressor.errors import CompressorError
from compressor.graph.disk.files import load_model
from compressor.graph.form.normalise import unshare
from compressor.operators.table import RULES
from compressor.pruning.budgets.select import choose_channels
from compressor.pruning.cut.analysis import Policy, prepared_model
from compressor.pruning.cut.surgery import remove


def measure(path: Path, settings: PruneSettings) -> dict[str, float | int | str]:
    """CPU seconds of each phase for one model; preparation (shapes, folding) is reported beside them."""
    source = load_model(path)
    start = time.process_time()
    model, shapes = prepared_model(source, settings)
    unshare(model)
    give_each_its_own(model.graph, shapes, RULES)
    prepared = time.process_time()
    coupling = Coupling(model.graph, shapes, RULES, Policy(heads=settings.attention == "heads")).run()
    coupled = time.process_time()
    plan = choose_channels(coupling, settings, path.stat().st_size).plan
    chosen = time.process_time()
    nodes, initializers = model.graph.num_nodes(), len(model.graph.initializers)
    remove(model, ChannelMask(coupling, units_of(plan, coupling)))
    end = time.process_time()
    return {
        "model": path.name,
        "nodes": nodes,
        "size": nodes + initializers,
        "mib": round(path.stat().st_size / 2**20, 1),
        "prepare": round(prepared - start, 4),
        "couple": round(coupled - prepared, 4),
        "choose": round(chosen - coupled, 4),
        "remove": round(end - chosen, 4),
        "core": round(end - prepared, 4),
    }


def slope(rows: list[dict[str, float | int | str]], key: str) -> float:
    """Exponent of ``seconds = a * size ** slope`` by least squares on logarithms; size is nodes and initializers."""
    sizes = np.log([float(r["size"]) for r in rows])
    seconds = np.log([max(float(r[key]), 1e-4) for r in rows])
    return float(np.polyfit(sizes, seconds, 1)[0])


def made(name: str, sizes: list[int], folder: Path) -> Iterator[Path]:
    """Files of one generated graph at each size; a file is gone once the next one is asked for."""
    for size in sizes:
        path = folder / f"{name}-{size}.onnx"
        onnx.save(GRAPHS[name](size), path)
        yield path
        path.unlink()


def paths(options: argparse.Namespace, folder: Path) -> Iterator[Path]:
    """The models that were asked for."""
    yield from sorted(p for given in options.folders for p in given.rglob("*.onnx"))
    for name in options.made:
        yield from made(name, options.sizes, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--made", nargs="+", choices=GRAPHS, default=[], help="graphs that are made at each size")
    parser.add_argument("--sizes", nargs="+", type=int, default=[500, 1000, 2000, 4000])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report(paths(options, Path(folder)), options.out)


def report(models: Iterator[Path], out: Path | None) -> None:
    """Measures each model, and says by which power of its size the seconds grow."""
    settings = PruneSettings.parse({"ratio": 0.5, "round_to": 1})
    rarely_collect()  # as the command line does
    rows = []
    for path in models:
        try:
            row = measure(path, settings)
        except CompressorError as error:
            print(f"{path.name}: {error}")
            continue
        rows.append(row)
        times = f"prepare {row['prepare']:7.3f}  core {row['core']:7.3f} s CPU"
        print(f"{row['model']:52} {row['nodes']:6} nodes  {times}", flush=True)
    exponents = {key: round(slope(rows, key), 2) for key in ("couple", "choose", "remove", "core", "prepare")}
    print(f"seconds grow as nodes and initializers to the power of: {exponents}")
    if out:
        machine = {"platform": platform.platform(), "python": platform.python_version()}
        result = {"machine": machine, "exponents": exponents, "models": rows}
        out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
