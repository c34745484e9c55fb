"""Settings of which channels go."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from compressor.config.choices import CRITERIA
from compressor.config.common import Globs
from compressor.config.section import Applies, Section, Shown
from compressor.core.notation import parse_texts

# Names come from the table of choices, which type checkers do not read.
if TYPE_CHECKING:
    CriterionName = str
else:
    CriterionName = CRITERIA.literal()
CRITERION: CriterionName = "consumers"
"""The criterion where none is asked for."""
CRITERION_WITH_DATA: CriterionName = "activation"
"""The same where data is given."""


def _default_criterion(values: dict[str, Any]) -> CriterionName:
    """What kept most accuracy where we measured (docs/criteria.md): activations if there are real ones."""
    # Not a plain default, as it depends on whether there is data.
    return CRITERION_WITH_DATA if values.get("data") is not None else CRITERION


class SelectionSection(Section):
    """Which channels are important, which ones may go, and where from."""

    title: ClassVar[str] = "Which channels"
    applies: ClassVar[tuple[Applies, ...]] = (
        Applies(
            ("normalise",),
            lambda s: s.scope == "global",
            "scores of different groups are not compared; say --scope global",
        ),
        Applies(
            ("scope",),
            lambda s: s.sensitivity is None or s.scope not in ("local", "global"),
            "--sensitivity says what each group loses; leave --sensitivity out",
        ),
    )

    criterion: Annotated[CriterionName, Shown("NAME")] = Field(
        default_factory=_default_criterion,
        description="What makes a channel important; the least important are removed first: "
        f"{', '.join(CRITERIA)}. Default: {CRITERION}, or {CRITERION_WITH_DATA} with data.",
    )
    scope: Literal["auto", "loss", "local", "global", "sensitivity"] = Field(
        default="auto",
        description="Where channels go: loss, where outputs lose least, as measured on samples; local, the same share "
        "from every group; global, the lowest scores of the whole model; sensitivity, as the report of --sensitivity "
        "says; auto, that where it is given, loss where there are samples, else local.",
    )
    aggregate: Literal["mean", "sum", "max"] = Field(
        default="mean", description="How the scores of all weights that a channel touches become one score."
    )
    normalise: Literal["mean", "max", "none"] = Field(
        default="mean", description="What the scores of a group are divided by before groups are compared."
    )
    sensitivity: Annotated[Path | None, Shown("PATH")] = Field(
        default=None,
        description="Report of onnx-compress sensitivity on this model: how much each group loses follows from what "
        "that was measured to cost, which one in a group from the criterion.",
    )
    include: Globs = Field(
        default=(), description="Prune only groups that match GLOB by their name, a node or a weight; repeatable."
    )
    exclude: Globs = Field(
        default=(),
        description="Leave alone groups that match GLOB by their name, a node or a weight; repeatable.",
    )
    attention: Literal["heads", "dims"] = Field(
        default="heads",
        description="In attention, remove whole heads, or as many dimensions from every head.",
    )
    cache_heads: bool = Field(
        default=False,
        description="Let heads of a key/value cache go too: its inputs and outputs are declared anew, with fewer.",
    )
    free_outputs: Annotated[tuple[str, ...], BeforeValidator(parse_texts), Shown("NAME", flag="free-output")] = Field(
        default=(),
        description="Let this output lose channels, so that it is declared anew with fewer of them; repeatable.",
    )
    depth: bool = Field(
        default=False,
        description="Let residual blocks go as a whole, too: they are one more group, called depth, which loses its "
        "share as well.",
    )
    keep_tokens: Annotated[Path | None, Shown("FILE")] = Field(
        default=None,
        description="Keep only the tokens whose numbers FILE lists; they are numbered anew, and a file beside the "
        "result says how.",
    )
    keep_norm_axes: bool = Field(
        default=False,
        description="Keep all channels that a LayerNorm or a mean runs over, so that no statistic changes.",
    )

    @property
    def resizes(self) -> bool:
        """May inputs or outputs of the model shrink?"""
        return self.cache_heads or bool(self.free_outputs) or self.keep_tokens is not None
