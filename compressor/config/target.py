"""Settings of how much goes."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema

from compressor.config.section import Section, Shown
from compressor.core.notation import parse_latency, parse_layer_ratios, parse_part, parse_size

DEFAULT_RATIO = 0.5
MOST_STEPS = 1000
NARROW, FINE = 64, 4
"""Channels below which a group goes in finer steps by default, and these steps (docs/decisions/0003)."""
NEARLY_ALL = 0.99
"""Share of the channels from which on a limit on what may go holds next to nothing back."""
LATENCY_SLACK = 0.03
"""A latency counts as met within this share of the target."""
FINER_STEPS = "lower --round-to"
"""What to change where channels go in too large steps."""
AMOUNTS = ("ratio", "target_macs", "target_params", "target_size", "target_latency")

RemovedShare = Annotated[float, Field(ge=0, lt=1), BeforeValidator(parse_part)]
KeptShare = Annotated[float, Field(gt=0, le=1), BeforeValidator(parse_part)]
FileSize = Annotated[
    float | int,
    BeforeValidator(parse_size),
    # Up to one it is a share, above it is a number of bytes; a schema cannot follow from the validator.
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                {"type": "integer", "exclusiveMinimum": 1},
                {"type": "string"},
            ]
        }
    ),
]


def _default_ratio(values: dict[str, Any]) -> float | None:
    # A ratio beside a target would be a second amount, which is refused.
    chosen = values.get("lossless") or any(values.get(name) is not None for name in AMOUNTS)
    return None if chosen else DEFAULT_RATIO


class TargetSection(Section):
    """How much is removed; at most one of `AMOUNTS` is set, ``ratio`` when nothing is said."""

    title: ClassVar[str] = "How much to remove"
    target_macs: Annotated[KeptShare | None, Shown("SHARE")] = Field(
        default=None, description="Share of the multiply-accumulates (MACs) to keep, such as 0.5 or 50%."
    )
    target_params: Annotated[KeptShare | None, Shown("SHARE")] = Field(
        default=None, description="Share of the parameters to keep."
    )
    target_size: Annotated[FileSize | None, Shown("SIZE")] = Field(
        default=None, description="File size to keep: a share such as 50%, or bytes such as 500kB or 1.5MB."
    )
    target_latency: Annotated[Annotated[str, BeforeValidator(parse_latency)] | None, Shown("TIME")] = Field(
        default=None,
        description="Time of a run on --provider, such as 2.5ms or 0.6x of the original's; met within "
        f"{LATENCY_SLACK:.0%}.",
    )
    lossless: bool = Field(
        default=False,
        description="Remove only channels that are zero already, so that no output changes; takes no ratio or target.",
    )
    ratio: Annotated[RemovedShare | None, Shown("R", first=True)] = Field(
        default_factory=_default_ratio,
        description="Share of the channels to remove in each group; about (1-R)^2 of the parameters and MACs "
        "stay, (1-R)^3 with --depth. "
        f"Default: {DEFAULT_RATIO}, unless a target is given.",
    )
    objective: Literal["macs", "latency"] = Field(
        default="macs",
        description="What --ratio and --target-macs spend: multiply-accumulates, or as large a share of the time of a "
        "run on --provider, measured, so that channels go where time is.",
    )
    layer_ratio: Annotated[
        tuple[tuple[str, RemovedShare], ...], BeforeValidator(parse_layer_ratios), Shown("GLOB=R")
    ] = Field(
        default=(),
        description="Ratio of groups that match GLOB by their name, a node or a weight; repeatable, the first match "
        "counts.",
    )
    max_ratio: Annotated[RemovedShare, Shown("R")] = Field(
        default=0.9, description="Largest share of its channels that one group may lose."
    )
    round_to: int = Field(
        default=8,
        ge=1,
        description="Leave a multiple of N channels in each group, as odd widths run slowly; unless N is given, of "
        f"{FINE} in groups narrower than {NARROW}, or of halves to meet the amount. 1 turns it off.",
    )
    min_channels: int = Field(default=1, ge=1, description="Fewest channels that a group keeps.")
    steps: int = Field(
        default=1, ge=1, le=MOST_STEPS, description="Prune in N steps, scoring and recovering anew in each."
    )
    schedule: Literal["linear", "cubic", "exponential"] = Field(
        default="cubic",
        description="How fast the steps go: evenly, most at first, or by the same factor in each.",
    )

    @property
    def end(self) -> Self:
        """The same for the last step alone."""
        return self.model_copy(update={"steps": 1})

    @property
    def aims(self) -> bool:
        """Is there a target that is counted and has to be met?"""
        return any(aim is not None for aim in (self.target_macs, self.target_params, self.target_size))
