"""What the run of a recipe reports: a row for every stage with the stage's own report, and the gates."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from compressor.core.formatting import metric_change
from compressor.results.base import PathText, Record
from compressor.results.detail import AccuracyRow, UndoneRow
from compressor.results.records import Document, GateRow, ModelStats, headline_sizes

StageState = Literal["ran", "kept", "to run"]


class StageRow(Record):
    """One stage: what it made and measured."""

    name: str
    state: StageState = Field(description="ran; kept, as it had finished before; to run, with --dry-run.")
    folder: PathText | None = Field(default=None, description="Where its result is kept; null where there is none.")
    seconds: float | None = Field(default=None, description="That it took when it ran.")
    model: ModelStats | None = Field(default=None, description="What it made; null for stages that only look.")
    accuracy: float | None = Field(
        default=None, description="Of that model, by the metric of the recipe; null where nothing was measured."
    )
    speed_up: float | None = Field(default=None, description="Over the model of the recipe, at the first batch size.")
    gates: list[GateRow] = Field(default=[])
    report: dict[str, Any] | None = Field(default=None, description="What its command reports.")


class RecipeReport(Document):
    """The result of running a recipe."""

    schema_name: str = Field(default="onnx-compressor.recipe/1", alias="schema")
    recipe: PathText
    input: ModelStats
    output: ModelStats | None = Field(default=None, description="The result that was put in place; else null.")
    accuracy: AccuracyRow | None = Field(
        default=None, description="Of the model and the last one; null where nothing was measured."
    )
    stages: list[StageRow]
    gates: list[GateRow] = Field(
        default=[], description="Of the whole recipe, once all stages are through; a stage has its own in its row."
    )
    failed: str | None = Field(default=None, description="The gate or comparison that was missed; null when none was.")
    seconds: float = Field(description="Of this run; stages that were kept took theirs before.")

    @property
    def every_gate(self) -> list[GateRow]:
        """Those of the stages, then those of the recipe."""
        return [gate for stage in self.stages for gate in stage.gates] + self.gates

    @property
    def undone(self) -> list[UndoneRow]:
        """Training of stages that was thrown away."""
        return [
            row.model_copy(update={"what": f"stage {stage.name!r}: {row.what}"})
            for stage in self.stages
            for row in map(UndoneRow.model_validate, (stage.report or {}).get("undone", []))
        ]

    @property
    def ran(self) -> dict[str, Any]:
        """What ran in each stage where settings leave it open."""
        return {stage.name: stage.report["ran"] for stage in self.stages if stage.report and stage.report.get("ran")}

    def headline(self) -> list[tuple[str, str]]:
        """Sizes, accuracy, stages and the verdict."""
        rows = headline_sizes(self.input, self.output)
        row = self.accuracy
        if row is not None:
            rows.append((row.metric, metric_change(row.before, row.after, share=row.share)))
        rows.append(("stages", ", ".join(f"{row.name} {row.state}" for row in self.stages)))
        return [*rows, ("gates", f"missed: {self.failed}" if self.failed else f"{len(self.every_gate)} kept")]
