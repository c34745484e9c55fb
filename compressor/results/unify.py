"""What weight unification reports, with stable JSON keys."""

from pydantic import Field

from compressor.core.default_metric import DEFAULT_METRIC
from compressor.core.formatting import metric_change
from compressor.results.base import Record
from compressor.results.detail import LatencyResult, UndoneRow
from compressor.results.records import (
    UNDONE,
    ModelStats,
    ProofResult,
    RunDocument,
    headline_sizes,
    proof_in_words,
    targets_reached,
)


class UnifiedRow(Record):
    """A weight whose blocks were unified or pruned."""

    name: str
    label: str = Field(default="", description="What it is called: its name, or the module that reads it.")
    shape: list[int]
    block: str = Field(description="Outputs x inputs x taps of one block; values:K of a codebook.")
    weights: int
    blocks: int
    unified: int = Field(description="Blocks whose weights share one absolute value.")
    pruned: int = Field(description="Blocks that are zero.")
    free: int = Field(description="Blocks that were left as they are.")
    values: int = Field(description="Different absolute values in the weight.")
    error: float = Field(description="Norm of the change, as a share of the norm of the weight.")
    bits: float = Field(description="Free weights, shared values, signs, entropy of the kinds of blocks.")
    stored: int = Field(description="Bytes of the packed parts.")
    macs: int = Field(description="Multiply-accumulates of its nodes before.")
    multiplications: int = Field(description="Multiplications that the structure leaves; runtimes do not use it.")
    additions: int = Field(description="Additions that the structure leaves; runtimes do not use it.")


class LeftRow(Record):
    """An initializer that was left alone, and why."""

    name: str
    label: str = Field(default="", description="What it is called: its name, or the module that reads it.")
    weights: int
    reason: str


class PermutedRow(Record):
    """A group of channels that was reordered before its weights were unified."""

    name: str
    channels: int
    before: float = Field(description="Squared change by unifying all blocks, as shares of its layers' norms, summed.")
    after: float = Field(description="The same in the new order.")


class ResidualRow(Record):
    """How far weights are from unified ones, as shares of their norms."""

    step: int
    strength: float = Field(description="Of the pull, in the unit of the method; for ADMM rho.")
    primal: float = Field(description="‖W - Z‖ / ‖W‖ with unified Z, root mean square over weights.")
    dual: float = Field(description="The same of the change of Z since the row before; 0 for methods without one.")


class TrainingRow(Record):
    """How weights were trained to be unified."""

    method: str
    epochs: int = Field(description="Towards unified weights.")
    retrain_epochs: int = Field(description="Along them, with the values shared.")
    residuals: list[ResidualRow] = Field(
        default=[], description="On the way there; empty where that part of the training was undone."
    )


class UnifyAccuracy(Record):
    """One metric on samples that were set aside."""

    before: float = Field(description="Of the original.")
    one_shot: float | None = Field(default=None, description="Unified without training, where training followed.")
    after: float = Field(description="Of the result as it is written.")
    samples: int | None = Field(description="Samples it was measured on.")
    metric: str = Field(default=DEFAULT_METRIC, description="As --eval names it.")
    share: bool = Field(default=True, description="Values are shares between 0 and 1.")


class UnifyReport(RunDocument):
    """The result of unifying the weights of one model."""

    schema_name: str = Field(default="onnx-compressor.unify/1", alias="schema")
    input: ModelStats
    output: ModelStats | None = None
    layers: list[UnifiedRow]
    left: list[LeftRow]
    permuted: list[PermutedRow] = Field(default=[])
    training: TrainingRow | None = Field(default=None, description="Null where weights were unified in one shot.")
    undone: list[UndoneRow] = Field(default=[], description=UNDONE)
    accuracy: UnifyAccuracy | None = Field(default=None, description="Null without labels.")
    latency: LatencyResult | None = Field(default=None, description="Of the files; null when not measured.")
    ideal_bytes: int = Field(description="The whole model by `bits` of its layers; all else as it is stored.")
    gzip_bytes: int | None = Field(default=None, description="The written files after gzip.")
    output_error: float | None = Field(
        default=None,
        description="Largest change of an output on random inputs: norm of the difference from the original's, as a "
        "share of the norm of the original's. Null when not run.",
    )
    proof: ProofResult | None = Field(
        default=None, description="The written model against one with the unified weights as plain tensors."
    )
    exact: bool | None = Field(
        default=None,
        description="Whether ONNX Runtime unpacks every weight bit by bit to the unified one, with its graph "
        "optimisations and without, and every block satisfies its constraint. Null when not run.",
    )

    def headline(self) -> list[tuple[str, str]]:
        """Sizes, layers, accuracy and proof."""
        rows = headline_sizes(self.input, self.output)[:1]
        rows += [("target", text) for text in targets_reached(self.settings, self.input, self.output)]
        rows.append(("layers", f"{len(self.layers)} unified, {len(self.left)} left alone"))
        if self.accuracy is not None:
            found = self.accuracy
            rows.append((found.metric, metric_change(found.before, found.after, share=found.share)))
        if self.output_error is not None:
            rows.append(("outputs on random inputs", f"moved by {self.output_error:.2%}"))
        return [*rows, ("proof", proof_in_words(self.proof))]
