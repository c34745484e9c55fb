"""What does pruning bring on a GPU, and is it right there? Parity and latency of all that matters, in one file.

    python benchmarks/gpu_record.py --models FOLDER --minutes 9

Every model is pruned (and proved) on the CPU at several ratios and widths, and converted to float16. Parity holds the
file on the GPU against the same pruned model in float32 on the CPU. Latency is that of the pruned model against the
original of the same precision, in turns; at ratio 0 that of float16 against float32. Runs are replayed as CUDA graphs
where the model can be recorded, and inputs and outputs stay on the GPU.

What is in the result already is not measured again, what failed neither, so that a second call goes on where the time
of the first was up. Without the provider nothing is written, and the exit code is 7.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import onnx

from compressor.commands.bench import bench
from compressor.commands.prune_file import prune_file
from compressor.commands.verify import verify
from compressor.config import BenchSettings, PruneSettings, VerifySettings
from compressor.core.atomic import write_text
from compressor.errors import CompressorError, ModelError, ProviderUnavailable
from compressor.results.bench import BenchReport
from compressor.results.environment import environment

SMALL = Path(__file__).parents[1] / "models" / "digits-resnet.onnx"
TOLERANCE = {"fp32": 2e-3, "fp16": 2e-2}
"""Of the range of an output. CUDA multiplies float32 as TF32, of ten bits; float16 has as many, and rounds between."""
TIMING = {"rounds": 3, "runs": 50, "seconds": 1.0, "max_seconds": 10.0}
BRIEF = {"rounds": 1, "runs": 10, "seconds": 0.0, "warmup_runs": 1, "warmup_seconds": 0.0}


@dataclass(frozen=True)
class Plan:
    """What is combined, the most telling first; the sum of places decides which combination comes first."""

    ratios: tuple[float, ...] = (0.5, 0.0, 0.3, 0.7)
    widths: tuple[int, ...] = (8, 1, 16, 32)
    precisions: tuple[str, ...] = ("fp32", "fp16")
    batches: tuple[int, ...] = (1, 32)


QUICK = Plan((0.5, 0.0), (8,), batches=(1, 2))


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    model: str
    ratio: float
    round_to: int
    precision: str
    batch: int

    @property
    def key(self) -> str:
        """Its name in the result."""
        return f"{self.model} ratio {self.ratio:g} round-to {self.round_to} {self.precision} batch {self.batch}"


def cases(models: list[str], plan: Plan) -> list[Case]:
    """All combinations in the order in which they are measured; widths mean nothing where nothing is removed."""
    ratios = [(plan.ratios.index(r) + plan.widths.index(w), r, w) for r, w in product(plan.ratios, plan.widths)]
    chosen = sorted(((rank, r, w) for rank, r, w in ratios if r or w == plan.widths[0]), key=lambda found: found[0])
    return [
        Case(model, ratio, width, precision, batch)
        for _, ratio, width in chosen
        for batch, precision, model in product(plan.batches, plan.precisions, models)
    ]


class Files:
    """The pruned and converted models, each made once."""

    def __init__(self, sources: dict[str, Path], folder: Path) -> None:
        self._sources, self._folder = sources, folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, case: Case, ratio: float, precision: str) -> Path:
        """The model of a case at another ratio or precision.

        Raises:
            CompressorError: it cannot be pruned.
        """
        plain = self._sources[case.model]
        if ratio:
            plain = self._folder / f"{case.model}-{ratio:g}-{case.round_to}.onnx"
            if not plain.exists():
                settings = PruneSettings(ratio=ratio, round_to=case.round_to, recover="none")
                prune_file(self._sources[case.model], plain, settings)
        if precision == "fp32":
            return plain
        half = self._folder / f"{plain.stem}-fp16.onnx"
        if not half.exists():
            to_half(plain, half)
        return half


def to_half(source: Path, target: Path) -> None:
    """Converts as ONNX Runtime's tools do: inputs and outputs stay float32, and operators that need it stay so too."""
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415 - only where it is asked for

    unfinished = target.with_suffix(".part")
    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), unfinished)
    os.replace(unfinished, target)


class Recorder:
    """Measures cases on one provider."""

    def __init__(self, files: Files, provider: str, timing: dict[str, Any]) -> None:
        self._files, self._provider, self._timing = files, provider, timing
        self._parity: dict[tuple[Path, str], dict[str, Any]] = {}

    def row(self, case: Case) -> dict[str, Any]:
        """What was found, or the sentence that says why nothing was."""
        begin = time.perf_counter()
        row: dict[str, Any] = asdict(case)
        try:
            row |= {"parity": self._held(case), "latency": self._timed(case)}
        except Exception as error:  # noqa: BLE001 - what one model cannot do must not cost the others their time
            row["error"] = (str(error) or type(error).__name__).splitlines()[0]
        return row | {"seconds": round(time.perf_counter() - begin, 2)}

    def _held(self, case: Case) -> dict[str, Any]:
        plain, file = (self._files.get(case, case.ratio, precision) for precision in ("fp32", case.precision))
        if (plain, case.precision) not in self._parity:
            settings = VerifySettings(
                provider="cpu", provider_b=self._provider, rtol=TOLERANCE[case.precision], bisect=False
            )
            report = verify(plain, file, settings)
            kept = {"max_rel_err", "mean_abs_err", "cosine", "agreement", "passed"}
            outputs = {row.name: row.model_dump(mode="json", include=kept) for row in report.outputs}
            found = {"passed": report.passed, "tolerance": settings.rtol, "outputs": outputs}
            self._parity[plain, case.precision] = found
        return self._parity[plain, case.precision]

    def _timed(self, case: Case) -> dict[str, Any]:
        if case.ratio:
            a: Path = self._files.get(case, 0.0, case.precision)
            b: Path | None = self._files.get(case, case.ratio, case.precision)
        else:
            a, b = (self._files.get(case, 0.0, precision) for precision in ("fp32", case.precision))
            b = None if a == b else b
        report = self._bench(a, b, case.batch)
        run = report.runs[0]
        speed_up = None if run.speed_up is None else run.speed_up.model_dump(include={"value", "low", "high", "level"})
        last, size = run.b or run.a, report.b or report.a
        return {
            "a_ms": run.a.median_latency_ms,
            "b_ms": last.median_latency_ms,
            "b_p99_ms": last.latency_99_percentile,
            "b_samples_per_second": last.QPS,
            "macs_left": size.macs / report.a.macs,
            "bytes_left": size.bytes / report.a.bytes,
            "speed_up": speed_up,
            "noisy": run.noisy,
            "cuda_graph": report.cuda_graph,
            "io_binding": report.io_binding,
            "nodes": last.nodes,
        }

    def _bench(self, a: Path, b: Path | None, batch: int) -> BenchReport:
        """As a CUDA graph where that can be recorded."""
        settings = BenchSettings(provider=self._provider, batch=(batch,), memory=False, **self._timing)
        if self._provider == "cuda":
            with suppress(CompressorError):
                return bench(a, b, settings.model_copy(update={"cuda_graph": True}))
        return bench(a, b, settings)


def demand_device(provider: str) -> str:
    """Name of the device; raises ProviderUnavailable unless a small model runs there."""
    with suppress(ModuleNotFoundError):
        import torch  # noqa: F401, PLC0415 - it brings CUDA libraries, wherever it is installed, and loads them

    from compressor.runtime import sessions  # noqa: PLC0415 - after torch, whose libraries it then finds

    found = sessions.device_name(provider)
    if provider == "cuda" and found is None:
        raise ProviderUnavailable("there is no NVIDIA GPU that nvidia-smi names; try --provider cpu --quick")
    try:
        sessions.demand_active(sessions.start_session(SMALL, provider, sessions.Setup(placement=True)), provider)
    except ModelError as error:
        raise ProviderUnavailable(f"provider {provider} does not run a small model: {error}") from None
    return str(environment(found).device)


def within(chosen: list[Case], minutes: float) -> Iterator[Case]:
    """Cases as long as the time allows one more, if it takes as long as the longest so far."""
    begin, longest = time.perf_counter(), 0.0
    for case in chosen:
        start = time.perf_counter()
        if start - begin + longest > 60 * minutes:
            print(f"{minutes:g} minutes are over; call again to go on", file=sys.stderr)
            return
        yield case
        longest = max(longest, time.perf_counter() - start)


def table(rows: list[dict[str, Any]]) -> str:
    """Aligned columns, errors below."""
    head = f"{'model':<22} {'ratio':>5} {'round':>5} {'type':>4} {'batch':>5} {'MACs':>5} {'A ms':>8} {'B ms':>8} " \
        f"{'times as fast':>20} {'CPU-GPU':>8}"  # fmt: skip
    lines = [head]
    for row in (r for r in rows if "error" not in r):
        timed, held = row["latency"], row["parity"]
        found = timed["speed_up"]
        fast = "-" if found is None else f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"
        error = max(o["max_rel_err"] or 0.0 for o in held["outputs"].values())
        lines.append(
            f"{row['model']:<22.22} {row['ratio']:>5g} {row['round_to']:>5} {row['precision']:>4} {row['batch']:>5} "
            f"{timed['macs_left']:>5.2f} {timed['a_ms']:>8.3f} {timed['b_ms']:>8.3f} {fast:>20} {error:>8.1e}"
            f"{'' if held['passed'] else ' DIFFERS'}{' graph' if timed['cuda_graph'] else ''}"
        )
    lines += [f"{Case(*(r[f] for f in Case.__annotations__)).key}: {r['error']}" for r in rows if "error" in r]
    return "\n".join(lines)


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, help="folder of .onnx files")
    parser.add_argument("--minutes", type=float, default=9.0, help="start no case that would end later")
    parser.add_argument("--provider", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="a tiny model and few runs, to try the script")
    parser.add_argument("--work", type=Path, help="keep pruned and converted models here for the next call")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder of the result")
    options = parser.parse_args(arguments)
    if options.models is None and not options.quick:
        parser.error("name a folder of .onnx files with --models, or try --quick")
    options.sources = {p.stem: p for p in ([SMALL] if options.quick else sorted(options.models.glob("*.onnx")))}
    if not options.sources:
        parser.error(f"{options.models} holds no .onnx file")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = options_of(arguments)
    try:
        name = demand_device(options.provider)
    except ProviderUnavailable as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    path = options.out / f"{'gpu' if options.provider == 'cuda' else options.provider}-{slug}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"schema": "onnx-compressor.gpu-record/1", "rows": {}}
    if path.exists():
        result = json.loads(path.read_text(encoding="utf-8"))
    result |= {"provider": options.provider, "environment": environment(name).model_dump()}
    rows = result["rows"]
    wanted = cases(list(options.sources), QUICK if options.quick else Plan())
    with tempfile.TemporaryDirectory() as spare:
        files = Files(options.sources, options.work or Path(spare))
        recorder = Recorder(files, options.provider, BRIEF if options.quick else TIMING)
        for case in within([case for case in wanted if case.key not in rows], options.minutes):
            rows[case.key] = recorder.row(case)
            write_text(path, json.dumps(result, indent=1) + "\n")
            print(table([rows[case.key]]).splitlines()[-1], flush=True)
    print(f"\n{name}, {len(rows)} rows in {path}\n{table(list(rows.values()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
