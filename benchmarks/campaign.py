"""Random graphs with random options, each judged by an oracle that shares nothing with the tool.

    python benchmarks/campaign.py --graphs 1000 --seed 1 --out /tmp/campaign

Every graph is pruned from file to file. The oracle (campaign_oracle.py) knows the two files alone: it recognises the
weights that are left by their values, sets the others to zero in the original, and compares what both give in ONNX
Runtime at two sizes. Where weights were folded or fitted, it judges the same cut without that, and holds the file
against it. A case falls short if the run ends with exit code 1, 3 or 5, or if the written file does not load, gives
other shapes or numbers, holds weights in another order, or if its plan does not lead to the same file again. Such cases
are kept in OUT: the model, and its options as JSON. Prints counts by exit code and by verdict, of how many files values
were compared, and why not of the others.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from campaign_graphs import random_graph
from campaign_oracle import SIZES, Verdict, differ, run, tensors, verdict
from numpy.typing import NDArray
from onnx import numpy_helper

from compressor.commands.prune_file import prune_file
from compressor.config import PruneSettings
from compressor.errors import CompressorError

FINE = frozenset({0, 2, 4})
"""Exit codes that are no fault: done, settings that contradict each other, nothing to remove."""
EVERY = 100
"""Graphs between two lines of counts."""
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


# ---- the campaign ----------------------------------------------------------------------------------------------------


def attempt(
    source: Path, output: Path, chosen: Options, plan: Path | None = None, *, replay: bool = False
) -> tuple[int, str]:
    """Exit code of a run, and what it said."""
    try:
        plain = {"recover": "none", "simplify": chosen.get("simplify", True)}
        settings = PruneSettings.parse(plain if replay else chosen)
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


def second_look(source: Path, small: Path, chosen: Options, plan: Path | None, sums: list[tuple[str, int]]) -> Verdict:
    """Judges the cut alone, without clean-up and recovery, and then the file by what that gives.

    With values of weights that were fitted, only their shapes can be held against those of the cut alone.
    """
    fitted, twin = chosen.get("recover", "none") != "none", source.with_name("twin.onnx")
    if plan is None and fitted:
        return Verdict(unseen="weights were fitted between steps")
    plain = {**chosen, "simplify": False, "recover": "none"}
    code, said = attempt(source, twin, plain, plan, replay=plan is not None)
    if code:
        return Verdict(f"the same cut without clean-up ends with exit code {code}: {said}")
    original, cut, file = (onnx.load(path) for path in (source, twin, small))
    found = verdict(original, cut, sums)
    if found != Verdict():
        return Verdict(found.wrong and f"the same cut without clean-up: {found.wrong}", found.unseen)
    if fitted:
        shapes = {name: array.shape for name, array in tensors(cut).items()}
        other = [n for n, array in tensors(file).items() if shapes.get(n, array.shape) != array.shape]
        return Verdict(f"{other[0]} has another shape than in its plan" if other else "")
    return Verdict(next((text for s in SIZES if (text := differ(run(cut, s), run(file, s)))), ""))


def judged(source: Path, output: Path, chosen: Options, plan: Path | None, sums: list[tuple[str, int]]) -> Verdict:
    """What the oracle says of a file."""
    original, small = onnx.load(source), onnx.load(output)
    lossless, fitted = bool(chosen.get("lossless")), chosen.get("recover", "none") != "none"
    found = verdict(original, small, sums, lossless=lossless, fitted=fitted)
    return second_look(source, output, chosen, plan, sums) if found.unseen and not found.wrong else found


def case(seed: int, folder: Path, recover: str | None) -> tuple[str, Verdict, Options]:
    """Exit code and verdict of one graph; '-' where ONNX Runtime refuses the graph itself."""
    model, sums = random_graph(seed)
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
        return "-", Verdict(str(error).splitlines()[0][-80:]), chosen
    wants_plan = chosen.get("steps", 1) == 1
    code, said = attempt(source, output, chosen, plan if wants_plan else None)
    if code:
        return str(code), Verdict(said if code not in FINE else ""), chosen
    found = judged(source, output, chosen, plan if wants_plan else None, sums)
    if not found.wrong and wants_plan and chosen.get("recover", "none") == "none" and seed % 4 == 0:
        again = folder / "again.onnx"
        code, said = attempt(source, again, {}, plan, replay=True)
        if code or not same_weights(output, again):
            found = Verdict(f"the plan replays to another file: {said}")
    return "0", found, chosen


def cases(first: int, count: int, out: Path, recover: str | None) -> Iterator[tuple[str, str]]:
    """Runs ``count`` graphs from ``first`` on; keeps those that fall short."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for seed in range(first, first + count):
            code, found, chosen = case(seed, folder, recover)
            right = code == "-" or (not found.wrong and int(code) in FINE)
            if not right:
                out.mkdir(parents=True, exist_ok=True)
                (out / f"{seed}.onnx").write_bytes((folder / "model.onnx").read_bytes())
                record = {"seed": seed, "exit": code, "verdict": found.wrong, "options": chosen}
                (out / f"{seed}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
                print(f"{seed}: exit {code}: {found.wrong[:200]}", flush=True)
            seen = f"shapes alone, as {found.unseen}" if found.unseen else "values compared"
            yield code, "falls short" if not right else seen if code == "0" else "as expected"


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
            files = sum(number for (c, _), number in counts.items() if c == "0")
            share = counts["0", "values compared"] / max(files, 1)
            print(f"{done} graphs: {found}; values of {share:.0%} of {files} files compared", flush=True)


if __name__ == "__main__":
    main()
