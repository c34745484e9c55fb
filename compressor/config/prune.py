"""Settings of a pruning run."""

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from compressor.config.choices import STRUCTURES
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
    def _objective_fits(self) -> "PruneSettings":
        # The other amounts say themselves what is spent. A target that was made of an objective is no second amount.
        if self.objective == "latency" and (self.lossless or (self.target_params or self.target_size) is not None):
            text = "--objective latency goes with --ratio or --target-macs; leave it out"
            raise PydanticCustomError("objective", text)
        return self

    @model_validator(mode="after")
    def _structure_fits(self) -> "PruneSettings":
        # All of these speak of channels, of which other structures remove none or not these alone.
        unfit = {
            "--lossless": self.lossless,
            "--depth": self.depth,
            "--target-latency": self.target_latency is not None,
            "--objective latency": self.objective == "latency",
            "--steps": self.steps > 1,
            "--decay-epochs": self.decay_epochs > 0,
            "--sensitivity": self.sensitivity is not None,
            "--layer-ratio": bool(self.layer_ratio),
            # Coefficients have an energy in one unit, by which they can be ranked as channels are.
            "--scope": self.scope in ("local", "global") and not STRUCTURES.find(self.structure).basis,
        }
        given = [name for name, is_so in unfit.items() if is_so]
        if given and self.changes_layers:
            text = f"{given[0]} is for channels alone; leave it out, or say --structure channels"
            raise PydanticCustomError("structure", text)
        return self
