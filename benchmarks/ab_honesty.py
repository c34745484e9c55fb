"""Does the interval of a speed-up hold? Identical models many times over, and a slowdown that was planted.

    python benchmarks/ab_honesty.py --out benchmarks/results/ab_honesty.json

The model is a chain of convolutions; the slower one has a tenth more of them. A run is honest if the interval of
identical models holds 1.0, and useful if that of the slower model lies wholly below 1.0. Run it on a machine that is
as busy as those on which people measure: noise is what is tested.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save_model

from compressor.config.bench import BenchSettings
from compressor.judge.bench import bench
from compressor.report.benched import BenchReport
from compressor.report.environment import environment

CHANNELS, SIDE, LAYERS = 16, 14, 10


def chain(path: Path, layers: int) -> Path:
    """Writes a model of that many equal convolutions; it depends on ``layers`` alone."""
    rng = np.random.default_rng(0)
    shape = [1, CHANNELS, SIDE, SIDE]
    nodes, weights = [], []
    for k in range(layers):
        kernel = rng.normal(0, (9 * CHANNELS) ** -0.5, (CHANNELS, CHANNELS, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{k}"))
        target = "y" if k == layers - 1 else f"v{k + 1}"
        nodes.append(helper.make_node("Conv", [f"v{k}" if k else "x", f"w{k}"], [target], pads=[1, 1, 1, 1]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path


def once(a: Path, b: Path, settings: BenchSettings, seed: int) -> BenchReport:
    """One measurement; the order within pairs is drawn anew for each seed."""
    report = bench(a, b, settings.model_copy(update={"seed": seed}))
    found = report.runs[0].speed_up
    assert found is not None
    print(f"{b.stem} {found.value:.4f} [{found.low:.4f}, {found.high:.4f}]", flush=True)
    return report


def summary(reports: list[BenchReport], nominal: float) -> dict[str, object]:
    """How often the interval holds 1 and the share of layers, how wide it is, how noisy the machine was.

    The share of layers is nominal: a run has overhead that no layer adds to.
    """
    runs = [report.runs[0] for report in reports]
    found = [run.speed_up for run in runs if run.speed_up is not None]
    spreads = [max(run.a.spread, run.b.spread) for run in runs if run.b is not None]
    return {
        "runs": len(found),
        "hold_one": sum(f.low <= 1 <= f.high for f in found),
        "below_one": sum(f.high < 1 for f in found),
        "hold_nominal": sum(f.low <= nominal <= f.high for f in found),
        "nominal": nominal,
        "median_value": float(np.median([f.value for f in found])),
        "median_half_width": float(np.median([np.sqrt(f.high / f.low) - 1 for f in found])),
        "median_spread": float(np.median(spreads)),
        "called_noisy": sum(run.noisy for run in runs),
        "median_latency_ms": float(np.median([run.a.median_latency_ms for run in runs])),
        "intervals": [[round(x, 4) for x in (f.low, f.value, f.high)] for f in found],
    }


def schedule(same: int, slower: int) -> list[str]:
    """The two kinds of runs, spread evenly over each other, so that both meet the same hours of the machine."""
    places = [((k + 0.5) / same, "twin") for k in range(same)] + [((k + 0.5) / slower, "slow") for k in range(slower)]
    return [name for _, name in sorted(places)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--same", type=int, default=100, help="runs of identical models")
    parser.add_argument("--slower", type=int, default=30, help="runs with the planted slowdown")
    parser.add_argument("--seconds", type=float, default=BenchSettings().seconds, help="timed seconds of each run")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/ab_honesty.json"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    settings = BenchSettings(threads=1, memory=False, seconds=options.seconds, warmup_seconds=0.05)
    nominals = {"twin": 1.0, "slow": LAYERS / (LAYERS + LAYERS // 10)}
    reports: dict[str, list[BenchReport]] = {"twin": [], "slow": []}
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        plain = chain(Path(folder) / "plain.onnx", LAYERS)
        others = {
            "twin": chain(Path(folder) / "twin.onnx", LAYERS),
            "slow": chain(Path(folder) / "slow.onnx", LAYERS + LAYERS // 10),
        }
        for seed, name in enumerate(schedule(options.same, options.slower)):
            reports[name].append(once(plain, others[name], settings, seed))
            result = {
                "schema": "onnx-compressor.ab-honesty/1",
                "settings": settings.model_dump(include={"runs", "seconds", "rounds", "confidence", "threads"}),
                **{key: summary(found, nominals[key]) for key, found in reports.items() if found},
                "seconds": round(time.perf_counter() - begin, 1),
                "environment": environment().model_dump(),
            }
            options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for key, found in reports.items():
        print(key, {name: value for name, value in summary(found, nominals[key]).items() if name != "intervals"})


if __name__ == "__main__":
    main()
