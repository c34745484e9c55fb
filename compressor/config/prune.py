"""Settings of a pruning run."""

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from compressor.config.contradictions import contradiction
from compressor.config.files import FilesSection
from compressor.config.gates import GatesSection
from compressor.config.recovery import RecoverySection
from compressor.config.rules import RulesSection
from compressor.config.selection import SelectionSection
from compressor.config.sparsity import SparsitySection
from compressor.config.structure import StructureSection
from compressor.config.target import AMOUNTS, TargetSection
from compressor.config.timing import TimingSection
from compressor.config.tune import TuneSettings


class PruneSettings(
    TargetSection,
    TimingSection,
    StructureSection,
    SelectionSection,
    FilesSection,
    RulesSection,
    RecoverySection,
    SparsitySection,
    GatesSection,
    TuneSettings,
):
    """Settings of a pruning run; at most one of `AMOUNTS` is set, ``ratio`` when nothing is said."""

    @model_validator(mode="after")
    def _one_amount(self) -> "PruneSettings":
        given = [name for name in AMOUNTS if getattr(self, name) is not None]
        # What is lossless has no amount: all that does not matter goes.
        if self.lossless:
            given = [*given, "lossless"]
        if len(given) > 1:
            # The fields and not a sentence, as the command line calls them by their flags.
            raise PydanticCustomError("one_amount", "more than one amount", {"fields": given})
        if not given:
            raise PydanticCustomError("no_amount", "no ratio and no target")
        return self

    @model_validator(mode="after")
    def _go_together(self) -> "PruneSettings":
        text = contradiction(self)
        if text is not None:
            raise PydanticCustomError("contradiction", text)
        return self
