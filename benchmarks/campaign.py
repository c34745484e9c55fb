"""Random graphs with random options, each judged by an oracle that shares nothing with the tool.

    python benchmarks/campaign.py --graphs 1000 --seed 1 --out /tmp/campaign

Every graph is pruned from file to file. The oracle knows the two files alone: it recognises the weights that are left
by their values, sets the others to zero in the original, and compares what both give in ONNX Runtime at two sizes. A
case falls short if the run ends with exit code 1, 3 or 5, or if the written file does not load, gives other shapes or
numbers, holds weights in another order, or if its plan does not lead to the same file again. Such cases are kept in
OUT: the model, and its options as JSON. Prints counts by exit code and by verdict.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from campaign_graphs import random_graph
from numpy.typing import NDArray
from onnx import numpy_helper

from compressor.commands.prune_file import prune_file
from compressor.config import PruneSettings
from compressor.errors import CompressorError

SIZES = ({"N": 3, "T": 5}, {"N": 2, "T": 7})
FINE = frozenset({0, 2, 4})
"""Exit codes that are no fault: done, settings that contradict each other, nothing to remove."""
EVERY = 100
"""Graphs between two lines of counts."""
CLOSE = 1e-3
"""Largest difference, as a share of an output's range."""
CRITERIA = ("l1", "l2", "fpgm", "lamp", "random", "consumers")
REPAIRS = ("none", "none", "none", "none", "none", "auto", "bias")
"""Recoveries; most runs have none, since weights that were fitted cannot be recognised."""
Array = NDArray[Any]
Options = dict[str, Any]


def options(rng: np.random.Generator) -> Options:
    """Random settings of one run."""
    chosen: Options = {
        "round_to": int(rng.choice([1, 1, 1, 2, 4])),
        "attention": str(rng.choice(["heads", "dims"])),
        "criterion": str(rng.choice(CRITERIA)),
        "scope": str(rng.choice(["auto", "local", "global"])),
        "recover": str(rng.choice(REPAIRS)),
        "keep_norm_axes": bool(rng.random() < 0.3),
        "simplify": bool(rng.random() < 0.7),
        "min_channels": int(rng.choice([1, 1, 2, 3])),
        "steps": int(rng.choice([1, 1, 1, 2, 3])),
        "seed": int(rng.integers(100)),
    }
    aim = str(rng.choice(["ratio", "ratio", "ratio", "target_macs", "target_params", "lossless"]))
    if aim == "lossless":
        return {"lossless": True, "simplify": chosen["simplify"], "attention": chosen["attention"]}
    return {**chosen, aim: float(rng.choice([0.2, 0.3, 0.5, 0.6, 0.8]))}


def with_dead_filters(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Sets some filters and features to zero, so that lossless pruning has something to find."""
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.ndim > 1 and rng.random() < 0.6:
            axis = int(rng.integers(array.ndim))
            dead = rng.random(array.shape[axis]) < 0.3
            new = np.where(dead.reshape([-1 if a == axis else 1 for a in range(array.ndim)]), 0, array)
            tensor.CopyFrom(numpy_helper.from_array(new.astype(np.float32), tensor.name))


# ---- the oracle ------------------------------------------------------------------------------------------------------


def run(model: onnx.ModelProto, sizes: Mapping[str, int]) -> list[Array]:
    """Outputs on seeded numbers."""
    setup = onnxruntime.SessionOptions()
    setup.intra_op_num_threads, setup.log_severity_level = 1, 4
    setup.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), setup, ["CPUExecutionProvider"])
    (x,) = session.get_inputs()
    shape = [sizes.get(d, 1) if isinstance(d, str) else d for d in x.shape]
    numbers = np.random.default_rng(list(sizes.values())).standard_normal(shape).astype(np.float32)
    return [np.asarray(a) for a in session.run(None, {x.name: numbers})]


def tensors(model: onnx.ModelProto) -> dict[str, Array]:
    """Weights by name."""
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def positions(whole: Array, part: Array) -> Array | None:
    """Flat position in ``whole`` of each entry of ``part``, by value.

    An empty array where ``part`` holds a value that is new; None where values repeat, so that nothing can be told.
    """
    order = np.argsort(whole, axis=None)
    values = whole.ravel()[order]
    if np.any(np.diff(values) == 0):
        return None
    place = np.clip(np.searchsorted(values, part.ravel()), 0, values.size - 1)
    return order[place] if np.array_equal(values[place], part.ravel()) else order[:0]


def masked(original: onnx.ModelProto, small: onnx.ModelProto) -> tuple[onnx.ModelProto | None, str]:
    """The original with zeros for every weight that is gone, and what is wrong with those that are left."""
    copy = onnx.ModelProto()
    copy.CopyFrom(original)
    left = tensors(small)
    for tensor in copy.graph.initializer:
        whole = numpy_helper.to_array(tensor)
        if whole.dtype != np.float32 or whole.size < 2:
            continue
        part = left.get(tensor.name)
        if part is None:
            return None, ""  # folded into something else
        if part.shape == whole.shape:
            if not np.array_equal(part, whole):
                return None, f"{tensor.name} has other values"
            continue
        found = positions(whole, part)
        if found is None:
            return None, ""
        if not found.size:
            return None, f"{tensor.name} has other values"
        if np.any(np.diff(found) <= 0):
            return None, f"{tensor.name} is in another order"
        flat = np.zeros(whole.size, np.float32)
        flat[found] = part.ravel()
        tensor.CopyFrom(numpy_helper.from_array(flat.reshape(whole.shape), tensor.name))
    return copy, ""


def differ(one: list[Array], two: list[Array]) -> str:
    """What differs between two lists of outputs."""
    for k, (a, b) in enumerate(zip(one, two, strict=True)):
        if a.shape != b.shape:
            return f"output {k} has shape {b.shape}, not {a.shape}"
        finite = np.isfinite(a)
        if not np.array_equal(finite, np.isfinite(b)):
            return f"output {k} is finite elsewhere"
        gap = float(np.abs(a[finite] - b[finite]).max(initial=0.0))
        if gap > CLOSE * max(float(np.abs(a[finite]).max(initial=0.0)), 1e-3):
            return f"output {k} is off by {gap:.2g}"
    return ""


def verdict(original: onnx.ModelProto, small: onnx.ModelProto, chosen: Options, *, exact: bool) -> str:
    """'right', 'right shapes' where numbers cannot be told apart from outside, or what is wrong."""
    lossless = bool(chosen.get("lossless"))
    fitted = chosen.get("recover", "none") != "none"
    reference, wrong = (None, "") if fitted else (original, "") if lossless else masked(original, small)
    if wrong:
        return wrong
    compared = reference is not None and (exact or lossless)
    for sizes in SIZES:
        try:
            found = run(small, sizes)
        except Exception as error:  # noqa: BLE001 - whatever the runtime says is the verdict
            return f"does not run: {str(error).splitlines()[0][-120:]}"
        shapes = [a.shape for a in run(original, sizes)]
        if shapes != [a.shape for a in found]:
            return f"shapes {[a.shape for a in found]}, not {shapes}"
        if compared and reference is not None and (text := differ(run(reference, sizes), found)):
            return text
    return "right" if compared else "right shapes"


# ---- the campaign ----------------------------------------------------------------------------------------------------


def attempt(
    source: Path, output: Path, chosen: Options, plan: Path | None = None, *, replay: bool = False
) -> tuple[int, str]:
    """Exit code of a run, and what it said."""
    try:
        settings = PruneSettings(recover="none") if replay else PruneSettings.parse(chosen)
        prune_file(source, output, settings, plan=plan if replay else None, plan_out=None if replay else plan)
    except CompressorError as error:
        return error.exit_code, str(error)
    except Exception as error:  # noqa: BLE001 - what the command line turns into exit code 1
        return 1, f"{type(error).__name__}: {error}"
    return 0, ""


def same_weights(one: Path, two: Path) -> bool:
    """Do two files hold the same weights under the same names?"""
    a, b = (tensors(onnx.load(p)) for p in (one, two))
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k], equal_nan=True) for k in a if a[k].dtype.kind == "f")


def case(seed: int, folder: Path, recover: str | None) -> tuple[str, str, Options]:
    """Exit code and verdict of one graph; '-' where ONNX Runtime refuses the graph itself."""
    model, exact = random_graph(seed)
    rng = np.random.default_rng([seed, 3])
    chosen = options(rng)
    if recover is not None and not chosen.get("lossless"):
        chosen["recover"] = recover
    if chosen.get("lossless"):
        with_dead_filters(model, rng)
    source, output, plan = (folder / name for name in ("model.onnx", "small.onnx", "plan.json"))
    for path in (output, plan):
        path.unlink(missing_ok=True)
    onnx.save(model, source)
    try:
        for sizes in SIZES:
            run(model, sizes)
    except Exception as error:  # noqa: BLE001 - the generator's fault
        return "-", str(error).splitlines()[0][-80:], chosen
    wants_plan = chosen.get("steps", 1) == 1
    code, said = attempt(source, output, chosen, plan if wants_plan else None)
    if code:
        return str(code), said if code not in FINE else "", chosen
    found = verdict(model, onnx.load(output), chosen, exact=exact)
    if found.startswith("right") and wants_plan and chosen.get("recover", "none") == "none" and seed % 4 == 0:
        again = folder / "again.onnx"
        code, said = attempt(source, again, chosen, plan, replay=True)
        if code or not same_weights(output, again):
            found = f"the plan replays to another file: {said}"
    return "0", found, chosen


def cases(first: int, count: int, out: Path, recover: str | None) -> Iterator[tuple[str, str]]:
    """Runs ``count`` graphs from ``first`` on; keeps those that fall short."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for seed in range(first, first + count):
            code, text, chosen = case(seed, folder, recover)
            right = code == "-" or (code == "0" and text.startswith("right")) or (code != "0" and int(code) in FINE)
            if not right:
                out.mkdir(parents=True, exist_ok=True)
                (out / f"{seed}.onnx").write_bytes((folder / "model.onnx").read_bytes())
                record = {"seed": seed, "exit": code, "verdict": text, "options": chosen}
                (out / f"{seed}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
                print(f"{seed}: exit {code}: {text[:200]}", flush=True)
            yield code, ("as expected" if right and not text else text if right else "falls short")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graphs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="first of the seeds, one a graph")
    parser.add_argument("--recover", help="the recovery of every run; without it mostly none")
    parser.add_argument("--out", type=Path, required=True, help="folder for cases that fall short")
    args = parser.parse_args()
    onnxruntime.set_default_logger_severity(4)
    counts: Counter[tuple[str, str]] = Counter()
    for done, (code, text) in enumerate(cases(args.seed, args.graphs, args.out, args.recover), 1):
        counts[code, text if code != "-" else "not run"] += 1
        if done % EVERY == 0 or done == args.graphs:
            found = "; ".join(f"exit {c}, {t}: {number}" for (c, t), number in sorted(counts.items()))
            print(f"{done} graphs: {found}", flush=True)


if __name__ == "__main__":
    main()
