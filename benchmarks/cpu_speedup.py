"""How much faster is a model with fewer multiply-accumulates? Speed-up against MACs removed, widths rounded and not.

    python benchmarks/cpu_speedup.py MODEL.onnx... [--ratios 0.3,0.5,0.7] [--round-to 1,8] [--objective macs,latency] \\
        --out benchmarks/results/cpu_speedup.json

Every model is pruned at every ratio and rounding, without the proof, and measured against the original in turns, as
``onnx-compress bench`` does. Runs that are in the file already are kept, but for noisy ones with ``--again``.
With ``--objective latency`` a run is to take the share of its time that the ratio leaves of the multiply-accumulates,
and channels go where time is; ``limit`` is the speed-up that this share promises.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

from compressor.commands.bench import bench
from compressor.commands.prune_file import prune_file
from compressor.config import BenchSettings, PruneSettings
from compressor.core.atomic import write_text
from compressor.results.environment import environment

Row = dict[str, Any]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--ratios", default="0.3,0.5,0.7")
    parser.add_argument("--round-to", default="1,8")
    parser.add_argument("--objective", default="macs")
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0, help="timed runs of each pair, at least")
    parser.add_argument("--again", action="store_true", help="measure noisy runs again")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    return parser.parse_args()


def once(model: Path, cut: dict[str, Any], options: argparse.Namespace) -> Row:
    """One model, cut as these settings say."""
    where = {"provider": options.provider, "threads": options.threads, "batch": options.batch}
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.onnx"
        settings = PruneSettings.parse({**cut, "verify": False, "recover": "none", "threads": options.threads})
        report = prune_file(model, small, settings).report
        run = bench(model, small, BenchSettings.parse({**where, "seconds": options.seconds, "memory": False})).runs[0]
    found = run.speed_up
    assert found is not None
    assert run.b is not None
    assert report.output is not None
    aimed = report.latency
    return {
        "macs_left": round(report.output.macs / report.input.macs, 4),
        "params_left": round(report.output.params / report.input.params, 4),
        "speed_up": round(found.value, 4),
        "interval": [round(found.low, 4), round(found.high, 4)],
        "before_ms": round(run.a.median_latency_ms, 3),
        "after_ms": round(run.b.median_latency_ms, 3),
        "noisy": run.noisy,
        **({} if aimed is None else {"limit": round(aimed.before_ms / (aimed.target_ms or aimed.before_ms), 4)}),
    }


def main() -> None:
    """Measures what the file lacks, writes it after every run, and prints a line for each."""
    options = parse()
    rows: dict[str, Row] = json.loads(options.out.read_text())["rows"] if options.out.exists() else {}
    ratios, roundings = [float(r) for r in options.ratios.split(",")], [int(n) for n in options.round_to.split(",")]
    objectives = options.objective.split(",")
    for model, ratio, round_to, objective in product(options.models, ratios, roundings, objectives):
        key = f"{model.stem.split('.')[0]} ratio {ratio:g} round-to {round_to}"
        key += "" if objective == "macs" else f" objective {objective}"
        cut = {"ratio": ratio, "round_to": round_to, "objective": objective}
        known = rows.get(key)
        if known is None or (options.again and known["noisy"]):
            rows[key] = once(model, cut, options)
            print(key, json.dumps(rows[key]), flush=True)
            found = {
                "environment": environment().model_dump(),
                **{name: getattr(options, name) for name in ("provider", "threads", "batch")},
                "rows": rows,
            }
            write_text(options.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
