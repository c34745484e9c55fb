"""How much faster is a model with fewer multiply-accumulates? Speed-up against MACs removed, widths rounded and not.

    python benchmarks/cpu_speedup.py MODEL.onnx... [--ratios 0.3,0.5,0.7] [--round-to 1,8] \\
        --out benchmarks/results/cpu_speedup.json

Every model is pruned at every ratio and rounding, without the proof, and measured against the original in turns, as
``onnx-compress bench`` does. Runs that are in the file already are kept, but for noisy ones with ``--again``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from compressor.commands.bench import bench
from compressor.commands.prune import prune_file
from compressor.config import BenchSettings, PruneSettings
from compressor.core.atomic import write_text
from compressor.results.environment import environment

Row = dict[str, Any]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--ratios", default="0.3,0.5,0.7")
    parser.add_argument("--round-to", default="1,8")
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0, help="timed runs of each pair, at least")
    parser.add_argument("--again", action="store_true", help="measure noisy runs again")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    return parser.parse_args()


def once(model: Path, ratio: float, round_to: int, options: argparse.Namespace) -> Row:
    """One model at one ratio and rounding."""
    where = {"provider": options.provider, "threads": options.threads, "batch": options.batch}
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.onnx"
        settings = PruneSettings.parse({"ratio": ratio, "round_to": round_to, "verify": False})
        report = prune_file(model, small, settings).report
        run = bench(model, small, BenchSettings.parse({**where, "seconds": options.seconds, "memory": False})).runs[0]
    found = run.speed_up
    assert found is not None
    assert run.b is not None
    assert report.output is not None
    return {
        "macs_left": round(report.output.macs / report.input.macs, 4),
        "params_left": round(report.output.params / report.input.params, 4),
        "speed_up": round(found.value, 4),
        "interval": [round(found.low, 4), round(found.high, 4)],
        "before_ms": round(run.a.median_latency_ms, 3),
        "after_ms": round(run.b.median_latency_ms, 3),
        "noisy": run.noisy,
    }


def main() -> None:
    """Measures what the file lacks, writes it after every run, and prints a line for each."""
    options = parse()
    rows: dict[str, Row] = json.loads(options.out.read_text())["rows"] if options.out.exists() else {}
    ratios, roundings = [float(r) for r in options.ratios.split(",")], [int(n) for n in options.round_to.split(",")]
    for model, ratio, round_to in ((m, r, n) for m in options.models for r in ratios for n in roundings):
        key = f"{model.stem.split('.')[0]} ratio {ratio:g} round-to {round_to}"
        known = rows.get(key)
        if known is None or (options.again and known["noisy"]):
            rows[key] = once(model, ratio, round_to, options)
            print(key, json.dumps(rows[key]), flush=True)
            found = {
                "environment": environment().model_dump(),
                **{name: getattr(options, name) for name in ("provider", "threads", "batch")},
                "rows": rows,
            }
            write_text(options.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
