"""Imports go down only, nothing goes round in circles, and heavy libraries stay in their own rooms."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import compressor

ROOT = Path(compressor.__file__).parent
MODELS = ROOT.parent / "models"

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "version"),
    ("core",),
    ("config", "results"),
    ("graph",),
    ("runtime",),
    ("channels",),
    ("operators",),
    ("data",),
    ("metrics",),
    ("pruning",),
    ("reconstruct",),
    ("torch_ops",),
    ("train",),
    ("unification", "allocation"),
    ("structures",),
    ("evaluate",),
    ("experiments", "latency"),
    ("render", "steps"),
    ("commands",),
    ("recipe",),
    ("interface",),
    ("api", "cli"),
    ("__init__", "__main__"),
    ("adapters",),
)
"""From bottom to top; a module imports from lower layers and from its own package."""

ROOMS = {
    "onnxruntime": ("runtime",),
    "torch": ("torch_ops", "train"),
    "click": ("cli",),
    "rich": ("cli", "render"),
}
"""Library -> where it may be imported."""

MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted(ROOT.rglob("*.py"))}


def level(unit: str) -> int:
    return next(k for k, layer in enumerate(LAYERS) if unit in layer)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path, *, typed: bool = False) -> tuple[str, ...]:
    """Every module named in an import, wherever it stands; those for the type checker alone only if ``typed``."""
    found: list[str] = []
    tree = parsed(path)
    for node in ast.walk(tree) if typed else runtime_nodes(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(found)


def runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
            continue
        yield child
        yield from runtime_nodes(child)


def inner(path: Path, *, typed: bool = False) -> set[str]:
    """Modules of the package that this one imports, by their key in MODULES."""
    found = set()
    for name in imports(path, typed=typed):
        if name == "compressor" or name.startswith("compressor."):
            rest = name.removeprefix("compressor").lstrip(".")
            found |= {key for key in (rest, f"{rest}.__init__".lstrip(".")) if key in MODULES}
    return found


def test_imports_go_down() -> None:
    packages = {module: module.partition(".")[0] for module in MODULES}
    assert not {
        (module, other)
        for module, own in packages.items()
        for other in inner(MODULES[module], typed=True) - {"__init__"}
        if packages[other] != own and level(packages[other]) >= level(own)
    }


def circle(graph: Mapping[str, Collection[str]]) -> str:
    """The first way from a name back to itself; empty where there is none."""
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> str:
        if name in way:
            return " -> ".join((*way[way.index(name) :], name))
        found = "" if name in done else next(filter(None, (visit(o, (*way, name)) for o in sorted(graph[name]))), "")
        done.add(name)
        return found

    return next(filter(None, (visit(name, ()) for name in graph)), "")


def test_no_module_imports_itself_by_a_detour() -> None:
    assert not circle({module: inner(path) - {module, "__init__"} for module, path in MODULES.items()})


def test_no_package_imports_itself_by_a_detour() -> None:
    """Packages inside a package, and its own modules taken together; imports for the type checker count."""
    graph: dict[str, set[str]] = defaultdict(set)
    for module, path in MODULES.items():
        own = module.rpartition(".")[0] or module
        others = {other.rpartition(".")[0] or other for other in inner(path, typed=True)}
        graph[own] |= others - {own, "__init__"}
    assert {"train", "train.loop", "structures.masks"} <= set(graph)
    assert not circle(graph)


def test_this_test_sees_circles() -> None:
    assert circle({"a": ["b"], "b": ["c"], "c": []}) == ""
    assert circle({"d": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}) == "a -> b -> c -> a"


@pytest.mark.parametrize("library", ROOMS)
def test_libraries_stay_in_their_rooms(library: str) -> None:
    users = {m.split(".")[0] for m, path in MODULES.items() if any(i.split(".")[0] == library for i in imports(path))}
    assert users <= set(ROOMS[library])


def test_every_layer_is_real() -> None:
    present = {module.split(".")[0] for module in MODULES}
    assert {unit for layer in LAYERS for unit in layer} == present


def test_every_package_stands_in_the_picture() -> None:
    page = (ROOT.parent / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"[a-z_]+", page.partition("## What imports what")[2].partition("\n## ")[0]))
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= shown


def test_this_test_sees_imports(tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
        "def late():\n    import compressor.commands.prune\n    from compressor.operators import table\n"
    )
    assert "torch" not in set(imports(path))
    assert inner(path) == {"commands.prune", "operators.__init__", "operators.table"}


# ---- what is loaded -----------------------------------------------------------------------------------------


IMPORTS = """
from pathlib import Path
from compressor.config import PruneSettings
from compressor.commands.prune_file import prune_file
"""


def loaded(code: str) -> set[str]:
    """Top-level modules in a fresh interpreter after running ``code``."""
    tail = "\nimport sys\nprint('LOADED', *sorted({m.split('.')[0] for m in sys.modules} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True, timeout=120)
    return set(next(line for line in done.stdout.splitlines() if line.startswith("LOADED")).split()[1:])


def test_a_bare_cut_never_loads_torch(tmp_path: Path) -> None:
    source, output = MODELS / "digits-resnet.onnx", tmp_path / "small.onnx"
    bare = "PruneSettings(ratio=0.5, recover='none')"
    found = loaded(f"{IMPORTS}prune_file(Path({str(source)!r}), Path({str(output)!r}), {bare})")
    assert "torch" not in found
    assert "onnxruntime" in found, "the proof ran"
    assert output.is_file()


def test_pruning_without_proof_loads_no_runtime(tmp_path: Path) -> None:
    source = MODELS / "digits-resnet.onnx"
    bare = "PruneSettings(ratio=0.5, verify=False, recover='none')"
    found = loaded(f"{IMPORTS}prune_file(Path({str(source)!r}), None, {bare})")
    assert not {"torch", "onnxruntime"} & found


def test_importing_the_package_is_cheap() -> None:
    assert not {"torch", "onnxruntime", "onnx", "onnx_ir", "numpy"} & loaded("import compressor")


def test_the_command_line_loads_nothing_heavy() -> None:
    assert not {"torch", "onnxruntime", "onnx", "onnx_ir"} & loaded("import compressor.cli.main")
