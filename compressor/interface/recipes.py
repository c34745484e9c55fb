"""Recipes from Python: files as they are, and mappings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compressor.core.clock import Progress
from compressor.interface.call import with_result
from compressor.recipe.progress import ResolvedRecipe
from compressor.recipe.reading import parse_recipe, read_recipe
from compressor.recipe.run import RecipeOptions, run_recipe
from compressor.results.recipe import RecipeReport

HERE = Path("recipe")
"""Stands for a recipe that has no file, in the current folder."""


def recipe_from_python(
    recipe: str | os.PathLike[str] | Mapping[str, Any],
    changes: Sequence[str],
    work: Path | None,
    start: str | None,
    dry_run: bool,
    tell: Progress | None,
) -> RecipeReport:
    """Runs a recipe; see :func:`compressor.api.run`."""
    if isinstance(recipe, Mapping):
        resolved = ResolvedRecipe.of(HERE, parse_recipe(_plain(recipe), changes))
    else:
        resolved = ResolvedRecipe.of(Path(recipe), read_recipe(Path(recipe), changes))

    @contextmanager
    def phases() -> Iterator[Progress | None]:
        yield tell

    outcome = run_recipe(resolved, RecipeOptions(work, start, dry_run, tell or (lambda _: None), phases))
    with with_result(outcome.report):
        if outcome.error is not None:
            raise outcome.error
    return outcome.report


def _plain(value: Any) -> Any:
    """Nested mappings as dictionaries, paths as text."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return os.fspath(value) if isinstance(value, os.PathLike) else value
