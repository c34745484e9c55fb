"""Every name that a setting takes is described in the page about it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compressor.config import choices

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    "CRITERIA": "criteria",
    "RECOVERIES": "recovery",
    "METRICS": "metrics",
    "STRUCTURES": "structures",
    "METHODS": "unification",
    "REGULARIZERS": "sparsity-training",
    "CORRUPTIONS": "robustness",
    "STAGES": "recipes",
}


@pytest.mark.parametrize("table", PAGES)
def test_every_name_stands_in_its_page(table: str) -> None:
    text = (DOCS / f"{PAGES[table]}.md").read_text(encoding="utf-8")
    missing = [name for name in getattr(choices, table) if not re.search(rf"`[^`]*\b{re.escape(name)}\b[^`]*`", text)]
    assert not missing, f"describe them in docs/{PAGES[table]}.md"


def test_every_table_has_a_page() -> None:
    assert {name for name, found in vars(choices).items() if isinstance(found, choices.Choices)} == PAGES.keys()
