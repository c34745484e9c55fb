"""What docstrings and pages refer to is there: a reference to a name that moved sends readers nowhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path

import onnx
import pytest

import compressor
from compressor.operators.table import RULES

ROOT = Path(compressor.__file__).parent
REFERENCE = re.compile(r":(?:mod|func|class|data|meth|attr):`~?([\w.]+)`")
OPTIONAL = {"compressor.adapters.olive": "olive"}
"""Module -> the library without which it cannot be imported."""
TEXTS = {path: path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))}
PATHS = [path for path, text in TEXTS.items() if REFERENCE.search(text)]


def references(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each reference of a text, behind the class that it stands in: '' outside of classes."""
    owner = {id(node): own.name for own in ast.walk(tree) if isinstance(own, ast.ClassDef) for node in ast.walk(own)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from ((owner.get(id(node), ""), name) for name in REFERENCE.findall(node.value))


def there(module: str, name: str) -> bool:
    """Is ``name`` a module, an object of ``module``, or a documented attribute of one?"""
    if name.startswith("compressor."):
        # The longest part of the name that is a module; a stub exists for the type checker alone.
        parts = name.split(".")
        files = [ROOT.parent.joinpath(*parts[:k]) for k in range(len(parts), 0, -1)]
        end = next(k for k, file in enumerate(files) if file.is_dir() or list(file.parent.glob(f"{file.name}.py*")))
        module, name = ".".join(parts[: len(parts) - end]), ".".join(parts[len(parts) - end :])
    if not name:
        return True
    found = import_module(module)
    for part in name.split("."):
        if not hasattr(found, part):
            return bool(re.search(rf"^ +{part}: ", getattr(found, "__doc__", "") or "", re.MULTILINE))
        found = getattr(found, part)
    return True


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_references_resolve(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    if (library := OPTIONAL.get(module)) is not None:
        pytest.importorskip(library)
    found = set(references(ast.parse(TEXTS[path])))
    assert not {name for own, name in found if not there(module, name) and not (own and there(module, f"{own}.{name}"))}


def test_this_test_sees_references() -> None:
    tree = ast.parse('def f(): ":func:`a.b`"\nclass C:\n    ":attr:`d`"')
    assert sorted(references(tree)) == [("", "a.b"), ("C", "d")]
    assert there(__name__, "ROOT")
    assert there(__name__, "compressor.errors.ModelError")
    assert not there(__name__, "compressor.errors.Gone")


REPOSITORY = ROOT.parent
PAGES = [REPOSITORY / name for name in ("CONTRIBUTING.md", "README.md")] + sorted((REPOSITORY / "docs").rglob("*.md"))
FILE = re.compile(r"`([\w./-]+\.py)\b")
FOLDER = re.compile(r"`((?:compressor|tests|docs|benchmarks|examples)/[\w./-]*)`")
CLASS = re.compile(r"`([A-Z][a-z]\w*[a-z])`")
READERS_OWN = {"tracking.py"}
"""Files that a page has its reader write."""
ELSEWHERE = {"DataLoader", "ReorderOutput", "Interrupted", "Terminated", "None", "Proof"}
"""Names that are no classes here: of torch, ONNX Runtime and Python, and words that a run prints."""


@cache
def files() -> frozenset[str]:
    """Every file of the repository below its folders, and each path behind any of its folders."""
    found = [
        REPOSITORY.joinpath(name).rglob("*.py") for name in ("compressor", "tests", "docs", "benchmarks", "examples")
    ]
    parts = [path.relative_to(REPOSITORY).parts for path in chain.from_iterable(found)]
    return frozenset("/".join(path[k:]) for path in parts for k in range(len(path)))


@cache
def classes() -> frozenset[str]:
    """Names of all classes of the package and the tests."""
    texts = [*TEXTS.values(), *(path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests").rglob("*.py"))]
    return frozenset(name for text in texts for name in re.findall(r"^ *class (\w+)", text, re.MULTILINE))


def gone(text: str) -> set[str]:
    """Files, folders and classes that a page names in backticks and that are nowhere."""
    operators = {name for _, name in RULES} | {schema.name for schema in onnx.defs.get_all_schemas()}
    return (
        (set(FILE.findall(text)) - files() - READERS_OWN)
        | {folder for folder in FOLDER.findall(text) if not (REPOSITORY / folder).exists()}
        | (set(CLASS.findall(text)) - classes() - operators - ELSEWHERE)
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_what_pages_name_is_there(page: Path) -> None:
    assert gone(page.read_text(encoding="utf-8")) == set()


def test_this_test_sees_what_pages_name() -> None:
    assert gone(
        "`steps/gone.py`, `steps/gates.py: limits`, `tests/gone/`, `tests/cli/`, `Heard`, `Applies`, `Conv`"
    ) == {
        "steps/gone.py",
        "tests/gone/",
        "Heard",
    }
