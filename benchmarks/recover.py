"""How long recovery without training takes and how much memory: one pruned model, calibration data of noise.

    python benchmarks/recover.py MODEL.onnx [--ratio 0.3] [--samples 256] [--method lstsq] [--out FILE.json]

A process of its own prunes the model and recovers it; its wall and CPU seconds and its peak memory are those of the
whole process, the seconds of the recovery are given beside them. The load of the machine is noted, because CPU
seconds hardly depend on it and wall seconds do.
"""

# ruff: noqa: PLC0415 -- the process that measures stays small; only the one that works loads the libraries

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from process import machine, run

SECONDS, MIB = 180.0, 6 * 1024
"""What ResNet-50 with 256 images of 224x224 may take on two cores."""


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--ratio", type=float, default=0.3)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--size", type=int, default=224, help="side of the images, where the model leaves it open")
    parser.add_argument("--method", default="lstsq")
    parser.add_argument("--targets", default=None, help="asymmetric or symmetric; default: that of the product")
    parser.add_argument("--timeout", type=float, default=1200)
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def work(options: argparse.Namespace) -> dict[str, Any]:
    """Prunes and recovers in this process."""
    import resource

    import numpy as np

    from compressor.channels.channel_mask import ChannelMask
    from compressor.channels.plan import units_of
    from compressor.config import PruneSettings
    from compressor.data import Batch
    from compressor.graph.disk import files
    from compressor.pruning.budgets.select import choose_channels
    from compressor.pruning.cut import surgery
    from compressor.pruning.cut.analysis import analyse
    from compressor.reconstruct import ReconstructOptions, recover

    class Noise:
        """Images that are made when they are asked for."""

        labelled = False

        def __init__(self, name: str, shape: tuple[int, ...]) -> None:
            self._name, self._shape = name, shape

        def __len__(self) -> int:
            return options.samples

        def take(self, indices: Any) -> Batch:
            images = [np.random.default_rng(int(k)).standard_normal(self._shape, np.float32) for k in indices]
            return Batch({self._name: np.stack(images)})

    settings = PruneSettings.parse({"ratio": options.ratio, "verify": False})
    analysis = analyse(files.load_model(options.model), settings)
    dense = analysis.model.clone()
    plan = choose_channels(analysis.coupling, settings, options.model.stat().st_size).plan
    cut = ChannelMask(analysis.coupling, units_of(plan, analysis.coupling))
    surgery.remove(analysis.model, cut)
    value = next(v for v in analysis.model.graph.inputs if not v.is_initializer())
    shape = tuple(d if isinstance(d, int) else options.size for d in list(value.shape or ())[1:])
    chosen = ReconstructOptions(samples=options.samples, **({"targets": options.targets} if options.targets else {}))
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    result = recover(analysis.model, dense, cut, options.method, Noise(str(value.name), shape), chosen)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    errors = [(layer.before, layer.after) for layer in result.layers if layer.changed]
    return {
        "model": options.model.name,
        "input": [options.samples, *shape],
        "recover_seconds": round(seconds, 2),
        "recover_cpu_seconds": round(cpu, 2),
        "layers": len(result.layers),
        "changed": len(errors),
        "skipped": dict(result.skipped),
        "median_error": [round(float(np.median(part)), 4) for part in zip(*errors, strict=True)] if errors else None,
    }


def main() -> int:
    options = parse(sys.argv[1:])
    if options.one:
        print(json.dumps(work(options)))
        return 0
    load = os.getloadavg()
    outcome = run([sys.executable, __file__, *sys.argv[1:], "--one"], options.timeout)
    if outcome.error is not None:
        print(outcome.error)
        return 1
    found = json.loads(outcome.stdout.splitlines()[-1])
    found |= {"seconds": outcome.seconds, "cpu_seconds": outcome.cpu_seconds, "peak_mib": outcome.peak_mib}
    found |= {"load_before": load, "load_after": os.getloadavg()}
    found |= {"ratio": options.ratio, "method": options.method, "targets": options.targets}
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps({"machine": machine(), **found}, indent=1) + "\n")
    return 0 if found["recover_seconds"] <= SECONDS and found["peak_mib"] <= MIB else 1


if __name__ == "__main__":
    sys.exit(main())
