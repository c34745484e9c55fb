"""sympy loads when it is used, and not before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def printed(code: str) -> list[str]:
    """What ``code`` prints in a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


LOADED = "print('sympy.core' in __import__('sys').modules)\n"
POSTPONE = "from compressor.core.lazy_modules import postpone_sympy\npostpone_sympy()\n"


def test_the_command_line_does_not_load_sympy() -> None:
    net = Path(__file__).parents[2] / "models" / "digits-mobilenet.onnx"
    code = "import atexit, sys\natexit.register(lambda: print('sympy.core' in sys.modules))\n"
    code += f"sys.argv = ['x', 'inspect', {str(net)!r}, '--quiet']\n"
    code += "from compressor.cli.main import compress_entry\ncompress_entry()"
    assert printed(code)[-1] == "False"


def test_importing_the_package_leaves_the_modules_of_others_alone() -> None:
    code = "import sys, compressor\ncompressor.prune\nprint(type(sys.modules['sympy']).__name__)\n"
    assert printed(f"{code}{LOADED}") == ["module", "True"]


def test_symbolic_dimensions_still_compute() -> None:
    code = f"{POSTPONE}import onnx_ir as ir\n{LOADED}print(str(ir.SymbolicDim('n') + 3).replace(' ', ''))\n{LOADED}"
    assert printed(code) == ["False", "n+3", "True"]


def test_sympy_is_whole_for_others() -> None:
    code = f"{POSTPONE}import sympy\nfrom sympy import Symbol\nprint(sympy.sympify('x + x') == 2 * Symbol('x'))"
    assert printed(code) == ["True"]


def test_nothing_happens_where_onnx_ir_came_first() -> None:
    assert printed(f"import onnx_ir\n{POSTPONE}{LOADED}") == ["True"]
