"""Does the proof notice? Faults are planted one by one in the program, and models are pruned with it.

    python benchmarks/proof_mutants.py --out benchmarks/results/proof_mutants.json

Each model's plan is made once without a fault and replayed with it, so that there is one right result. A run with a
fault is *killed* if no file is left (an error of whatever exit code), *equivalent* if the file gives what the right
one gives on five further inputs, of other sizes where dimensions are open, and *survived* otherwise: a wrong file at
exit 0. There must be none of these, and none that changes no byte of any file: exit code 1.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from shutil import copyfile

import numpy as np
import onnx
import onnxruntime as ort
from mutant_faults import FAULTS, RECOVERING, Fault
from mutant_models import build

from compressor.commands.prune_file import prune_file
from compressor.config import PruneSettings
from compressor.core.compare import Tolerance, distance

OWN = Path(__file__).parents[1] / "models"
SIZES = ({"N": 1, "T": 4}, {"N": 4, "T": 9}, {"N": 5, "T": 6}, {"N": 7, "T": 3}, {"N": 2, "T": 30})
"""Open dimensions of the five further inputs; others are as the first of these."""
TOLERANCE = Tolerance(1e-3)
CUT, RECOVERED = PruneSettings(recover="none"), PruneSettings(recover="bias")
SETTINGS = PruneSettings(ratio=0.5, round_to=1, recover="none", scope="local")


def main() -> None:
    """Runs every fault on every model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="", help="faults whose phase or name has this")
    options = parser.parse_args()
    ort.set_default_logger_severity(4)
    start = time.time()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        models = {**build(folder), **{p.stem: p for p in sorted(OWN.glob("*.onnx"))}}
        plans = {name: right(path, folder / f"{name}.right") for name, path in models.items()}
        recovered = {name: again(path, plans[name], folder / f"{name}.recovered") for name, path in models.items()}
        rows = []
        for fault in [f for f in FAULTS if options.only in f.phase + f.name]:
            made = recovered if fault.phase == RECOVERING else plans
            found = {name: outcome(fault, path, made[name], folder) for name, path in models.items()}
            rows.append({"phase": fault.phase, "fault": fault.name, "outcomes": found})
            print(f"{fault.phase}: {fault.name}: {dict(Counter(o.split(':')[0] for o in found.values()))}", flush=True)
            for name in [n for n, o in found.items() if o == "SURVIVED"]:
                print(f"    SURVIVED on {name}", flush=True)
    report(rows, sorted(models), time.time() - start, options.out)
    # A fault that changes no byte of any file is none, and shows nothing.
    dead = [row["fault"] for row in rows if all(o == "equivalent: same file" for o in dict(row["outcomes"]).values())]
    if dead:
        print(f"without any effect: {dead}")
    survived = any(o == "SURVIVED" for row in rows for o in dict(row["outcomes"]).values())
    sys.exit(1 if dead or survived else 0)


def right(path: Path, folder: Path) -> Path:
    """Prunes without a fault; the folder holds the file and its plan."""
    folder.mkdir()
    prune_file(path, folder / "out.onnx", SETTINGS, plan_out=folder / "plan.json")
    return folder


def again(path: Path, made: Path, folder: Path) -> Path:
    """Prunes by the plan and recovers, without a fault."""
    folder.mkdir()
    copyfile(made / "plan.json", folder / "plan.json")
    prune_file(path, folder / "out.onnx", RECOVERED, plan=made / "plan.json")
    return folder


def outcome(fault: Fault, path: Path, made: Path, folder: Path) -> str:
    """What became of one fault on one model."""
    output = folder / "wrong.onnx"
    output.unlink(missing_ok=True)
    with fault.planted():
        try:
            prune_file(path, output, RECOVERED if fault.phase == RECOVERING else CUT, plan=made / "plan.json")
        except Exception as error:  # noqa: BLE001 - any of them is an exit code other than 0
            assert not output.exists(), f"{fault.name} on {path.stem}: an error, and a file"
            return f"killed: {type(error).__name__}"
    if output.read_bytes() == (made / "out.onnx").read_bytes():
        return "equivalent: same file"
    return "equivalent: same outputs" if same(made / "out.onnx", output) else "SURVIVED"


def same(one: Path, two: Path) -> bool:
    """Do the two files give the same on five further inputs?"""
    sessions = [ort.InferenceSession(str(p), providers=["CPUExecutionProvider"]) for p in (one, two)]
    proto = onnx.load(one)
    for seed, sizes in enumerate(SIZES):
        feed = {v.name: fed(v, sizes, np.random.default_rng(1000 + seed)) for v in proto.graph.input}
        expected = sessions[0].run(None, feed)
        try:
            given = sessions[1].run(None, feed)
        except Exception:  # noqa: BLE001 - the runtime's errors share no base class
            return False
        if not all(distance(a, b, TOLERANCE).passed for a, b in zip(expected, given, strict=True)):
            return False
    return True


def fed(value: onnx.ValueInfoProto, sizes: dict[str, int], rng: np.random.Generator) -> np.ndarray:
    """A seeded input of these sizes."""
    kind = value.type.tensor_type
    shape = [d.dim_value or sizes.get(d.dim_param, sizes["N"]) for d in kind.shape.dim]
    if kind.elem_type == onnx.TensorProto.INT64:
        return rng.integers(0, 20, shape)
    return rng.standard_normal(shape).astype(np.float32)


def report(rows: list[dict[str, object]], models: list[str], seconds: float, out: Path | None) -> None:
    """Prints the sum, and writes all of it."""
    every = [str(o) for row in rows for o in dict(row["outcomes"]).values()]  # type: ignore[call-overload]
    counts = Counter(o.split(":")[0] for o in every)
    killed = sum(any(str(o).startswith("killed") for o in dict(row["outcomes"]).values()) for row in rows)  # type: ignore[call-overload]
    print(f"{len(rows)} faults, {len(models)} models, {dict(counts)}; {killed} faults killed on some model")
    if out is not None:
        summary = {"faults": len(rows), "models": models, "outcomes": dict(counts), "killed": killed}
        machine = {"machine": platform.processor() or platform.machine(), "seconds": round(seconds)}
        out.write_text(json.dumps({**summary, **machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
