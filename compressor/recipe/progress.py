"""A recipe with its paths: what is read, what is written, and whether it can be done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressor.config import BenchSettings, DataSettings, PruneSettings, RunSettings
from compressor.config.choices import STAGES
from compressor.config.recipe import DATA_SETTINGS, FILES, Recipe, read_by, stage_kind
from compressor.core import extras
from compressor.core.user_code import NAMED
from compressor.errors import UsageError


@dataclass(frozen=True)
class ResolvedRecipe:
    """A recipe whose paths are relative to the current folder.

    Attributes:
        path: of the recipe.
        original: the model it starts from.
        output: where the result goes.
        html: where its report goes.
        data: settings that all stages share.
        stages: settings by stage, in order.
        limits: gates of the result: of the file and its accuracy, and of its speed.
    """

    path: Path
    original: Path
    output: Path | None
    html: Path | None
    data: DataSettings
    stages: Mapping[str, RunSettings]
    limits: tuple[PruneSettings, BenchSettings]

    @staticmethod
    def of(path: Path, recipe: Recipe) -> ResolvedRecipe:
        """The recipe that was read from ``path``."""
        folder = path.parent
        return ResolvedRecipe(
            path=path,
            original=folder / recipe.model,
            output=None if recipe.output is None else folder / recipe.output,
            html=None if recipe.report is None else folder / recipe.report,
            data=recipe.model_copy(update=_located(recipe, folder)),
            stages={name: s.model_copy(update=_located(s, folder)) for name, s in recipe.settings().items()},
            limits=recipe.limits(),
        )

    def check(self, start: str | None = None) -> None:
        """For before any work: is there a place for the result, the data, torch, a measurement for every gate?

        Args:
            start: the stage that should be the first to run again.

        Raises:
            UsageError: one of these is missing.
        """
        if self.html is not None:
            extras.require("report", "jinja2")
        names = list(self.stages)
        makers = [name for name in names if STAGES[stage_kind(name)].makes_model]
        if makers and self.output is None:
            raise UsageError(f"{self.path}: stage {makers[0]!r} makes a model; say where it goes with the key output")
        if start is not None and start not in names:
            raise UsageError(f"--from {start}: the recipe has no such stage; it has {', '.join(names)}")
        for name, settings in self.stages.items():
            if STAGES[stage_kind(name)].trains(settings):
                extras.require(f"{self.path}: stage {name!r}", *extras.TRAINING_PACKAGES)
            for text in read_by(settings):
                if not NAMED.fullmatch(text) and not Path(text).exists():
                    raise UsageError(f"{self.path}: stage {name!r}: there is no data {text}; check the path")
            # Later stages would change the first file alone.
            if getattr(settings, FILES, ()) and name != makers[-1]:
                raise UsageError(f"{self.path}: stage {makers[-1]!r} makes a model of one file; put {name!r} last")
        # A measurement before the last model says nothing about the result.
        last = names.index(makers[-1]) if makers else 0
        speed = [gate for gate in ("min_speedup", "max_latency") if getattr(self.limits[1], gate) is not None]
        if speed and not any(STAGES[stage_kind(name)].measures for name in names[last:]):
            raise UsageError(f"{self.path}: gates: {speed[0]} needs a stage bench after the last that makes a model")

    def sources(self) -> list[Path]:
        """Everything that is read, where it is a file."""
        texts = {text for settings in (self.data, *self.stages.values()) for text in read_by(settings)}
        return [self.path, self.original, *(Path(text) for text in sorted(texts) if Path(text).is_file())]


def _located(settings: RunSettings, folder: Path) -> dict[str, Any]:
    """The paths in some settings, by field, relative ones taken from ``folder``."""
    found: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        # An absolute path stays what it is when it is joined to a folder.
        if isinstance(value, Path):
            found[name] = folder / value
        elif name in DATA_SETTINGS and value is not None:
            found[name] = value if NAMED.fullmatch(value) else str(folder / value)
        elif name == FILES:
            found[name] = tuple(str(folder / text) for text in value)
    return found
