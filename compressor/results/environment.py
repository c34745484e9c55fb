"""What a run depends on outside its inputs: versions of packages, the processor."""

import os
import platform
from importlib import metadata
from pathlib import Path

from compressor.results.detail import Environment

_PACKAGES = ("onnx", "onnx-ir", "onnxruntime", "onnxruntime-gpu", "onnxscript", "numpy", "torch")


def environment(device: str | None = None) -> Environment:
    """The surroundings of this process; reads versions without importing a package.

    Args:
        device: name of the accelerator that ran the models; the processor of this machine if left out.
    """
    return Environment(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}".strip(),
        device=device or _processor(),
        cores=os.cpu_count(),
        packages=_versions(),
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """The name that Linux has for the processor, or what the standard library knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine() or "unknown"
