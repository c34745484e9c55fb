"""What a prune of a large decoder costs, beside copying the bytes that it reads and writes.

``python benchmarks/size.py --gigabytes 1 3 -- --recover none --verify off`` makes a decoder of each size with
``big_decoder.py``, copies it with a flush, prunes it with the flags after ``--``, and says how long that took and how
much memory the process had of its own (anonymous memory, without pages of mapped files), in GiB.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import process

ROOT = Path(__file__).resolve().parents[1]
GENERATOR = Path(__file__).with_name("big_decoder.py")
PERIOD = 0.02
"""Seconds between two looks at the memory of a process."""


def copied(files: Iterable[Path], folder: Path) -> float:
    """Seconds that a copy of these files takes, until it is on the disk."""
    start = time.perf_counter()
    for file in files:
        shutil.copyfile(file, folder / "copy")
        with (folder / "copy").open("rb+") as written:
            os.fsync(written.fileno())
        (folder / "copy").unlink()
    return time.perf_counter() - start


def watched(argv: list[str]) -> tuple[int, float, float, float]:
    """Exit code and seconds of a command, and the most GiB of anonymous and of resident memory that it had."""
    start = time.perf_counter()
    child = subprocess.Popen(argv, env=os.environ | {"PYTHONPATH": str(ROOT)})
    own = resident = 0
    while child.poll() is None:
        now = memory(child.pid)
        own, resident = max(own, now[0]), max(resident, now[1])
        time.sleep(PERIOD)
    return child.returncode, time.perf_counter() - start, own / 2**20, resident / 2**20


def memory(pid: int) -> tuple[int, int]:
    """KiB of anonymous and of resident memory of a process now; zeros where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0, 0
    found = {key: int(rest.split()[0]) for key, _, rest in (line.partition(":") for line in lines) if key[:3] == "Rss"}
    return found.get("RssAnon", 0), sum(found.values())


def measure(gigabytes: float, shards: int, flags: list[str], folder: Path) -> dict[str, Any]:
    """One row: a decoder of this size is made, copied and pruned, and gone at the end."""
    source, output = folder / "in.onnx", folder / "out.onnx"
    made = [str(source), "--gigabytes", str(gigabytes), "--shards", str(shards)]
    subprocess.run([sys.executable, str(GENERATOR), *made], check=True)
    inputs = sorted(folder.glob("in*"))
    report = folder / "report.json"
    command = [sys.executable, "-m", "compressor", "prune", str(source), "-o", str(output), "--json", str(report)]
    code, seconds, own, resident = watched([*command, *flags])
    outputs = sorted(folder.glob("out*"))
    copy = copied([*inputs, *outputs], folder)
    row = {
        "read_gb": round(sum(f.stat().st_size for f in inputs) / 1e9, 3),
        "written_gb": round(sum(f.stat().st_size for f in outputs) / 1e9, 3),
        "exit_code": code,
        "seconds": round(seconds, 2),
        "copy_seconds": round(copy, 2),
        "anonymous_gib": round(own, 3),
        "resident_gib": round(resident, 3),
        "phases": json.loads(report.read_text())["seconds"] if report.exists() else {},
    }
    for file in [*inputs, *outputs]:
        file.unlink()
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[1.0])
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where there is room; a temporary folder by default")
    parser.add_argument("--out", type=Path)
    parser.add_argument("flags", nargs="*", help="flags of prune, after --")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for gigabytes in options.gigabytes:
            rows.append(measure(gigabytes, options.shards, options.flags, Path(folder)))
            print(json.dumps(rows[-1]), flush=True)
    if options.out:
        result = {"machine": process.machine(), "flags": options.flags, "runs": rows}
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
