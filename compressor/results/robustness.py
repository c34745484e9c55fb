"""What a robustness measurement reports: likeness to the original and accuracy, where inputs are as they might come."""

from __future__ import annotations

from pydantic import Field

from compressor.core.formatting import percentage
from compressor.results.base import Record
from compressor.results.records import AVAILABLE, ModelStats, RunDocument


class Estimate(Record):
    """A mean over samples with its interval; null in JSON where it is no number, as the ends from one sample may be."""

    value: float
    low: float
    high: float


class RobustModel(Record):
    """One of the models."""

    label: str = Field(description="A for the original, B and so on for the others.")
    stats: ModelStats
    saved: float = Field(description="Share of the original that compression saves; negative where it adds.")


class InputRow(Record):
    """How one input was disturbed."""

    name: str
    deviation: float | None = Field(description="Standard deviation that noise is measured in; null without noise.")
    pixels: str | None = Field(description="How pixels are known; null where it was not corrupted as an image.")


class LikenessRow(Record):
    """How like the original's one output of one model is, under one shift of the inputs."""

    model: str
    output: str
    shift: str = Field(description="clean, noise, a corruption, or corruptions for the mean of all.")
    level: float | None = Field(
        description="Amplitude of noise in standard deviations, severity of a corruption; null for the mean of all."
    )
    agreement: Estimate | None = Field(description="Share with the same class as the original; null without classes.")
    distance: Estimate | None = Field(description="Norm of the difference of class probabilities; null without.")
    relative_error: Estimate = Field(
        description="Norm of the difference over the norm of the original's output, of the part that moved most."
    )


class ShiftedAccuracy(Record):
    """How often one model is right under one shift of the inputs; needs labels."""

    model: str
    shift: str
    level: float | None
    accuracy: Estimate
    lost: Estimate | None = Field(description="Accuracy of the original less this one's; null for the original.")
    excess_error: Estimate | None = Field(
        description="How much more the shift costs this model than the original; null for the original."
    )


class PotentialRow(Record):
    """The largest share saved among models that lose no more accuracy than the margin, under one shift."""

    shift: str
    level: float | None
    value: float = Field(description="0 where only the original is within the margin.")
    low: float = Field(description="The same, where the whole interval of the loss has to be within the margin.")
    high: float = Field(description="The same, where the interval of the loss has to reach into the margin.")
    model: str | None = Field(description="Which model it is; null for the original.")


class LeftOut(Record):
    """What was not measured."""

    what: str
    reason: str


class RobustnessReport(RunDocument):
    """The result of holding compressed models against their original under noise and corruptions."""

    schema_name: str = Field(default="onnx-compressor.robustness/1", alias="schema")
    models: list[RobustModel]
    inputs: list[InputRow]
    source: str = Field(description="Where samples come from: the data, or random numbers.")
    samples: int
    available: int | None = Field(default=None, description=AVAILABLE)
    draws: int = Field(description="How often noise was drawn for each sample.")
    confidence: float = Field(description="Of all intervals.")
    margin: float = Field(description="Accuracy that may be lost without harm.")
    compression: str = Field(description="What the share saved is counted in.")
    likeness: list[LikenessRow]
    accuracy: list[ShiftedAccuracy] = Field(description="Empty without labels.")
    potential: list[PotentialRow] = Field(description="Empty without labels.")
    left_out: list[LeftOut]

    def headline(self) -> list[tuple[str, str]]:
        """Of each model what is saved, and how often it still agrees with the original on clean inputs."""
        rows = [("samples", f"{self.samples} ({self.source})")]
        for model in self.models[1:]:
            clean = [row for row in self.likeness if row.model == model.label and row.shift == "clean"]
            agreed = [f"{percentage(row.agreement.value)} agreement" for row in clean if row.agreement is not None]
            saved = f"{model.saved:.0%} of {self.compression} saved"
            rows.append((f"model {model.label}", ", ".join([saved, *agreed])))
        return rows
