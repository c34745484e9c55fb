"""Libraries that come with an extra: what needs one says so before any work is done, and loads none to find out."""

from __future__ import annotations

from importlib.util import find_spec
from types import MappingProxyType

from compressor.errors import UsageError

EXTRAS = MappingProxyType(
    {
        "PIL": ("Pillow", "tune"),
        "accelerate": ("accelerate", "tune"),
        "distributed": ("distributed", "cluster"),
        "jinja2": ("jinja2", "report"),
        "safetensors": ("safetensors", "tune"),
        "torch": ("torch", "tune"),
    }
)
"""Name that is imported -> the package it comes with, and the extra of ours that brings it."""
TRAINING_PACKAGES = ("torch", "safetensors")


def require(purpose: str, *libraries: str) -> None:
    """For the first lines of a run.

    Args:
        purpose: the subject of the sentence, such as ``--recover finetune``.
        libraries: keys of :data:`EXTRAS`.

    Raises:
        UsageError: one is not installed.
    """
    for name in libraries:
        if find_spec(name) is None:
            package, extra = EXTRAS[name]
            raise UsageError(
                f"{purpose} needs {package}, which is not installed; run pip install 'onnx-compressor[{extra}]'"
            )
