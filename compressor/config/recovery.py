"""Settings of what restores accuracy after a cut."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from compressor.config.choices import RECOVERIES
from compressor.config.section import Section

# Names come from the table of choices, which type checkers do not read.
if TYPE_CHECKING:
    RecoveryName = str
else:
    RecoveryName = RECOVERIES.literal("auto", "none", "finetune")
RECOVERY: RecoveryName = "auto"
"""The recovery where none is asked for."""


class RecoverySection(Section):
    """What is done to the layers that are left, and what is reported of it."""

    title: ClassVar[str] = "Recovery"

    recover: RecoveryName = Field(
        default_factory=lambda: RECOVERY,
        description="What restores accuracy after each step: bias correction or least-squares reconstruction from "
        "samples, given or made up; training that starts from the latter; nothing; or auto, the best that takes "
        f"seconds. Default: {RECOVERY}.",
    )
    refit_last: bool = Field(
        default=False,
        description="In the end fit the last layer of a classifier to labels in closed form; kept where samples that "
        "were held out are then missed less often. Needs --data with labels.",
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
