"""What a sensitivity sweep reports: for every group, what each ratio costs when that group alone is pruned."""

from __future__ import annotations

import sys
from math import inf, isinf, sqrt
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from compressor.core.default_metric import DEFAULT_METRIC
from compressor.errors import UsageError
from compressor.results.base import Record
from compressor.results.detail import SyntheticRow
from compressor.results.records import AVAILABLE, ModelStats, RunDocument

NOT_READABLE = "{path} is no readable sensitivity report{fact}; make one with onnx-compress sensitivity"

FARTHEST = sqrt(sys.float_info.max)
"""Of distances that are not infinite: they are roots of numbers, and are squared again to be added up."""


def _measurable(distance: float) -> float:
    if distance > FARTHEST and not isinf(distance):
        raise PydanticCustomError("measurable", "more than any distance that is measured")
    return distance


class OutputChange(Record):
    """How far a changed model is from the original."""

    distance: Annotated[
        float, BeforeValidator(lambda value: inf if value is None else value), AfterValidator(_measurable)
    ] = Field(
        ge=0,
        description="‖y - y₀‖ / ‖y₀‖ over all samples, of the part of an output that moved most; null where it is "
        "infinite.",
    )
    agreement: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of rows whose largest entry is at the same place; for outputs [n, classes].",
    )
    accuracy: float | None = Field(
        default=None, description="The report's metric; null where nothing was measured, such as without labels."
    )


class Point(OutputChange):
    """One group with so many channels less, everything else whole."""

    removed: int = Field(ge=1, description="Channels that are gone.")
    macs: float = Field(
        ge=0, allow_inf_nan=False, description="Share of the model's multiply-accumulates that is left."
    )
    params: float = Field(ge=0, allow_inf_nan=False, description="Share of the model's parameters that is left.")


class GroupSensitivity(Record):
    """What one group costs."""

    name: str
    channels: int = Field(ge=1)
    points: list[Point] = Field(description="By rising number of removed channels.")
    safe: int = Field(
        ge=0, description="Most channels that can go so that this and everything less stays within the limit."
    )

    @property
    def at_safe(self) -> Point | None:
        """The point of ``safe``; None where nothing can go."""
        return next((p for p in self.points if p.removed == self.safe), None)


class SensitivityReport(RunDocument):
    """The sensitivity of every group that can be pruned."""

    schema_name: str = Field(default="onnx-compressor.sensitivity/1", alias="schema")
    input: ModelStats
    groups: list[GroupSensitivity]
    accuracy: float | None = Field(default=None, description="The metric of the original; null where not measured.")
    metric: str = Field(default=DEFAULT_METRIC, description="What accuracy is, as --eval names it.")
    share: bool = Field(default=True, description="Values of the metric are shares between 0 and 1.")
    samples: int = Field(description="Samples that were measured on.")
    available: int | None = Field(default=None, description=AVAILABLE)
    synthetic: SyntheticRow | None = Field(default=None, description="What they are where no data was given.")
    limit: str = Field(description="What is called safe, in words.")
    measured: int = Field(description="Measurements of this run.")
    remembered: int = Field(description="Measurements that an earlier run had made.")
    jobs: int = Field(description="Measurements at a time.")

    @staticmethod
    def load(path: Path) -> SensitivityReport:
        """Reads a saved report.

        Raises:
            UsageError: it cannot be read, is something else, or holds numbers that were never measured.
        """
        try:
            report = SensitivityReport.model_validate_json(path.read_text(encoding="utf-8"), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            value = "" if first["type"] == "missing" else f" is {first['input']!r:.40}"
            fact = f": {place}{value}, {first['msg'].lower()}" if place else ""
            raise UsageError(NOT_READABLE.format(path=path, fact=fact)) from None
        except (OSError, UnicodeDecodeError):
            raise UsageError(NOT_READABLE.format(path=path, fact="")) from None
        for row in report.groups:
            counts = [point.removed for point in row.points]
            if counts != sorted(set(counts)) or max([row.safe, *counts]) > row.channels:
                fact = f": channels of group {row.name!r} do not rise from point to point up to its {row.channels}"
                raise UsageError(NOT_READABLE.format(path=path, fact=fact))
        return report

    def headline(self) -> list[tuple[str, str]]:
        """How much was measured, and how many channels can go group by group."""
        safe, channels = sum(row.safe for row in self.groups), sum(row.channels for row in self.groups)
        return [
            ("groups", f"{len(self.groups)} with {channels} channels"),
            ("measured", f"{self.measured + self.remembered} changes on {self.samples} samples"),
            (f"safe alone, {self.limit}", f"{safe} channels"),
        ]


def ledger_of(output: Path) -> Path:
    """Where the measurements of a report are remembered: ``sens.json`` and ``sens.jsonl``."""
    return output.with_suffix(".jsonl") if output.suffix == ".json" else output.with_name(output.name + ".jsonl")
