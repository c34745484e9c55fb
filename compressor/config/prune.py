"""Settings of a pruning run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from compressor.config.base import Count
from compressor.config.choices import CRITERIA
from compressor.config.tune import TuneSettings
from compressor.core.notation import parse_latency, parse_layer_ratios, parse_share, parse_size

DEFAULT_RATIO = 0.5
AMOUNTS = ("ratio", "target_macs", "target_params", "target_size", "target_latency")

if TYPE_CHECKING:
    CriterionName = str
else:
    CriterionName = CRITERIA.literal()
CRITERION: CriterionName = "consumers"
"""The criterion where none is asked for."""
CRITERION_WITH_DATA: CriterionName = "activation"
"""The same where data is given."""

RecoveryName = Literal["auto", "none", "bias", "lstsq", "finetune"]
RECOVERY: RecoveryName = "auto"
"""The recovery where none is asked for."""

_SIZE_SCHEMA = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        {"type": "integer", "exclusiveMinimum": 1},
        {"type": "string"},
    ]
}
RemovedShare = Annotated[float, Field(ge=0, lt=1), BeforeValidator(parse_share)]
KeptShare = Annotated[float, Field(gt=0, le=1), BeforeValidator(parse_share)]
Size = Annotated[float | int, BeforeValidator(parse_size), WithJsonSchema(_SIZE_SCHEMA)]


def _default_ratio(values: dict[str, Any]) -> float | None:
    chosen = values.get("lossless") or any(values.get(name) is not None for name in AMOUNTS)
    return None if chosen else DEFAULT_RATIO


def _default_criterion(values: dict[str, Any]) -> CriterionName:
    """What kept most accuracy where we measured (docs/criteria.md): activations if there are real ones."""
    return CRITERION_WITH_DATA if values.get("data") is not None else CRITERION


class PruneSettings(TuneSettings):
    """Settings of a pruning run; at most one of `AMOUNTS` is set, `ratio` when nothing is said."""

    target_macs: KeptShare | None = Field(
        default=None, description="Share of the multiply-accumulates (MACs) to keep, such as 0.5 or 50%."
    )
    target_params: KeptShare | None = Field(default=None, description="Share of the parameters to keep.")
    target_size: Size | None = Field(
        default=None, description="File size to keep: a share such as 50%, or bytes such as 500kB or 1.5MB."
    )
    target_latency: Annotated[str, BeforeValidator(parse_latency)] | None = Field(
        default=None,
        description="Time of a run on --provider, such as 2.5ms, or a share of the original's such as 0.6x; measured.",
    )
    batch: Count = Field(default=1, description="Samples in one run that is timed, where the model leaves that open.")
    threads: int = Field(
        default=0, ge=0, description="Threads inside an operator; 0 leaves it to ONNX Runtime, which takes all cores."
    )
    latency_cache: Path | None = Field(
        default=None,
        description="Folder that keeps measured operator times for later runs. Default: in the user's cache folder.",
    )
    lossless: bool = Field(
        default=False,
        description="Remove only channels that are zero already, so that no output changes; takes no ratio or target.",
    )
    ratio: RemovedShare | None = Field(
        default_factory=_default_ratio,
        description="Share of the channels to remove in each group; about (1-R)^2 of the parameters and MACs "
        f"stay. Default: {DEFAULT_RATIO}, unless a target is given.",
    )
    layer_ratio: Annotated[tuple[tuple[str, RemovedShare], ...], BeforeValidator(parse_layer_ratios)] = Field(
        default=(),
        description="Ratio of the groups with a node or weight that matches GLOB; repeatable, the first match counts.",
    )
    max_ratio: RemovedShare = Field(default=0.9, description="Largest share of its channels that one group may lose.")
    round_to: int = Field(
        default=8,
        ge=1,
        description="Leave a multiple of N channels in each group; odd widths run slowly. 1 turns it off.",
    )
    min_channels: int = Field(default=1, ge=1, description="Fewest channels that a group keeps.")
    criterion: CriterionName = Field(
        default_factory=_default_criterion,
        description="What makes a channel important; the least important are removed first: "
        f"{', '.join(CRITERIA)}. Default: {CRITERION}, or {CRITERION_WITH_DATA} with data.",
    )
    scope: Literal["auto", "loss", "local", "global"] = Field(
        default="auto",
        description="Where channels go: loss, where outputs lose least, as measured on samples; local, the same share "
        "from every group; global, the lowest scores of the whole model; auto, loss where there are samples, else "
        "local.",
    )
    aggregate: Literal["mean", "sum", "max"] = Field(
        default="mean", description="How the scores of all weights that a channel touches become one score."
    )
    normalise: Literal["mean", "max", "none"] = Field(
        default="mean", description="What the scores of a group are divided by before groups are compared."
    )
    sensitivity: Path | None = Field(
        default=None,
        description="Report of onnx-compress sensitivity on this model: how much each group loses follows from what "
        "that was measured to cost, which one in a group from the criterion.",
    )
    steps: int = Field(default=1, ge=1, le=1000, description="Prune in N steps, scoring and recovering anew in each.")
    schedule: Literal["linear", "cubic", "exponential"] = Field(
        default="cubic",
        description="How fast the steps go: evenly, most at first, or by the same factor in each.",
    )
    recover: RecoveryName = Field(
        default_factory=lambda: RECOVERY,
        description="What restores accuracy after each step: bias correction or least-squares reconstruction from "
        "samples, given or made up; training that starts from the latter; nothing; or auto, the best that takes "
        f"seconds. Default: {RECOVERY}.",
    )
    decay_epochs: int = Field(
        default=0,
        ge=0,
        description="Epochs in which what goes fades to zero while the rest trains, before it is cut; with "
        "--recover finetune.",
    )
    trainability: bool = Field(
        default=False,
        description="Report the mean singular value of the Jacobian before and after: how well the result trains.",
    )
    robustness: bool = Field(
        default=False,
        description="Also measure how the original and the result stand noise and corrupted images, on --samples "
        "samples, and report the curves.",
    )
    max_drop: Annotated[float | None, Field(ge=0, le=1), BeforeValidator(parse_share)] = Field(
        default=None, description="Most accuracy that may be lost, such as 0.01 or 1%; needs data with labels."
    )
    max_size: Size | None = Field(
        default=None, description="Largest file that is accepted: bytes such as 500kB, or a share of the original."
    )
    include: tuple[str, ...] = Field(
        default=(), description="Prune only groups with a node or weight that matches GLOB; repeatable."
    )
    exclude: tuple[str, ...] = Field(
        default=(), description="Leave alone every group with a node or weight that matches GLOB; repeatable."
    )
    attention: Literal["heads", "dims"] = Field(
        default="heads",
        description="In attention, remove whole heads, or as many dimensions from every head.",
    )
    keep_norm_axes: bool = Field(
        default=False,
        description="Keep all channels that a LayerNorm or a mean runs over, so that no statistic changes.",
    )

    @model_validator(mode="after")
    def _one_amount(self) -> "PruneSettings":
        given = [name for name in AMOUNTS if getattr(self, name) is not None]
        if self.lossless:
            given = [*given, "lossless"]
        if len(given) > 1:
            raise PydanticCustomError("one_amount", "more than one amount", {"fields": given})
        if not given:
            raise PydanticCustomError("no_amount", "no ratio and no target")
        return self
