"""Settings of a sensitivity sweep: how much of each group can go before the outputs suffer."""

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from compressor.config.common import Cluster, Jobs
from compressor.config.data import MEASURED_SAMPLES, ValData
from compressor.config.gates import Distance, Drop
from compressor.config.proof import PROVIDER, Provider, where_run
from compressor.config.prune import PruneSettings
from compressor.config.section import Section, Shown
from compressor.config.target import RemovedShare
from compressor.core.notation import parse_share, split_commas

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MAX_DROP = 0.01
"""Loss of accuracy within which a ratio is called safe where none is asked for."""
MAX_DISTANCE = 0.1
"""The same for the distance of outputs, where the data has no labels."""


def _ratios(value: object) -> object:
    """``("0.1,0.2", "50%")`` as shares in rising order, each once; nothing stands for the default."""
    # Nothing given reaches the validator as an empty tuple.
    if value == ():
        return RATIOS
    texts = split_commas(value if isinstance(value, (str, tuple, list)) else "")
    try:
        shares = sorted({float(str(parse_share(text))) for text in texts})
    except ValueError:
        shares = []
    if not shares or not all(0 < share < 1 for share in shares):
        # As it was typed: a flag arrives as a tuple.
        given = ",".join(texts) or str(value)
        raise ValueError(f"{given!r} is not a list of shares above 0 and below 1, such as 0.25,0.5,0.75")
    return tuple(shares)


class SweepSection(Section):
    """What is measured, and what counts as safe."""

    title: ClassVar[str] = "What is measured"

    ratios: Annotated[tuple[RemovedShare, ...], BeforeValidator(_ratios), Shown("R[,R]")] = Field(
        default_factory=lambda: RATIOS,
        description="Shares of its channels that each group loses, one after the other, while the rest of the "
        f"model stays whole. Default: {','.join(map(str, RATIOS))}.",
    )
    round_to: int = Field(
        default=1, ge=1, description="Leave a multiple of N channels, as prune does; 1 measures every ratio as asked."
    )
    max_drop: Annotated[Drop | None, Shown("SHARE")] = Field(
        default=None,
        description="A ratio is safe where it costs no more accuracy, such as 0.01 or 1%; needs labels. "
        f"Default: {MAX_DROP} with labels, unless --max-distance is given.",
    )
    max_distance: Annotated[Distance | None, Shown("SHARE")] = Field(
        default=None,
        description="A ratio is safe where outputs move by no more, as a share of their norm. "
        f"Default: {MAX_DISTANCE} without labels.",
    )
    jobs: Jobs = 0
    cluster: Cluster = None


class SensitivitySettings(SweepSection, PruneSettings):
    """Settings of a sweep that prunes every group alone, at several ratios."""

    val_data: ValData = Field(
        default=None,
        description="Samples to measure on, given like --data, whose own then only rank channels. Default: those of "
        "--data.",
    )
    samples: int = Field(default=MEASURED_SAMPLES, ge=1, description="Samples to measure on, drawn at random.")
    provider: Provider = Field(default=PROVIDER, description=where_run("the models"))
