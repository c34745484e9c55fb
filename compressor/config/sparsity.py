"""Settings of training that makes channels small before they are cut."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from compressor.config.choices import REGULARIZERS
from compressor.config.data import CROPS
from compressor.config.section import Applies, Section, Shown
from compressor.config.tune import TuneSettings
from compressor.core.notation import parse_share

if TYPE_CHECKING:
    RegularizerName = str
else:
    RegularizerName = REGULARIZERS.literal()

_METHODS = ", ".join(REGULARIZERS)
_STRENGTH = "Strength of the method, in its own unit (docs/sparsity-training.md). Default: its own."


def _epoch(value: object) -> object:
    """``init`` is the start of training, after no epoch."""
    return 0 if value == "init" else value


class SparsitySection(Section):
    """Training before a cut, and of what is left from scratch."""

    title: ClassVar[str] = "Sparsity training"
    applies: ClassVar[tuple[Applies, ...]] = (
        Applies(
            ("sparsify_epochs", "sparsify_strength"),
            lambda s: s.sparsify is not None,
            "nothing is trained before the cut; name a method with --sparsify",
        ),
    )

    sparsify: Annotated[RegularizerName | None, Shown("NAME")] = Field(
        default=None,
        description=f"Train before the cut so that it costs less; with --recover finetune. How: {_METHODS}.",
    )
    sparsify_epochs: int = Field(default=5, ge=1, description="Epochs of that training.")
    sparsify_strength: float | None = Field(default=None, gt=0, description=_STRENGTH)
    decay_epochs: int = Field(
        default=0,
        ge=0,
        description="Epochs in which what goes fades to zero while the rest trains, before it is cut: the same as "
        "--sparsify decay --sparsify-epochs N.",
    )

    reinitialise: Literal["no", "before", "after", "orthogonal"] = Field(
        default="no",
        description="Forget the trained weights: before, and score fresh ones (pruning at initialisation, see "
        "docs/sparsity-training.md); or after the cut, and train what is left from scratch. Or make the filters that "
        "are left orthogonal to each other, so that they train well. With --recover finetune.",
    )

    rewind: Annotated[int | None, BeforeValidator(_epoch), Shown("EPOCH|init")] = Field(
        default=None,
        ge=0,
        description="Lottery ticket: train fresh weights for EPOCH epochs (init: 0) and keep them, train on for "
        "--epochs and choose what goes by that, cut it from what was kept, and train that for --epochs; again for "
        "each of --steps. With --recover finetune.",
    )

    @model_validator(mode="before")
    @classmethod
    def _spelt_out(cls, values: Any) -> Any:
        """Settings without ``decay_epochs``, which is short for two others."""
        given = values.get("decay_epochs") if isinstance(values, Mapping) else None
        try:
            epochs = TypeAdapter(int).validate_python(given)
        # Not given, or no number, which the field itself refuses.
        except ValidationError:
            return values
        if epochs <= 0:
            return values
        # Both would say how long and how; told by flag, hence the fields.
        if values.get("sparsify") is not None:
            raise PydanticCustomError("one_amount", "two methods", {"fields": ["sparsify", "decay_epochs"]})
        rest = {name: value for name, value in values.items() if name != "decay_epochs"}
        return {**rest, "sparsify": "decay", "sparsify_epochs": epochs}


class RegularizerSection(Section):
    """Training towards a cut that is made later."""

    title: ClassVar[str] = "Training towards a cut"
    applies: ClassVar[tuple[Applies, ...]] = (
        Applies(
            ("regularizer_strength", "sparsity"),
            lambda s: s.regularizer is not None,
            "no cut is trained for; name a method with --regularizer",
        ),
    )

    regularizer: Annotated[RegularizerName | None, Shown("NAME")] = Field(
        default=None, description=f"Make channels small, so that a later cut costs less. How: {_METHODS}."
    )
    regularizer_strength: float | None = Field(default=None, gt=0, description=_STRENGTH)
    sparsity: Annotated[float, BeforeValidator(parse_share), Shown("R")] = Field(
        default=0.5, gt=0, lt=1, description="Share of the channels of every group that the cut will take."
    )


class SparsifySettings(RegularizerSection, TuneSettings):
    """Settings of a fine-tuning run that may make channels small."""

    applies: ClassVar[tuple[Applies, ...]] = (CROPS,)


class SparsifyStageSettings(SparsifySettings):
    """Settings of a recipe's stage that makes channels small, by one method where none is named."""

    regularizer: Annotated[RegularizerName, Shown("NAME")] = Field(
        default="iss", description=f"How channels are made small: {_METHODS}."
    )
