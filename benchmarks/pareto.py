"""The front: accuracy against bytes, and against milliseconds, of every method on several networks.

    python benchmarks/pareto.py --nets NAME=FILE ... --train FILE --test FILE [--mean ... --std ...]
        [--epochs 4] [--samples 8000] [--only GLOB] [--no-training] [--draw]

TRAIN and TEST are .npz files with x and y; labels of TRAIN are not read. Cells that are in the results already are not
measured again, so that an interrupted run continues; --draw only draws the picture of what is there. Latency is that of
one sample on one thread, each file in turns with the dense one, as a share of its time.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import process
from pareto_picture import draw

from compressor.commands.bench import bench
from compressor.commands.choose_blocks import unify_chosen_file
from compressor.commands.clean import clean_file
from compressor.commands.prune_file import prune_file
from compressor.commands.quantize import quantize_file
from compressor.config import BenchSettings, CleanSettings, PruneSettings
from compressor.config.choosing import ChoosingSettings
from compressor.config.quantize import QuantizeSettings
from compressor.data import open_data
from compressor.graph.disk import files
from compressor.metrics.evaluator import Evaluator

RESULTS = Path(__file__).parent / "results" / "pareto.json"
PICTURE = RESULTS.with_suffix(".svg")
Cell = Callable[[Path, Path], object]
"""Makes the second file of the first."""


class Cells:
    """How each method makes a file, by the name of the cell.

    Args:
        options: of the command line.
        folder: where intermediate files go.
        net: name of the network.
    """

    def __init__(self, options: argparse.Namespace, folder: Path, net: str) -> None:
        self._options, self._folder, self._net = options, folder, net
        self._images = {name: getattr(options, name) for name in ("mean", "std") if getattr(options, name)}

    def all(self) -> Iterator[tuple[str, Cell]]:
        """Untrained ones first, as they take seconds."""
        yield "dense", lambda source, output: clean_file(source, output, CleanSettings())
        yield "int8", self._int8
        for count in (4, 8, 16):
            yield f"codebook {count}", self._unified(codebook=count)
            yield f"codebook {count} an output", self._unified(codebook=count, codebook_per="output")
        for share in ("0.2", "0.12"):
            yield f"budget {share}", self._unified(target_size=share, samples=64, **self._data())
        yield "pruned", self._pruned
        yield "pruned int8", self._after_pruning(self._int8)
        yield "pruned codebook 16 an output", self._after_pruning(self._unified(codebook=16, codebook_per="output"))
        if self._options.no_training:
            return
        for count in (4, 8):
            per = {"codebook": count, "codebook_per": "output"}
            yield f"codebook {count} an output, trained", self._unified(**per, **self._training())
        for block in ("4x4", "1x8"):
            yield f"unify {block}, trained", self._unified(block=block, **self._training())
        small = {"codebook": 4, "codebook_per": "output", **self._training()}
        yield "pruned codebook 4 an output, trained", self._after_pruning(self._unified(**small))
        yield "pruned unify 4x4, trained", self._after_pruning(self._unified(block="4x4", **self._training()))

    def _data(self) -> dict[str, Any]:
        return {"data": str(self._options.train), **self._images}

    def _training(self) -> dict[str, Any]:
        asked = {"epochs": self._options.epochs, "batch_size": 128, "augment": ("flip", "crop"), "val_share": 0}
        return {**self._data(), **asked, "amp": "bf16", "data": str(self._options.some)}

    def _unified(self, **asked: Any) -> Cell:
        settings = ChoosingSettings.parse(asked)
        return lambda source, output: unify_chosen_file(source, output, settings)

    def _int8(self, source: Path, output: Path) -> object:
        return quantize_file(source, output, QuantizeSettings.parse({**self._data(), "val_share": 0}))

    def _pruned(self, source: Path, output: Path) -> object:
        """To half of the multiply-accumulates, recovered by least squares without labels."""
        asked = {**self._data(), "target_macs": 0.5, "val_share": 0, "verify": "quick"}
        return prune_file(source, output, PruneSettings.parse(asked))

    def _after_pruning(self, cell: Cell) -> Cell:
        def made(source: Path, output: Path) -> object:
            pruned = self._folder / f"{self._net}.pruned.onnx"
            if not pruned.is_file():
                self._pruned(source, pruned)
            return cell(pruned, output)

        return made


def measured(path: Path, dense: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Accuracy, bytes, and time as a share of the dense network's, with its interval."""
    images = {name: getattr(options, name) for name in ("mean", "std") if getattr(options, name)}
    settings = PruneSettings.parse({"data": str(options.test), "batch_size": 500, **images})
    model = files.load_model(path)
    timed = bench(dense, path, BenchSettings(threads=1, memory=False)).runs[0]
    assert timed.speed_up is not None
    return {
        "accuracy": Evaluator().measure(model, open_data(settings, model)).value,
        "bytes": path.stat().st_size,
        "time": [round(1 / x, 3) for x in (timed.speed_up.value, timed.speed_up.high, timed.speed_up.low)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=[], metavar="NAME=FILE")
    parser.add_argument("--train", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--mean", type=lambda text: tuple(map(float, text.split(","))))
    parser.add_argument("--std", type=lambda text: tuple(map(float, text.split(","))))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--samples", type=int, default=8000, help="training images")
    parser.add_argument("--only", default="*", metavar="GLOB", help="cells, by their names")
    parser.add_argument("--no-training", action="store_true")
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.is_file() else {"cells": {}}
    found["machine"] = process.machine()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if not options.draw and not options.no_training:
            options.some = process.subset(options.train, options.samples, folder / "some.npz")
        for net, source in (text.split("=", 1) for text in ([] if options.draw else options.nets)):
            row = found["cells"].setdefault(net, {})
            for name, cell in Cells(options, folder, net).all():
                if name in row or not fnmatchcase(name, options.only):
                    continue
                start = time.perf_counter()
                output = folder / "cell.onnx"
                cell(Path(source), output)
                row[name] = {**measured(output, Path(source), options), "seconds": round(time.perf_counter() - start)}
                trained = {"epochs": options.epochs, "samples": options.samples} if "trained" in name else {}
                row[name] |= trained
                options.out.write_text(json.dumps(found, indent=1) + "\n")
                print(net, name, json.dumps(row[name]), flush=True)
    options.out.with_suffix(".svg").write_text(draw(found["cells"]))


if __name__ == "__main__":
    sys.exit(main())
