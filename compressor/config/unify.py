"""Settings of weight unification."""

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from compressor.config.blocks import BlocksSection, StorageSection, WeightsSection
from compressor.config.choices import METHODS
from compressor.config.data import CROPS
from compressor.config.section import Applies, Section, Shown
from compressor.config.training import LEARNING_RATES, TRAINED
from compressor.config.tune import TuneSettings
from compressor.core.notation import parse_share

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = METHODS.literal("one-shot", "retrain")
RATES_BEHIND_NORMS = MappingProxyType({**LEARNING_RATES, "sgd": 0.1})
"""Default learning rate of each optimiser behind BatchNormalization that was put in."""


def _default_method(values: dict[str, Any]) -> Literal["one-shot", "admm"]:
    # Training needs samples; without any a projection is all that can be done.
    return "one-shot" if values.get("data") is None else "admm"


def _default_rate(values: dict[str, Any]) -> float:
    return RATES_BEHIND_NORMS[values.get("optimiser", "sgd")]


def _same_rate(values: dict[str, Any]) -> float:
    # Where the learning rate itself is wrong it is missing here; only that mistake is told then.
    return float(values.get("learning_rate", 0.0))


class MethodSection(Section):
    """How weights come to be unified."""

    title: ClassVar[str] = "Training: method"
    applies: ClassVar[tuple[Applies, ...]] = (
        Applies(
            ("admm_share", "refreshes", "rho", "rho_growth", "dual_step"),
            # A method of somebody else may read them, too.
            lambda s: s.method == "admm" or s.method in METHODS.added,
            "nothing is trained by ADMM; say --method admm",
        ),
        Applies(("retrain_rate",), lambda s: s.trains, "nothing is trained; choose another --method"),
        Applies(
            ("retrain_share",),
            lambda s: s.method not in ("one-shot", "retrain"),
            "all epochs are of one kind; choose another --method",
        ),
    )

    method: MethodName = Field(
        default_factory=_default_method,
        description="How weights get there: one-shot, to the nearest, without training; retrain, one-shot and then "
        "training of what is left; admm, iss (iterative soft shrinkage), envelope or ste (straight through the "
        "projection), training towards it before that. Default: admm with --data, one-shot without.",
    )
    teacher: Annotated[Path | None, Shown("ORIGINAL")] = Field(
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
    admm_share: Annotated[float, BeforeValidator(parse_share), Shown("SHARE")] = Field(
        default=0.4,
        gt=0,
        le=1,
        description="Share of the steps towards the set that --method admm takes by ADMM; the others go straight "
        "through the projection. 1: ADMM alone.",
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


class UnifySettings(BlocksSection, WeightsSection, StorageSection, MethodSection, TuneSettings):
    """Settings of a run that makes blocks of weights share one absolute value; trained to where there is data."""

    applies: ClassVar[tuple[Applies, ...]] = (
        Applies(TRAINED, lambda s: s.trains or s.data is not None, "nothing is trained; add --data"),
        Applies(TRAINED, lambda s: s.trains, "nothing is trained; choose another --method"),
        CROPS,
    )

    learning_rate: float = Field(
        default_factory=_default_rate,
        gt=0,
        description="Highest learning rate. Default: "
        + ", ".join(f"{rate:g} for {name}" for name, rate in RATES_BEHIND_NORMS.items())
        + f"; where no BatchNormalization is put in, {LEARNING_RATES['sgd']:g} for sgd.",
    )
    insert_bn: bool = Field(
        default=True,
        description="Put BatchNormalization, which exporters fold away, behind every layer while training lasts, "
        "where there can be one.",
    )

    @property
    def trains(self) -> bool:
        """Are weights trained, or only set to the nearest that will do?"""
        return self.method != "one-shot"

    @property
    def approach_epochs(self) -> int:
        """Epochs of training towards unified weights."""
        return 0 if self.method in ("one-shot", "retrain") else self.epochs - self.retrain_epochs

    @property
    def retrain_epochs(self) -> int:
        """Epochs of training along them; at least one epoch is left to get there."""
        if not self.trains:
            return 0
        share = 1.0 if self.method == "retrain" else self.retrain_share
        # With all epochs along the set nothing would have been trained towards it.
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
        if self.trains and self.data is None:
            raise PydanticCustomError(
                "samples",
                "--method {method} trains, which needs samples; give --data, labels are not needed",
                {"method": self.method},
            )
        return self

    @model_validator(mode="after")
    def _one_structure(self) -> "UnifySettings":
        # A default block is no contradiction, one that was given is.
        if self.codebook is not None and self.given("block", "unify_share", "prune_share"):
            raise PydanticCustomError(
                "codebook", "--codebook takes the place of --block and its shares; give one of them, or --layer-block"
            )
        return self

    @model_validator(mode="after")
    def _shares_fit(self) -> "UnifySettings":
        total = self.unify_share + self.prune_share
        # Shares are decimal fractions, whose sums are not exact.
        if total > 1 + 1e-9:
            raise PydanticCustomError(
                "shares",
                "the shares of unified and of pruned blocks add up to {total}, more than all blocks; lower one of them",
                {"total": f"{total:g}"},
            )
        if total <= 0:
            raise PydanticCustomError("shares", "no block would be unified or pruned; raise one of the two shares")
        return self
