"""sympy loads when it is used, and not before."""

from __future__ import annotations

import subprocess
import sys


def printed(code: str) -> list[str]:
    """What ``code`` prints in a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


LOADED = "print('sympy.core' in __import__('sys').modules)\n"


def test_pruning_does_not_load_sympy() -> None:
    assert printed(f"from compressor.commands.prune import prune_file\n{LOADED}") == ["False"]


def test_symbolic_dimensions_still_compute() -> None:
    code = f"import compressor, onnx_ir as ir\n{LOADED}print(str(ir.SymbolicDim('n') + 3).replace(' ', ''))\n{LOADED}"
    assert printed(code) == ["False", "n+3", "True"]


def test_sympy_is_whole_for_others() -> None:
    code = "import compressor, sympy\nfrom sympy import Symbol\nprint(sympy.sympify('x + x') == 2 * Symbol('x'))"
    assert printed(code) == ["True"]


def test_nothing_happens_where_onnx_ir_came_first() -> None:
    assert printed(f"import onnx_ir, compressor\n{LOADED}") == ["True"]
