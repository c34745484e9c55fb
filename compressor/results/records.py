"""What a run reports, with stable keys: the JSON document of every command.

Keys come out in the order of the fields below, those that all documents share last; dictionaries keep the order in
which they were filled.
MACs are multiply-accumulates (one multiplication and one addition together), not FLOPs.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from compressor.core.formatting import metric_change, quantity
from compressor.results.base import PathText, Record, Summarised
from compressor.results.detail import (
    AccuracyRow,
    Curve,
    Environment,
    LatencyResult,
    LayerRow,
    OutputsRow,
    RecoveryRow,
    SyntheticRow,
    TrainabilityRow,
    UndoneRow,
)
from compressor.results.environment import environment
from compressor.version import VERSION


class ModelStats(Record):
    """Size of one model, read back from its file where there is one."""

    path: PathText | None = Field(description="The file, with its weights; null when none was written.")
    bytes: int = Field(description="Size of the file and its external data.")
    params: int = Field(description="Real numbers that its weights stand for (docs/measuring.md).")
    macs: int = Field(
        description="Multiply-accumulates of one sample, open dimensions as in the data, or as bound for the proof."
    )
    macs_at: dict[str, list[int]] = Field(
        default={},
        description="Shape by input at which multiply-accumulates are counted, of inputs with sizes that are open "
        "beside the number of samples.",
    )
    nodes: int = Field(description="Nodes of the main graph.")
    opset: int = Field(description="Version of the standard operator set.")
    uncounted: int = Field(0, description="Nodes that may multiply and whose multiply-accumulates are not known.")
    also: list[PathText] = Field(default=[], description="Further files of the same model, which the numbers count in.")


class GateRow(Record):
    """A limit that was set on a result, what was measured, and the verdict."""

    stage: str = Field(default="", description="Of a recipe, the stage that sets it; else empty.")
    name: str = Field(description="max_drop, max_size, max_distance, min_speedup or max_latency.")
    limit: float = Field(description="Share, bytes, factor or milliseconds; of a metric that is no share, its unit.")
    measured: float | None = Field(description="In the same unit; null where nothing was.")
    of: str = Field(default="", description="What was measured, where the name does not say it.")
    share: bool = Field(default=True, description="Limit and measurement are shares, of what has a unit too.")
    missed: str = Field(default="", description="How it was missed, in a clause; empty where it was not.")
    unsure: str = Field(
        default="", description="Why samples are too few to tell whether it is met, in a clause; empty where they do."
    )

    @property
    def verdict(self) -> str:
        """``met``, ``met, unsure``, ``MISSED``, or ``not measured``."""
        if self.missed:
            return "MISSED"
        return "not measured" if self.measured is None else f"met{', unsure' if self.unsure else ''}"


class ScoreHistogram(Record):
    """What the channels of a group were ranked by, and which of them went: counts in bins of equal width."""

    ranked_by: str = Field(description="The criterion, or loss: what outputs lose when the channel goes.")
    low: float = Field(description="Lower end of the first bin.")
    high: float = Field(description="Upper end of the last bin.")
    logarithmic: bool = Field(default=False, description="Bins are equally wide on a logarithmic scale.")
    kept: list[int] = Field(description="Channels of each bin that stayed.")
    removed: list[int] = Field(description="Channels of each bin that went.")


class GroupRow(Record):
    """Channels that are kept or removed together."""

    name: str
    channels: int = Field(description="Channels before.")
    removed: int
    axes: list[str] = Field(description="The weight axes that lose a slice with each channel.")
    file: str = Field(default="", description="The file that the group is named in, of a model of several.")
    scores: ScoreHistogram | None = Field(
        default=None, description="What channels were ranked by, in the last step that scored them; null in a replay."
    )


class FrozenRow(Record):
    """Channels that had to stay, and why."""

    value: str
    axis: int | None = Field(description="Axis of the value; null when the whole value is meant.")
    node: str
    reason: str
    channels: int


class OpaqueRow(Record):
    """A node that no rule explains, so that all it touches stays."""

    operator: str = Field(description="With its domain, unless that is ONNX's own.")
    node: str
    reason: str = Field(description="There is no rule, or its rule declines this form, or was not believed.")
    channels: int = Field(description="Channels that stop here, of those that nothing stopped before.")
    weights: int = Field(description="Weights that only such nodes read, this one first, and that stay whole.")


class ChangedLayerRow(Record):
    """A layer that became something cheaper, and what it was before, with the channels that it had then."""

    node: str
    became: str = Field(description="Such as: rank 12 of 32, inputs thinned.")
    macs_before: int = Field(description="Multiply-accumulates of one sample.")
    macs_after: int
    params_before: int = Field(description="Elements of its weight.")
    params_after: int
    lowered: bool = Field(
        default=True, description="Whether it is written as something cheaper; otherwise zeros stay in its weight."
    )


class SavingRow(Record):
    """What a layer could become by one structure, at a ratio."""

    structure: str = Field(description="As of --structure.")
    node: str
    becomes: str = Field(description="Such as: rank 12 of 32, inputs thinned.")
    lowered: bool = Field(description="Whether less would be computed; otherwise MACs are those of what is no zero.")
    macs_before: int = Field(description="Multiply-accumulates of one sample.")
    macs_after: int
    bytes_before: int = Field(description="Of its weight in the file.")
    bytes_after: int


class NotProvedRow(Record):
    """What the proof says nothing about, and why."""

    group: str = Field(description="A group of channels, or 'preparation'.")
    reason: str


LOOSE = 0.05
"""Share of the magnitude of its channel by which rounding moves a number of which a comparison shows little."""


class ProofResult(Record):
    """How far the smaller model is from the original with the removed channels masked."""

    max_rel_err: float = Field(description="Largest error, as a share of the largest value of its output.")
    max_abs_err: float
    tolerance: float = Field(description="Largest relative error allowed.")
    passed: bool
    provider: str
    inputs: list[dict[str, list[int]]] = Field(description="Shape by input name, for each run compared.")
    masked_statistics: bool = Field(
        description="Whether the reference takes norms and means over the kept channels only."
    )
    reference: str = Field(
        default="", description="What the result was held against; empty: the original with the same channels masked."
    )
    level: str = Field(default="full", description="full, or quick: the result alone was compared.")
    noticed: int = Field(default=0, description="Wrong cuts, made on purpose, that the comparison noticed.")
    not_proved: list[NotProvedRow] = Field(
        default=[], description="Groups where a wrong cut would not have been noticed, which nothing is claimed of."
    )
    shifted_together: list[str] = Field(
        default=[],
        description="Groups, or changed layers, whose wrong cut was noticed along with others', not by itself.",
    )

    def verdict(self, reference: str, *, several: bool = False) -> str:
        """What a comparison with ``reference`` showed, as the end of a sentence; ``several`` is of a plural."""
        ending = "" if several else "s"
        if not self.passed:
            return f"differ{ending} from {reference}"
        if self.tolerance <= LOOSE:
            return f"equal{ending} {reference}"
        allowed = f"within {self.tolerance:.0%} of the outputs' range, as rounding alone may move them so far"
        return f"agree{ending} with {reference} {allowed}"


def headline_sizes(before: ModelStats, after: ModelStats | None) -> list[tuple[str, str]]:
    """The lines of a headline on two models: bytes, parameters and MACs, each of the first and of the second."""
    rows = [
        ("file", before.bytes, None if after is None else after.bytes, "B"),
        ("parameters", before.params, None if after is None else after.params, ""),
        ("MACs", before.macs, None if after is None else after.macs, ""),
    ]
    return [
        (name, quantity(one, unit) + ("" if two is None else f" -> {quantity(two, unit)}"))
        for name, one, two, unit in rows
    ]


def targets_reached(settings: Mapping[str, Any], before: ModelStats, after: ModelStats | None) -> list[str]:
    """What each target asked to keep, and what is left, in a clause: a share, or bytes where bytes were asked for."""
    found = []
    for name, key, what in (("macs", "macs", "MACs"), ("params", "params", "parameters"), ("size", "bytes", "file")):
        asked = settings.get(f"target_{name}")
        if asked is not None and after is not None:
            left, whole = getattr(after, key), 1 if asked > 1 else max(1, getattr(before, key))
            told = [quantity(round(n), "B") if asked > 1 else f"{n:.2%}" for n in (asked, left / whole)]
            found.append(f"{what} of {told[0]} asked for, {told[1]} reached")
    return found


def proof_in_words(proof: ProofResult | None, *, recovered: bool = False) -> str:
    """``passed, error 1.2e-07 of 1.0e-04``; ``none``.

    ``recovered`` says that weights changed afterwards.
    """
    if proof is None:
        return "none"
    verdict = f"{'passed' if proof.passed else 'failed'}{' before recovery' if recovered else ''}"
    norms = ", norms over the kept channels" if proof.masked_statistics else ""
    return f"{verdict}, error {proof.max_rel_err:.1e} of {proof.tolerance:.1e}{norms}"


_FIRST = ("schema_name", "version")
"""Fields of a document that stand in front."""


class Document(Summarised, Record):
    """Base of what a command prints: says which schema and version wrote it."""

    schema_name: str = Field(alias="schema")
    version: str = VERSION
    warnings: list[str] = Field(default=[])
    environment: Environment = Field(default_factory=environment, description="Versions, and the device that ran.")

    @model_serializer(mode="wrap")
    def _own_fields_first(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What documents share stands behind what one was made for, and settings, which alone fill a screen, last."""
        found: dict[str, Any] = handler(self)
        # Those of the base last.
        behind = [name for name in reversed(RunDocument.model_fields) if name in found and name not in _FIRST]
        return found | {name: found.pop(name) for name in sorted(behind, key="settings".__eq__)}

    def warned(self, warnings: Iterable[str]) -> Self:
        """A copy that has these warnings, too."""
        return self.model_copy(update={"warnings": [*self.warnings, *warnings]})

    def to_json(self) -> str:
        """JSON text with a final newline; infinities and NaN become null."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"

    def headline(self) -> list[tuple[str, str]]:
        """Name and value of the most important facts; the version where a document names none."""
        return [("version", self.version)]

    def __str__(self) -> str:
        return repr(self)


AVAILABLE = "Samples that there were to draw these from; null where they are made up."
RAN = (
    "What ran where settings leave it open (auto, defaults that follow from the model): values by setting, and under "
    "`training` those of each training, one after the other."
)
CHOSEN_ON_JUDGED = (
    "the best epoch was chosen on the samples that the result is judged on, so it may do a little worse on others"
)
"""What training that ends with the best epoch adds to numbers of the same samples."""
UNDONE = "Training that was thrown away as it was no better."


class RunDocument(Document):
    """Base of what a command prints that did some work."""

    seconds: dict[str, float] = Field(default={}, description="Time of each phase.")
    settings: dict[str, Any] = Field(default={}, description="What was asked for, defaults filled in.")
    ran: dict[str, Any] = Field(default={}, description=RAN)
    gates: list[GateRow] = Field(default=[], description="Every limit that was set on the result, and its verdict.")

    @property
    def done(self) -> dict[str, Any]:
        """The settings as they ran."""
        return {**self.settings, **self.ran}


class Report(RunDocument):
    """The result of pruning, cleaning or inspecting one model."""

    schema_name: str = Field(default="onnx-compressor.report/1", alias="schema")
    input: ModelStats
    output: ModelStats | None = Field(default=None, description="Null when the command makes no model.")
    groups: list[GroupRow] = Field(default=[])
    frozen: list[FrozenRow] = Field(default=[])
    opaque: list[OpaqueRow] = Field(default=[], description="Nodes that no rule explains; of `inspect`.")
    changed: list[ChangedLayerRow] = Field(
        default=[], description="Layers that became something cheaper; see --structure."
    )
    savings: list[SavingRow] = Field(
        default=[], description="What structures could save, of `inspect --structures`; empty when not asked for."
    )
    proof: ProofResult | None = None
    layers: list[LayerRow] = Field(
        default=[], description="Costs by node, in the order of the graph; of `prune`, timed with an HTML report."
    )
    recovery: list[RecoveryRow] = Field(default=[], description="Error by layer before and after recovery.")
    undone: list[UndoneRow] = Field(default=[], description=UNDONE)
    synthetic: SyntheticRow | None = Field(default=None, description="Made-up samples; null where none were used.")
    accuracy: list[AccuracyRow] = Field(default=[], description="Metrics of the original and the result.")
    outputs: OutputsRow | None = Field(
        default=None, description="How far outputs are from the original's; null where no samples were read."
    )
    trainability: TrainabilityRow | None = Field(default=None, description="Null when not asked for.")
    curves: list[Curve] = Field(
        default=[], description="Loss and accuracy by epoch, where there was training; robustness, where asked for."
    )
    latency: LatencyResult | None = Field(default=None, description="Null when not measured.")
    prunable_params: int | None = Field(
        default=None,
        description="Parameters of all initializers with an axis in a group; null when not counted.",
    )
    provenance: list[dict[str, str]] = Field(
        default=[], description="What the file says of the commands that wrote it, first to last; of `inspect`."
    )

    def headline(self) -> list[tuple[str, str]]:
        """Sizes, accuracy, outputs and proof."""
        rows = headline_sizes(self.input, self.output)
        if self.output is None:
            groups, channels = len(self.groups), sum(row.channels for row in self.groups)
            return [*rows, ("groups", f"{groups} with {channels} channels"), ("stay", f"{len(self.frozen)} places")]
        rows += [("target", text) for text in targets_reached(self.done, self.input, self.output)]
        rows += [(row.metric, metric_change(row.before, row.after, share=row.share)) for row in self.accuracy]
        rows += [] if self.outputs is None else self.outputs.headline()
        return [*rows, ("proof", proof_in_words(self.proof, recovered=self.recovered))]

    @property
    def trained(self) -> bool:
        """Was the model trained, and the training kept?"""
        return any(row.get("kept") for row in self.ran.get("training", []))

    @property
    def recovered(self) -> bool:
        """Did recovery change weights after the proof? With a reference of its own the proof is of what was written."""
        proof = self.proof
        return self.settings.get("recover", "none") != "none" and not (proof is not None and proof.reference)

    @property
    def unmeasured(self) -> bool:
        """Was no accuracy measured, and does no warning say why?"""
        return not self.accuracy and not any(text.startswith("accuracy was not measured") for text in self.warnings)


class InitializerChange(Record):
    """An initializer that differs between two models; equal shapes mean that its values differ."""

    name: str
    shape_a: list[int] | None = Field(description="Null when the first model does not have it.")
    shape_b: list[int] | None = Field(description="Null when the second model does not have it.")


class OperatorChange(Record):
    """How often two models use an operator."""

    op_type: str
    count_a: int
    count_b: int


class DiffReport(Document):
    """What differs between two models."""

    schema_name: str = Field(default="onnx-compressor.diff/1", alias="schema")
    a: ModelStats
    b: ModelStats
    same_signature: bool = Field(description="Inputs and outputs agree in name, order, type and shape.")
    initializers: list[InitializerChange] = Field(default=[])
    operators: list[OperatorChange] = Field(default=[])
    layers: list[LayerRow] = Field(
        default=[], description="Costs by node, in the order of the first graph; empty when not asked for."
    )

    def headline(self) -> list[tuple[str, str]]:
        """Sizes, and how much differs."""
        signature = "the same" if self.same_signature else "differ"
        changes = f"{len(self.initializers)} differ"
        return [*headline_sizes(self.a, self.b), ("inputs and outputs", signature), ("initializers", changes)]
