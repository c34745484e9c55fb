"""Damaged model files: does every command end as it says, with a sentence and without half a file?

    python benchmarks/damaged.py --files 500 --seed 1 --out damaged

Takes real files (those of `models/`, or of FOLDER) and random graphs (`campaign_graphs.py`), damages a copy of each
(`damage.py`), and runs `inspect`, `clean` and `prune` with random options on it, now and then `quantize` or `unify`, in
a worker process, which is started anew when it dies or takes too long. A case falls short if a command ends with exit
code 1, by a signal or not at all, leaves a file though it failed, or if what it wrote does not load in ONNX Runtime,
or gives outputs of other shapes than the damaged file (of `clean`: other numbers). Exit code 5 is kept for inspection:
nothing wrong was written, but the tool accuses itself. Such cases are kept in OUT: the file, and as JSON what was
done, the command that repeats it, and what it said. Prints counts by command and exit code.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
MODELS = HERE.parent / "models"
FINE = frozenset({0, 2, 3, 4, 8})
"""Exit codes that are no news on a damaged file."""
EVERY = 50
"""Files between two lines of counts."""
LARGEST = 1 << 24
"""Numbers that an input may have; a damaged size may ask for more than a machine holds."""
CLOSE = 1e-3
"""Largest difference of cleaned outputs, as a share of their range."""
REAL = 0.15
"""Share of files that are damaged copies of real ones."""


def options(rng: np.random.Generator) -> list[str]:
    """Flags of one pruning run."""
    # Mostly a bare cut: recovery takes most of the time, and meets what is left of a file after everything else did.
    recovery = str(rng.choice(["none"] * 18 + ["auto", "lstsq"]))
    flags = ["--round-to", str(rng.choice([1, 1, 2, 8])), "--recover", recovery]
    aim = str(rng.choice(["ratio", "ratio", "target-macs", "target-params", "target-size", "lossless"]))
    flags = ["--lossless"] if aim == "lossless" else [*flags, f"--{aim}", str(rng.choice([0.3, 0.5, 0.8]))]
    extra = (
        ["--verify", "quick"], ["--no-verify"], ["--no-simplify"], ["--keep-norm-axes"], ["--attention", "dims"],
        ["--dim", "N=3"], ["--keep-functions"],
    )  # fmt: skip
    for words in extra:
        if rng.random() < 0.1:
            flags += words
    if aim != "lossless":
        for words in (["--depth"], ["--criterion", "l1"], ["--scope", "global"], ["--steps", "2"]):
            if rng.random() < 0.1:
                flags += words
    return flags


def commands(rng: np.random.Generator) -> list[list[str]]:
    """What is run on one file, each without its input and output."""
    found = [["inspect", *(["--explain"] if rng.random() < 0.5 else [])], ["clean"], ["prune", *options(rng)]]
    if rng.random() < 0.1:
        found.append(["quantize", "--mode", str(rng.choice(["static", "dynamic", "int4"])), "--samples", "4"])
    if rng.random() < 0.1:
        found.append(["unify", *(["--codebook", "4"] if rng.random() < 0.5 else [])])
    return found


# ---- the worker: runs commands and judges what they wrote ------------------------------------------------------------


def feed(session: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Seeded numbers for every input; raises ValueError where there are none of a reasonable size."""
    types = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
             "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_}  # fmt: skip
    found = {}
    for given in session.get_inputs():
        shape = [d if isinstance(d, int) and d >= 0 else 2 for d in given.shape or []]
        if given.type not in types or np.prod(shape, dtype=float) > LARGEST:
            raise ValueError(f"no numbers for {given.name}")
        numbers = rng.standard_normal(shape)
        whole = np.dtype(types[given.type]).kind != "f"
        found[given.name] = (numbers > 0 if whole else numbers).astype(types[given.type])
    return found


def outputs(path: Path) -> list[Any]:
    """What ONNX Runtime gives for a file; raises what it raises."""
    import onnxruntime  # noqa: PLC0415 - the parent stays small

    setup = onnxruntime.SessionOptions()
    setup.intra_op_num_threads, setup.log_severity_level = 1, 4
    setup.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, setup, ["CPUExecutionProvider"])
    return list(session.run(None, feed(session, np.random.default_rng(0))))


def differ(one: list[Any], two: list[Any], *, values: bool) -> str:
    """What differs between the outputs of two files."""
    for k, (a, b) in enumerate(zip(one, two, strict=True)):
        if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
            continue
        if a.shape != b.shape:
            return f"output {k} has shape {b.shape}, not {a.shape}"
        if values and a.dtype.kind == "f":
            near = np.isfinite(a) & np.isfinite(b)
            if not np.array_equal(np.isfinite(a), np.isfinite(b)):
                return f"output {k} is finite elsewhere"
            gap = float(np.abs(a[near] - b[near]).max(initial=0.0))
            if gap > CLOSE * max(float(np.abs(a[near]).max(initial=0.0)), 1e-3):
                return f"output {k} is off by {gap:.2g}"
    return ""


def verdict(given: Path, made: Path, *, values: bool) -> str:
    """What is wrong with a file that was written; '' where nothing is."""
    import onnxruntime  # noqa: PLC0415

    try:
        onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - whatever the runtime says is the verdict
        broken = f"the result does not load: {str(error).splitlines()[0][-160:]}"
    else:
        broken = ""
    try:
        expected = outputs(given)
    except Exception:  # noqa: BLE001 - nothing to compare with
        # A file that the runtime refuses for an operator that it lacks is refused as before.
        return broken
    try:
        return broken or differ(expected, outputs(made), values=values)
    except Exception as error:  # noqa: BLE001
        return f"the result does not run: {str(error).splitlines()[0][-160:]}"


def perform(arguments: list[str], given: Path, made: Path) -> dict[str, Any]:
    """Runs one command in this process, and judges."""
    import click.testing  # noqa: PLC0415

    from compressor.cli.main import compress  # noqa: PLC0415

    writes = arguments[0] != "inspect"
    words = [*arguments, str(given), *(["-o", str(made)] if writes else []), "-v"]
    result = click.testing.CliRunner().invoke(compress, words, prog_name="onnx-compress")
    fault = ""
    left = sorted(p.name for p in made.parent.iterdir() if p != given)
    if result.exit_code == 0 and writes:
        fault = verdict(given, made, values=arguments[0] == "clean") if arguments[0] in ("clean", "prune") else ""
    elif left and result.exit_code != 6:
        fault = f"left {left}"
    return {"exit": result.exit_code, "said": result.output[-6000:], "fault": fault}


def work() -> None:
    """Answers every line of JSON with one, until there are no more."""
    import onnxruntime  # noqa: PLC0415

    onnxruntime.set_default_logger_severity(4)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the runtime prints is no answer
    for line in sys.stdin:
        asked = json.loads(line)
        given, made = Path(asked["given"]), Path(asked["made"])
        answers.write(json.dumps(perform(asked["arguments"], given, made)) + "\n")
        answers.flush()


# ---- the campaign ----------------------------------------------------------------------------------------------------


class Worker:
    """A process that runs commands; another one takes its place when it dies or takes too long."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.process: subprocess.Popen[str] | None = None

    def ask(self, arguments: list[str], given: Path, made: Path) -> dict[str, Any]:
        if self.process is None or self.process.poll() is not None:
            command = [sys.executable, __file__, "--worker"]
            environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "1000"}
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                env=environment,
            )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"arguments": arguments, "given": str(given), "made": str(made)}) + "\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], self.limit)
        line = self.process.stdout.readline() if ready else ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        if not ready:
            self.process.kill()
        code = self.process.wait()
        self.process = None
        said = f"killed after {self.limit:g} s" if not ready else f"died by signal {-code}" if code < 0 else "ended"
        return {"exit": "time" if not ready else f"signal {-code}" if code < 0 else f"end {code}", "said": said,
                "fault": said}  # fmt: skip

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class Campaign:
    """What all workers share."""

    out: Path
    files: list[Path]
    limit: float
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    short: int = 0
    done: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    workers: dict[int, Worker] = field(default_factory=dict)

    def file(self, seed: int) -> tuple[bytes, list[str], np.random.Generator]:
        """A damaged file, what it was and what was done to it."""
        import onnx  # noqa: PLC0415
        from campaign_graphs import random_graph  # noqa: PLC0415
        from damage import damage  # noqa: PLC0415

        rng = np.random.default_rng([seed, 11])
        if self.files and rng.random() < REAL:
            path = self.files[int(rng.integers(len(self.files)))]
            model, name = onnx.load(path), path.name
        else:
            model, name = random_graph(int(rng.integers(2**31)))[0], "random graph"
        content, done = damage(model, rng)
        return content, [name, *done], rng

    def case(self, seed: int) -> None:
        """One file, under every command."""
        content, done, rng = self.file(seed)
        worker = self.workers.setdefault(threading.get_ident(), Worker(self.limit))
        for arguments in commands(rng):
            # A folder a command: nothing but the file may be left there by one that fails.
            with tempfile.TemporaryDirectory() as temporary:
                given, made = Path(temporary) / "model.onnx", Path(temporary) / "made.onnx"
                given.write_bytes(content)
                answer = worker.ask(arguments, given, made)
            fault = answer["fault"]
            if not fault and (answer["exit"] not in FINE or "this is a fault of this tool" in answer["said"]):
                fault = f"exit {answer['exit']}"
            with self.lock:
                self.counts[arguments[0], str(answer["exit"])] += 1
                if fault:
                    self.keep(seed, arguments, content, {"done": done, **answer, "fault": fault})
        with self.lock:
            self.done += 1

    def keep(self, seed: int, arguments: list[str], content: bytes, record: dict[str, Any]) -> None:
        """Keeps a case that falls short, and says so."""
        self.short += 1
        self.out.mkdir(parents=True, exist_ok=True)
        name = f"{seed}-{arguments[0]}"
        (self.out / f"{seed}.onnx").write_bytes(content)
        output = [] if arguments[0] == "inspect" else ["-o", "made.onnx"]
        repeat = " ".join(["onnx-compress", *arguments, f"{seed}.onnx", *output, "-v"])
        text = json.dumps({"seed": seed, "repeat": repeat, **record}, indent=1)
        (self.out / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        last = [line for line in record["said"].splitlines() if "rror" in line][-1:] or record["said"].splitlines()[-1:]
        print(f"{name}: {record['fault']}: {'; '.join(record['done'])[:160]}: {' '.join(last)[:300]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="first of the seeds, one a file")
    parser.add_argument("--models", type=Path, default=MODELS, metavar="FOLDER", help="real files, below 4 MB")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that one command may take")
    parser.add_argument("--out", type=Path, help="folder for cases that fall short")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work()
        return
    if args.out is None:
        parser.error("--out is missing")
    real = sorted(p for p in args.models.rglob("*.onnx") if p.stat().st_size < 4_000_000)
    campaign = Campaign(args.out, real, args.limit)
    start = time.monotonic()
    with ThreadPoolExecutor(args.jobs) as pool:
        for done, _ in enumerate(pool.map(campaign.case, range(args.seed, args.seed + args.files)), 1):
            if done % EVERY == 0 or done == args.files:
                found = "; ".join(f"{c} {e}: {number}" for (c, e), number in sorted(campaign.counts.items()))
                seconds = time.monotonic() - start
                print(f"{done} files in {seconds:.0f} s, {campaign.short} fall short: {found}", flush=True)
    for worker in campaign.workers.values():
        worker.close()


if __name__ == "__main__":
    main()
