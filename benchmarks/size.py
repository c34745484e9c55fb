"""What a prune of a large decoder costs, beside copying the file: seconds, MB/s and memory against size.

``python benchmarks/size.py --out size.json`` makes a decoder of each size with ``big_decoder.py``, copies its files
with ``cp`` until they are on the disk, and prunes it with ``--ratio 0.5 --recover none``, or the flags after ``--``.
It says for both how long that took, how many MB of the decoder that is in a second, and how much memory the process had
at most, in MiB: resident, and of its own (anonymous memory, without pages of mapped files).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import process

ROOT = Path(__file__).resolve().parents[1]
GENERATOR = Path(__file__).with_name("big_decoder.py")
PERIOD = 0.02
"""Seconds between two looks at the memory of a process."""
FLAGS = ["--ratio", "0.5", "--recover", "none"]


def watched(argv: list[str]) -> tuple[int, dict[str, float]]:
    """Exit code of a command, and what it took: seconds, those of the processors, and the most MiB of memory."""
    start, before = time.perf_counter(), os.times()
    child = subprocess.Popen(argv, env=os.environ | {"PYTHONPATH": str(ROOT)})
    own = resident = 0
    while child.poll() is None:
        now = memory(child.pid)
        own, resident = max(own, now.get("RssAnon", 0)), max(resident, now.get("VmHWM", 0))
        time.sleep(PERIOD)
    seconds, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    cost = {"seconds": seconds, "cpu_seconds": cpu, "own_mib": own / 2**10, "resident_mib": resident / 2**10}
    return child.returncode, cost


def memory(pid: int) -> dict[str, int]:
    """KiB of memory of a process now, by the kernel's names; nothing where it has ended.

    ``VmHWM`` is the most that was ever resident, so that a look from time to time misses little.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    parts = (line.partition(":") for line in lines)
    return {key: int(rest.split()[0]) for key, _, rest in parts if key in ("RssAnon", "VmHWM")}


def copied(files: list[Path], folder: Path) -> dict[str, float]:
    """What ``cp`` of these files takes until they are on the disk; the copies are gone at the end."""
    code, cost = watched(["cp", *map(str, files), str(folder)])
    if code:
        sys.exit(f"cp ended with {code}; give --folder with room for twice the decoder")
    start = time.perf_counter()
    for file in files:
        with (folder / file.name).open("rb+") as written:
            os.fsync(written.fileno())
    cost["seconds"] += time.perf_counter() - start
    for file in files:
        (folder / file.name).unlink()
    return cost


def measure(gigabytes: float, shards: int, flags: list[str], folder: Path) -> dict[str, Any]:
    """One row: a decoder of this size is made, copied and pruned, and gone at the end."""
    source, output, report, copies = (folder / name for name in ("in.onnx", "out.onnx", "report.json", "copies"))
    made = [str(source), "--gigabytes", str(gigabytes), "--shards", str(shards)]
    subprocess.run([sys.executable, str(GENERATOR), *made], check=True)
    inputs = sorted(folder.glob("in*"))
    copies.mkdir(exist_ok=True)
    # Before the prune and not after it, so that both find the decoder in the page cache, as it was just written.
    copy = copied(inputs, copies)
    command = [sys.executable, "-m", "compressor", "prune", str(source), "-q", "-o", str(output), "--json", str(report)]
    code, cost = watched([*command, *flags])
    outputs = sorted(folder.glob("out*"))
    read, written = (sum(file.stat().st_size for file in files) / 1e6 for files in (inputs, outputs))
    row = {
        "read_mb": round(read, 1),
        "written_mb": round(written, 1),
        "exit_code": code,
        "prune": rounded(cost, read),
        "cp": rounded(copy, read),
        "phases": json.loads(report.read_text())["seconds"] if report.exists() else {},
    }
    for file in (*inputs, *outputs, report):
        file.unlink(missing_ok=True)
    return row


def rounded(cost: dict[str, float], megabytes: float) -> dict[str, float]:
    """The cost of a command over so many MB, with MB/s."""
    return {key: round(value, 2) for key, value in {**cost, "mb_per_s": megabytes / cost["seconds"]}.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[0.3, 1.0, 3.0])
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where there is room; a temporary folder by default")
    parser.add_argument("--out", type=Path)
    parser.add_argument("flags", nargs="*", default=FLAGS, help="flags of prune, after --")
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
