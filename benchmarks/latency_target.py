"""Is the latency that was asked for the latency that comes out? Prunes to a target, then measures the file anew.

    python benchmarks/latency_target.py MODEL.onnx... [--targets 0.7x,0.5x] --out benchmarks/results/latency_target.json

What onnx-prune reports of a file is held against a measurement that knows nothing of it, made afterwards by the means
of ``onnx-compress bench``. A target is met where that measurement is within 3 % of it, or where its interval holds such
a latency; the widths of the interval tell how busy the machine was. Runs that are in the file already are kept.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from compressor.commands.bench import bench
from compressor.commands.prune_file import prune_file
from compressor.config import BenchSettings, PruneSettings
from compressor.core.atomic import write_text
from compressor.errors import CompressorError
from compressor.latency.search import LATENCY_SLACK, Aim
from compressor.results.environment import environment

Row = dict[str, Any]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--targets", default="0.7x,0.5x", help="as --target-latency takes them")
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="timed runs of the measurement afterwards, at least"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    return parser.parse_args()


def once(model: Path, target: str, options: argparse.Namespace) -> Row:
    """Prunes one model to one target, and measures what was written."""
    where = {"provider": options.provider, "threads": options.threads, "batch": options.batch}
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.onnx"
        try:
            report = prune_file(model, small, PruneSettings.parse({"target_latency": target, **where})).report
        except CompressorError as error:
            return {"error": str(error), "exit_code": error.exit_code}
        took = time.perf_counter() - begin
        run = bench(model, small, BenchSettings.parse({**where, "seconds": options.seconds, "memory": False})).runs[0]
    told, found = report.latency, run.speed_up
    assert told is not None
    assert found is not None
    assert run.b is not None
    assert report.output is not None
    aim = Aim(target).share(told)
    return {
        "target": round(aim, 4),
        "told": round(told.after_ms / told.before_ms, 4),
        "told_interval": [round(1 / told.high, 4), round(1 / told.low, 4)],
        "predicted": round((told.predicted_ms or told.after_ms) / told.before_ms, 4),
        "corrections": told.corrections,
        "measured": round(1 / found.value, 4),
        "measured_interval": [round(1 / found.high, 4), round(1 / found.low, 4)],
        "met": abs(1 / found.value / aim - 1) <= LATENCY_SLACK,
        "may_be_met": 1 / found.high <= aim * (1 + LATENCY_SLACK) and 1 / found.low >= aim * (1 - LATENCY_SLACK),
        "macs": round(report.output.macs / report.input.macs, 4),
        "before_ms": round(run.a.median_latency_ms, 3),
        "after_ms": round(run.b.median_latency_ms, 3),
        "noisy": run.noisy,
        "seconds": round(took, 1),
        "warnings": report.warnings,
    }


def main() -> None:
    """Measures what the file lacks, and writes it after every run."""
    options = parse()
    rows: dict[str, Row] = json.loads(options.out.read_text())["rows"] if options.out.exists() else {}
    for model in options.models:
        for target in options.targets.split(","):
            key = f"{model.stem.split('.')[0]} {target} batch {options.batch}, {options.threads} threads"
            if "measured" in rows.get(key, {}):
                continue
            rows[key] = once(model, target, options)
            print(key, json.dumps(rows[key]), flush=True)
            found = {"environment": environment().model_dump(), "provider": options.provider, "rows": rows}
            write_text(options.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
