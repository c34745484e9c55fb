"""A reader finds every room: docs/how-it-works.md names the folders, and the modules where the run goes through."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "compressor"
ROWS = (REPOSITORY / "docs/how-it-works.md").read_text(encoding="utf-8").split("## Every room")[1].splitlines()


def named(row: str) -> set[str]:
    return set(re.findall(r"`([\w/]+)`", row))


@pytest.mark.parametrize(
    "room",
    [
        "graph/ir",
        "graph/tensors",
        "graph/sizes",
        "graph/form",
        "graph/disk",
        "channels",
        "pruning",
        "pruning/budgets",
        "pruning/cut",
        "pruning/proofs",
        "pruning/proofs/runs",
        "pruning/proofs/outputs",
        "pruning/proofs/graphs",
        "steps",
        "steps/prune",
        "train",
    ],
)
def test_modules_that_a_run_goes_through_are_named(room: str) -> None:
    listed = set().union(*(named(row) for row in ROWS if row.startswith(f"| `{room}/`")))
    there = {path.stem for path in (PACKAGE / room).glob("*.py")} - {"__init__"}
    assert {name for name in listed if not name.endswith("/")} - there - {f"{room}/"} == set(), "these are gone"
    assert there - listed == set(), "these are missing"


def test_folders_are_named() -> None:
    there = {f"{path.relative_to(PACKAGE)}/" for path in PACKAGE.rglob("*") if path.is_dir() and any(path.glob("*.*"))}
    there = {folder for folder in there if "__pycache__" not in folder}
    assert there == {name for row in ROWS for name in named(row) if name.endswith("/")}
