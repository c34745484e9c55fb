"""Prunes every .onnx file below some folders and judges each result: python benchmarks/zoo.py DIR [DIR...].

Each file is pruned in a process of its own, with a timeout, and what was written is then checked by programs
that share no code with the pruner. Arguments after `--` are handed to onnx-prune. Exits with 1 if a written
file was refused by onnx.checker or ONNX Runtime.
"""

import argparse
import json
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from statistics import median
from typing import Any

from process import judge, machine, run

Row = dict[str, Any]
PRUNE = [sys.executable, "-m", "compressor", "prune"]


def parse(argv: list[str]) -> argparse.Namespace:
    """The options, with everything behind the first `--` in `extra`."""
    cut = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--ratio", default="0.5", help="share of channels removed (default 0.5)")
    parser.add_argument("--round-to", default="1", help="channel multiple (default 1)")
    parser.add_argument("--timeout", type=float, default=600, help="seconds a file may take (default 600)")
    parser.add_argument("--only", default="", metavar="SUBSTR", help="only files whose path contains it")
    parser.add_argument("--jobs", type=int, default=1, help="files at once; 1 for honest seconds (default)")
    parser.add_argument("--above", type=float, default=0.37, help="list files with more MACs left than this")
    parser.add_argument("--command", type=shlex.split, default=PRUNE, help="what to run instead of onnx-prune")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write everything measured here")
    options = parser.parse_args(argv[:cut])
    options.extra = argv[cut + 1 :]
    return options


def find(folders: list[Path], only: str) -> dict[str, Path]:
    """The .onnx files below the folders, by a name relative to the folder they were found in."""
    names = {}
    for folder in folders:
        if not folder.is_dir():
            sys.exit(f"{folder} is not a folder")
        for file in sorted(folder.rglob("*.onnx")):
            name = file.relative_to(folder).as_posix()
            if only in str(file):
                names[name if name not in names else str(file)] = file
    return names


def measure(name: str, file: Path, options: argparse.Namespace) -> Row:
    """Prunes one file and judges what came out; keys that could not be measured are absent."""
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        output, report = Path(folder, "pruned.onnx"), Path(folder, "report.json")
        wanted = ["--ratio", options.ratio, "--round-to", options.round_to, "--json", str(report)]
        outcome = run([*options.command, str(file), "-o", str(output), *wanted, *options.extra], options.timeout)
        row: Row = {
            "file": name,
            "exit_code": outcome.exit_code,
            "seconds": outcome.seconds,
            "cpu_seconds": outcome.cpu_seconds,
            "peak_mib": outcome.peak_mib,
        }
        if outcome.error is not None:
            left = " (and left an output file)" if output.exists() else ""
            return row | {"error": outcome.error + left}
        if not output.exists():
            return row | {"error": "exit code 0, but no output file"}
        row["refusal"] = judge(output, options.timeout)["refusal"]
        return row | {"valid": row["refusal"] is None} | read_report(report)


def read_report(path: Path) -> Row:
    """What the pruner's own report claims: proof, and the shares of MACs and parameters left."""
    try:
        report = json.loads(path.read_text())
        before, after, proof = report["input"], report["output"], report["proof"] or {}
        return {
            "version": report["version"],
            "proved": proof.get("passed", False),
            "max_rel_err": proof.get("max_rel_err"),
            "not_proved": [f"{part['group']}: {part['reason']}" for part in proof.get("not_proved", [])],
            "macs_left": after["macs"] / before["macs"] if before["macs"] else None,
            "params_left": after["params"] / before["params"] if before["params"] else None,
            "groups": len(report["groups"]),
            "frozen": len(report["frozen"]),
            "warnings": report["warnings"],
            "phases": report["seconds"],
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {"error": f"exit code 0, but the JSON report is unusable: {type(error).__name__}: {error}"}


def measure_all(files: dict[str, Path], options: argparse.Namespace) -> Iterator[Row]:
    """Rows in the order in which they are finished."""
    if options.jobs == 1:
        yield from (measure(name, file, options) for name, file in files.items())
        return
    with ThreadPoolExecutor(options.jobs) as pool:
        try:
            for future in as_completed([pool.submit(measure, *item, options) for item in files.items()]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def line(row: Row, width: int) -> str:
    """One row of the table, or the exit code and the sentence that came with it."""
    cost = f"{row['seconds']:7.1f} s {row['peak_mib']:7.0f} MiB"
    if row.get("refusal"):
        return f"{row['file']:{width}}  INVALID {cost}  {row['refusal']}"
    if row.get("error"):
        return f"{row['file']:{width}}  exit {row['exit_code']:<3}{cost}  {row['error']}"
    error = "     -  " if row["max_rel_err"] is None else f"{row['max_rel_err']:.2e}"
    shares = "  ".join(f"{key} {_share(row[f'{key.lower()}_left'])}" for key in ("MACs", "params"))
    proved = "proved  " if row["proved"] else "UNPROVED"
    return f"{row['file']:{width}}  valid   {cost}  {proved}  err {error}  {shares}"


def _share(value: float | None) -> str:
    return "  -  " if value is None else f"{value:.3f}"


def summarise(rows: list[Row], above: float) -> Row:
    """Counts, the median, the worst, and the names of what deserves a look."""
    shares = {row["file"]: row["macs_left"] for row in rows if row.get("macs_left") is not None}
    errors = {row["file"]: row["max_rel_err"] for row in rows if row.get("max_rel_err") is not None}
    worst = max(errors, key=lambda file: errors[file], default=None)
    return {
        "files": len(rows),
        "valid": sum(row.get("valid", False) for row in rows),
        "invalid": sorted(row["file"] for row in rows if row.get("refusal")),
        "proved": sum(row.get("proved", False) for row in rows),
        "not_proved": {row["file"]: row["not_proved"] for row in rows if row.get("not_proved")},
        "exit_codes": dict(sorted(Counter(str(row["exit_code"]) for row in rows).items())),
        "errors": {row["file"]: row["error"] for row in rows if row.get("error")},
        "median_macs_left": median(shares.values()) if shares else None,
        "worst_err": errors[worst] if worst else None,
        "worst_err_file": worst,
        "above": {f: s for f, s in sorted(shares.items(), key=lambda item: -item[1]) if s > above},
        "median_seconds": median(row["seconds"] for row in rows),
        "max_peak_mib": max(row["peak_mib"] for row in rows),
    }


def print_summary(summary: Row, above: float, wall: float) -> None:
    """The summary as text."""
    print(f"\n{summary['files']} files: {summary['valid']} valid, {summary['proved']} proved", end="; ")
    print("exit codes " + ", ".join(f"{code}: {n}" for code, n in summary["exit_codes"].items()))
    if summary["median_macs_left"] is not None:
        print(f"median MACs left {summary['median_macs_left']:.3f}")
    if summary["worst_err_file"] is not None:
        print(f"worst max_rel_err {summary['worst_err']:.2e} ({summary['worst_err_file']})")
    print(f"median {summary['median_seconds']:.1f} s a file, peak {summary['max_peak_mib']:.0f} MiB", end=", ")
    print(f"{wall:.0f} s in all")
    for file, parts in summary["not_proved"].items():
        print(f"not proved of {file}: {'; '.join(parts)}")
    for file in summary["invalid"]:
        print(f"invalid: {file}")
    for file, share in summary["above"].items():
        print(f"more than {above:g} of the MACs left: {share:.3f}  {file}")


def main() -> int:
    options = parse(sys.argv[1:])
    files = find(options.folders, options.only)
    if not files:
        sys.exit(f"no .onnx file with '{options.only}' in its path below the folders given")
    width = max(map(len, files))
    start = time.perf_counter()
    rows: list[Row] = []
    try:
        for row in measure_all(files, options):
            rows.append(row)
            print(line(row, width), flush=True)
    except KeyboardInterrupt:
        print(f"interrupted after {len(rows)} of {len(files)} files", file=sys.stderr)
        if not rows:
            return 130
    summary = summarise(rows, options.above)
    print_summary(summary, options.above, time.perf_counter() - start)
    if options.out:
        settings = {key: getattr(options, key) for key in ("ratio", "round_to", "timeout", "jobs", "extra")}
        content = {"machine": machine(), "settings": settings, "summary": summary, "files": rows}
        options.out.write_text(json.dumps(content, indent=1) + "\n")
    return 1 if summary["invalid"] else 0


if __name__ == "__main__":
    sys.exit(main())
