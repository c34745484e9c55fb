"""Comparing two model files: sizes, operators, weights, signature."""

from __future__ import annotations

from pathlib import Path

from compressor.results import DiffReport
from compressor.steps import account


def diff_files(a: Path, b: Path) -> DiffReport:
    """What differs between two model files: sizes, operators, initializers, signature."""
    return account.difference(a, b)
