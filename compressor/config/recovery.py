"""Settings of what restores accuracy after a cut."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from compressor.config.choices import RECOVERIES
from compressor.config.section import Section

# Names come from the table of choices, which type checkers do not read.
if TYPE_CHECKING:
    RecoveryName = str
else:
    RecoveryName = RECOVERIES.literal("auto", "none", "distill", "finetune")


class RecoverySection(Section):
    """What is done to the layers that are left, and what is reported of it."""

    title: ClassVar[str] = "Recovery"

    recover: RecoveryName = Field(
        default="auto",
        description="What restores accuracy after each step: bias correction or least-squares reconstruction from "
        "samples, given or made up; distill, the latter and some steps of training towards the original's outputs; "
        "finetune, the latter and training as you say; none; or auto, the best that takes seconds.",
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

    @property
    def trains(self) -> bool:
        """Is accuracy restored by training as the user says, with epochs, checkpoints and progress?"""
        return self.recover == "finetune"

    @property
    def uses_gradients(self) -> bool:
        """Is it restored by training, at length or for seconds? That needs torch, and no proof of a cut outlives it."""
        return self.recover in ("finetune", "distill")
