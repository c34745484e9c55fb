"""Libraries that come with an extra."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import compressor
from compressor.core.extras import EXTRAS, TRAINING_PACKAGES, require
from compressor.errors import UsageError


def test_what_is_installed_is_not_imported() -> None:
    program = f"""
import sys
from compressor.core.extras import require
require("this", *{TRAINING_PACKAGES})
assert "torch" not in sys.modules
"""
    pytest.importorskip("safetensors")
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("library", EXTRAS)
def test_what_is_missing_is_named_with_the_extra_that_brings_it(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    package, extra = EXTRAS[library]
    with pytest.raises(UsageError, match=rf"^--flag needs {package}, .* pip install 'onnx-compressor\[{extra}\]'"):
        require("--flag", library)


def test_the_extras_bring_them() -> None:
    project = (Path(compressor.__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    for package, extra in EXTRAS.values():
        [line] = re.findall(rf"^{extra} = .*$", project, re.MULTILINE)
        assert f'"{package.lower()}>=' in line


def test_what_a_default_prune_reads_needs_no_extra() -> None:
    program = """
import importlib, pkgutil, sys
sys.modules["safetensors"] = None
for name in ("train.gradients", "train.module", "allocation", "reconstruct", "steps.prune"):
    package = importlib.import_module("compressor." + name)
    for found in pkgutil.iter_modules(package.__path__):
        importlib.import_module(package.__name__ + "." + found.name)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
