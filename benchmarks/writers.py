"""What is left of graphs that different tools wrote: python benchmarks/writers.py DIR [DIR...] --out FILE.json

Every .onnx file below the folders is pruned at the default flags, in a process of its own, and judged by programs that
share no code with the pruner. Each row says who wrote the file, what is left, whether that is proved, and what had to
stay and why. Arguments after `--` are handed to onnx-prune.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import onnx
from process import judge, machine, run
from zoo import find

Row = dict[str, Any]
PRUNE = [sys.executable, "-m", "compressor", "prune"]
REASONS = 3
"""Reasons that a row lists, those that hold most channels."""


def writer_of(file: Path) -> str:
    """The tool that the file names, with its version; the operators of ONNX Runtime show that it went over it."""
    model = onnx.load(file, load_external_data=False)
    name = f"{model.producer_name or 'unknown'} {model.producer_version}".strip()
    fused = any(node.domain == "com.microsoft" for node in model.graph.node)
    return f"{name}, then ONNX Runtime" if fused and "onnxruntime" not in name else name


def measure(name: str, file: Path, options: argparse.Namespace) -> Row:
    """Prunes one file; keys that could not be measured are absent."""
    row: Row = {"file": name, "writer": writer_of(file)}
    with tempfile.TemporaryDirectory(prefix="writers-") as folder:
        output, report = Path(folder, "pruned.onnx"), Path(folder, "report.json")
        command = [*PRUNE, str(file), "-o", str(output), "--json", str(report), *options.extra]
        outcome = run(command, options.timeout)
        row |= {"exit_code": outcome.exit_code, "seconds": outcome.seconds}
        if outcome.error is not None or not output.exists():
            return row | {"error": outcome.error or "no output file", "left_behind": output.exists()}
        refusal = judge(output, options.timeout)["refusal"]
        return row | {"valid": refusal is None, "refusal": refusal} | claims(json.loads(report.read_text()))


def claims(report: Row) -> Row:
    """What the pruner says of its own run."""
    before, after, proof = report["input"], report["output"], report["proof"] or {}
    stays: Counter[str] = Counter()
    for row in report["frozen"]:
        stays[row["reason"]] += row["channels"]
    return {
        "proved": proof.get("passed", False) and not proof.get("not_proved"),
        "passed": proof.get("passed", False),
        "not_proved": proof.get("not_proved", []),
        "max_rel_err": proof.get("max_rel_err"),
        "macs_left": after["macs"] / before["macs"] if before["macs"] else None,
        "params_left": after["params"] / before["params"] if before["params"] else None,
        "uncounted": before["uncounted"],
        "stays": dict(stays.most_common(REASONS)),
        "warnings": report["warnings"],
    }


def line(row: Row, width: int) -> str:
    """One row of the table."""
    start = f"{row['file']:{width}}  {row['writer'][:34]:34}"
    if "error" in row:
        return f"{start}  exit {row['exit_code']}: {row['error']}"
    left = "  -  " if row["macs_left"] is None else f"{row['macs_left']:.3f}"
    proved = "proved" if row["proved"] else "in part" if row["passed"] else "NO"
    why = next(iter(row["stays"]), "")
    return f"{start}  {'valid' if row['valid'] else 'INVALID'}  {proved:7}  MACs {left}  {why[:70]}"


def by_writer(rows: list[Row]) -> dict[str, Row]:
    """Counts and the median of each writer."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["writer"]].append(row)
    shares = {name: [r["macs_left"] for r in own if r.get("macs_left")] for name, own in groups.items()}
    return {
        name: {
            "files": len(own),
            "valid": sum(row.get("valid", False) for row in own),
            "passed": sum(row.get("passed", False) for row in own),
            "proved": sum(row.get("proved", False) for row in own),
            "median_macs_left": median(shares[name]) if shares[name] else None,
            "exit_codes": dict(Counter(str(row["exit_code"]) for row in own)),
        }
        for name, own in sorted(groups.items())
    }


def main(argv: list[str]) -> int:
    """Measures, prints and writes; 1 if a written file was refused."""
    cut = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--only", default="", metavar="SUBSTR", help="only files whose path contains it")
    parser.add_argument("--timeout", type=float, default=600, help="seconds a file may take")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write everything measured here, row by row")
    options = parser.parse_args(argv[:cut])
    options.extra = argv[cut + 1 :]
    files, rows = find(options.folders, options.only), list[Row]()
    if options.out is not None and options.out.exists():
        rows = json.loads(options.out.read_text())["rows"]
    width = max(map(len, files), default=0)
    for name, file in files.items():
        if name not in {row["file"] for row in rows}:
            rows.append(measure(name, file, options))
            print(line(rows[-1], width), flush=True)
            if options.out is not None:
                text = {"machine": machine(), "flags": options.extra, "writers": by_writer(rows), "rows": rows}
                options.out.write_text(json.dumps(text, indent=1) + "\n")
    for name, found in by_writer(rows).items():
        print(f"{name}: {found}")
    return int(any(row.get("refusal") for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
