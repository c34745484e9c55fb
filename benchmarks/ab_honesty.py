"""Does the interval of a speed-up hold? Identical models many times over, and a slowdown that was planted.

    python benchmarks/ab_honesty.py --out benchmarks/results/ab_honesty.json

The model is a chain of convolutions; the slower one has a tenth more of them. A run is honest if the interval of
identical models holds 1.0, and useful if that of the slower model lies wholly below 1.0. Run it on a machine that is
as busy as those on which people measure: noise is what is tested. Runs that are in the file already are kept, and
what is missing of the numbers asked for is added.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from math import sqrt
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save_model

from compressor.commands.bench import bench
from compressor.config.bench import BenchSettings
from compressor.core.atomic import write_text
from compressor.results.environment import environment

CHANNELS, SIDE, LAYERS = 16, 14, 10
Row = dict[str, Any]


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


def once(a: Path, b: Path, settings: BenchSettings, seed: int) -> Row:
    """One measurement; the order within pairs is drawn anew for each seed."""
    run = bench(a, b, settings.model_copy(update={"seed": seed})).runs[0]
    found = run.speed_up
    assert found is not None
    assert run.b is not None
    print(f"{b.stem} {found.value:.4f} [{found.low:.4f}, {found.high:.4f}]", flush=True)
    return {
        **{key: round(getattr(found, key), 4) for key in ("low", "value", "high")},
        "spread": round(max(run.a.spread, run.b.spread), 4),
        "noisy": run.noisy,
        "latency_ms": run.a.median_latency_ms,
    }


def summary(rows: list[Row], nominal: float) -> dict[str, object]:
    """How often the interval holds 1 and the share of layers, how wide it is, how noisy the machine was.

    The share of layers is nominal: a run has overhead that no layer adds to. Noise is that of the runs that tell it.
    """
    noise = [row for row in rows if "spread" in row]
    return {
        "runs": len(rows),
        "hold_one": sum(r["low"] <= 1 <= r["high"] for r in rows),
        "below_one": sum(r["high"] < 1 for r in rows),
        "hold_nominal": sum(r["low"] <= nominal <= r["high"] for r in rows),
        "nominal": nominal,
        "median_value": median(r["value"] for r in rows),
        "median_half_width": median(sqrt(r["high"] / r["low"]) - 1 for r in rows),
        "tell_noise": len(noise),
        "called_noisy": sum(r["noisy"] for r in noise),
        "median_spread": median(r["spread"] for r in noise) if noise else None,
        "median_latency_ms": median(r["latency_ms"] for r in noise) if noise else None,
    }


def schedule(same: int, slower: int) -> list[str]:
    """The two kinds of runs, spread evenly over each other, so that both meet the same hours of the machine."""
    places = [((k + 0.5) / same, "twin") for k in range(same)] + [((k + 0.5) / slower, "slow") for k in range(slower)]
    return [name for _, name in sorted(places)]


def missing(plan: list[str], rows: dict[str, list[Row]]) -> list[tuple[int, str]]:
    """Seed and kind of the runs of the plan that are still to be made."""
    left = {name: len(found) for name, found in rows.items()}
    todo = []
    for seed, name in enumerate(plan):
        left[name] -= 1
        if left[name] < 0:
            todo.append((seed, name))
    return todo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--same", type=int, default=100, help="runs of identical models")
    parser.add_argument("--slower", type=int, default=30, help="runs with the planted slowdown")
    parser.add_argument("--seconds", type=float, default=1.0, help="timed seconds of each run")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/ab_honesty.json"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    settings = BenchSettings(threads=1, memory=False, seconds=options.seconds, warmup_seconds=0.05)
    asked = settings.model_dump(include={"runs", "seconds", "rounds", "confidence", "threads"})
    earlier = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    if earlier and earlier["settings"] != asked:
        parser.error(f"{options.out} was measured with {earlier['settings']}; give the same, or another --out")
    nominals = {"twin": 1.0, "slow": LAYERS / (LAYERS + LAYERS // 10)}
    rows: dict[str, list[Row]] = {key: earlier.get("rows", {}).get(key, []) for key in nominals}
    begin = time.perf_counter() - earlier.get("seconds", 0.0)
    with tempfile.TemporaryDirectory() as folder:
        plain = chain(Path(folder) / "plain.onnx", LAYERS)
        others = {
            "twin": chain(Path(folder) / "twin.onnx", LAYERS),
            "slow": chain(Path(folder) / "slow.onnx", LAYERS + LAYERS // 10),
        }
        for seed, name in missing(schedule(options.same, options.slower), rows):
            rows[name].append(once(plain, others[name], settings, seed))
            result = {
                "schema": "onnx-compressor.ab-honesty/2",
                "settings": asked,
                **{key: summary(found, nominals[key]) for key, found in rows.items() if found},
                "seconds": round(time.perf_counter() - begin, 1),
                "environment": environment().model_dump(),
                "rows": rows,
            }
            write_text(options.out, json.dumps(result, indent=1) + "\n")
    for key, found in rows.items():
        print(key, summary(found, nominals[key]) if found else "not run")


if __name__ == "__main__":
    main()
