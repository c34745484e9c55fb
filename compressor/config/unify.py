"""Settings of weight unification, and how a block is written."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from compressor.config.choices import METHODS
from compressor.config.tune import LEARNING_RATES, TuneSettings
from compressor.core.notation import parse_share, read_pairs

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = METHODS.literal("one-shot", "retrain")
ALL = 0
"""Stands for the whole of an axis in a block's shape."""
RATES = {**LEARNING_RATES, "sgd": 0.1}
"""Default learning rate of each optimiser behind BatchNormalization that was put in."""
_NAMED = {"tap": "1x*x1", "kernel": "1x1x*", "filter": "1x*x*"}
_FORM = "4x4, 1x8, 4x4x9 (outputs x inputs x taps, * for all), matrix:1x16, tap, kernel or filter"
_SIZE = re.compile(r"\*|[1-9]\d{0,8}")


@dataclass(frozen=True)
class BlockShape:
    """What one block spans: so many outputs, inputs and kernel taps; ``ALL`` spans the whole axis.

    Attributes:
        outputs: consecutive outputs (filters).
        inputs: consecutive inputs; with ``matrix``, consecutive columns of the (outputs x inputs·taps) matrix.
        taps: consecutive kernel taps in row-major order.
        matrix: inputs and taps are one axis, so that a block runs over taps into the next input.
    """

    outputs: int
    inputs: int
    taps: int = 1
    matrix: bool = False

    @staticmethod
    def parse(text: str) -> "BlockShape":
        """Reads the notation of ``--block``; raises ValueError with the forms that are known."""
        name = text.strip().lower()
        matrix, _, sizes = name.rpartition("matrix:")
        numbers = _NAMED.get(sizes, sizes).split("x")
        longest = 2 if name.startswith("matrix:") else 3
        if matrix or not 2 <= len(numbers) <= longest or not all(_SIZE.fullmatch(n) for n in numbers):
            raise ValueError(f"{text!r} is not a block; write {_FORM}")
        if set(numbers) == {"1"}:
            raise ValueError(f"{text!r} holds one weight, so there is nothing to share; write {_FORM}")
        outputs, inputs, taps = [ALL if n == "*" else int(n) for n in [*numbers, "1"][:3]]
        return BlockShape(outputs, inputs, taps, matrix=longest == 2)


def _block(text: str) -> str:
    BlockShape.parse(text)
    return text.strip().lower()


def _layer_blocks(value: object) -> object:
    return tuple(read_pairs(value, "=", "GLOB=BLOCK, such as 'layer4.*=1x8'"))


Share = Annotated[float, Field(ge=0, le=1), BeforeValidator(parse_share)]
BlockText = Annotated[str, AfterValidator(_block)]


def _default_method(values: dict[str, Any]) -> Literal["one-shot", "admm"]:
    return "one-shot" if values.get("data") is None else "admm"


def _default_rate(values: dict[str, Any]) -> float:
    return RATES[values.get("optimiser", "sgd")]


def _same_rate(values: dict[str, Any]) -> float:
    return float(values.get("learning_rate", 0.0))


class UnifySettings(TuneSettings):
    """Settings of a run that makes blocks of weights share one absolute value; trained to where there is data."""

    block: BlockText = Field(
        default="4x4", description=f"Shape of the blocks whose weights share one absolute value: {_FORM}."
    )
    layer_block: Annotated[tuple[tuple[str, BlockText], ...], BeforeValidator(_layer_blocks)] = Field(
        default=(),
        description="Block of the weights that match GLOB, by their name or their node's, whatever the defaults "
        "leave alone; repeatable, the first match counts.",
    )
    prune_share: Share = Field(default=0.0, description="Share of each layer's blocks that become zero.")
    unify_share: Share = Field(
        default_factory=lambda values: round(1.0 - values.get("prune_share", 0.0), 12),
        description="Share of each layer's blocks that get one absolute value, those that it damages least; the "
        "rest stays as it is. Default: all that are not pruned.",
    )
    curvature: Literal["none", "inputs", "gradients"] = Field(
        default="none",
        description="How much a change of each weight matters: all alike; or, measured on --samples samples, as the "
        "mean square of what it multiplies, or of its gradient.",
    )
    include: tuple[str, ...] = Field(
        default=(), description="Unify only weights that match GLOB, by their name or their node's; repeatable."
    )
    exclude: tuple[str, ...] = Field(default=(), description="Leave alone every weight that matches GLOB; repeatable.")
    all_layers: bool = Field(default=False, description="Unify the first and the last layer too.")
    permute: bool = Field(
        default=False,
        description="Reorder channels first where that lowers the damage; exact, as all that depends on them moves "
        "along.",
    )
    min_weights: int = Field(default=256, ge=2, description="Leave alone weights with fewer elements than this.")
    magnitudes: Literal["float16", "float32"] = Field(
        default="float16", description="How the shared absolute values are stored."
    )
    latency: bool = Field(
        default=False, description="Also time the original and the written model in turns, on --provider."
    )
    dense: bool = Field(
        default=False, description="Write the unified weights as plain tensors instead of packing them."
    )

    learning_rate: float = Field(
        default_factory=_default_rate,
        gt=0,
        description="Highest learning rate. Default: "
        + ", ".join(f"{rate:g} for {name}" for name, rate in RATES.items())
        + f"; where no BatchNormalization is put in, {LEARNING_RATES['sgd']:g} for sgd.",
    )
    insert_bn: bool = Field(
        default=True,
        description="Put BatchNormalization, which exporters fold away, behind every layer while training lasts, "
        "where there can be one.",
    )
    method: MethodName = Field(
        default_factory=_default_method,
        description="How weights get there: one-shot, to the nearest, without training; retrain, one-shot and then "
        "training of what is left; admm, iss (iterative soft shrinkage), envelope or ste (straight through the "
        "projection), training towards it before that. Default: admm with --data, one-shot without.",
    )
    teacher: Path | None = Field(
        default=None,
        description="The model that IN was made from, such as by pruning, whose outputs are imitated. Default: IN.",
    )
    retrain_share: float = Field(
        default=0.3,
        ge=0,
        lt=1,
        description="Share of the epochs that come after the weights are unified, and train one value a block.",
    )
    retrain_rate: float = Field(
        default_factory=_same_rate,
        gt=0,
        description="Highest learning rate of these epochs. Default: --learning-rate.",
    )
    refreshes: int = Field(
        default=30, ge=1, description="How often ADMM projects the weights and updates its multipliers."
    )
    rho: float = Field(
        default=0.03,
        gt=0,
        description="Strength of ADMM's pull at first: alone it would leave exp(-X) of the gap from one refresh to the "
        "next.",
    )
    rho_growth: float = Field(default=1.15, ge=1, description="What that is multiplied by at every refresh.")
    dual_step: float = Field(
        default=0.3,
        ge=0,
        le=1.6,
        description="Share of the gap that a refresh adds to the multipliers; 1 is textbook ADMM, less turns fewer "
        "signs.",
    )

    @property
    def approach_epochs(self) -> int:
        """Epochs of training towards unified weights."""
        return 0 if self.method in ("one-shot", "retrain") else self.epochs - self.retrain_epochs

    @property
    def retrain_epochs(self) -> int:
        """Epochs of training along them; at least one epoch is left to get there."""
        if self.method == "one-shot":
            return 0
        share = 1.0 if self.method == "retrain" else self.retrain_share
        return min(round(self.epochs * share), self.epochs - (self.method != "retrain"))

    @model_validator(mode="after")
    def _trains_as_it_can(self) -> "UnifySettings":
        if self.expand:
            raise PydanticCustomError(
                "expand", "kernels that are trained as products cannot keep to their blocks; leave --expand out"
            )
        if self.curvature != "none" and self.data is None:
            raise PydanticCustomError(
                "samples",
                "--curvature {curvature} is measured on samples; give --data, labels are not needed",
                {"curvature": self.curvature},
            )
        if self.method != "one-shot" and self.data is None:
            raise PydanticCustomError(
                "samples",
                "--method {method} trains, which needs samples; give --data, labels are not needed",
                {"method": self.method},
            )
        return self

    @model_validator(mode="after")
    def _shares_fit(self) -> "UnifySettings":
        total = self.unify_share + self.prune_share
        if total > 1 + 1e-9:
            raise PydanticCustomError(
                "shares",
                "the shares of unified and of pruned blocks add up to {total}, more than all blocks; lower one of them",
                {"total": f"{total:g}"},
            )
        if total <= 0:
            raise PydanticCustomError("shares", "no block would be unified or pruned; raise one of the two shares")
        return self
