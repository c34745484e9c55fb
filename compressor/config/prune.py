"""Settings of a pruning run."""

from typing import ClassVar

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from compressor.config.choices import STRUCTURES
from compressor.config.contradictions import contradiction
from compressor.config.files import FilesSection
from compressor.config.gates import GatesSection
from compressor.config.recovery import RecoverySection
from compressor.config.rules import RulesSection
from compressor.config.section import Applies
from compressor.config.selection import SelectionSection
from compressor.config.sparsity import SparsitySection
from compressor.config.structure import StructureSection
from compressor.config.target import AMOUNTS, FINER_STEPS, NEARLY_ALL, TargetSection
from compressor.config.timing import TimingSection
from compressor.config.training import TRAINED, StepsSection
from compressor.config.tune import TuneSettings

_OF_SCORES = ("criterion", "aggregate", "normalise")
_UNTRAINED = "nothing is trained; add --recover finetune"
_HOW = (
    *(name for name in StepsSection.own_fields() if name not in ("epochs", "patience")),
    *("temperature", "features", "feature_weight", "output_form"),
)
"""What training for seconds reads, too: it sets its own loss, and its length."""


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

    applies: ClassVar[tuple[Applies, ...]] = (
        Applies(
            (*_OF_SCORES, "scope", "sensitivity", "layer_ratio"),
            lambda s: not s.lossless,
            "--lossless takes what is zero already, and nothing else; leave --lossless out",
        ),
        Applies(
            _OF_SCORES,
            lambda s: STRUCTURES.find(s.structure).channels,
            "no channel goes; choose --structure channels or both",
        ),
        Applies(
            # Threads say where times are taken, as --device does of training: scripts say that of every run.
            ("batch",),
            lambda s: s.times or (STRUCTURES.find(s.structure).masks is not None and s.lower == "auto"),
            "nothing is timed; give --target-latency, or --objective latency",
        ),
        Applies(("latency_cache",), lambda s: s.times, "no operator is timed; give --target-latency"),
        Applies(("metrics",), lambda s: s.uses_gradients or s.recover == "auto", _UNTRAINED),
        Applies(_HOW, lambda s: s.uses_gradients, _UNTRAINED),
        Applies(tuple(name for name in TRAINED if name not in (*_HOW, "metrics")), lambda s: s.trains, _UNTRAINED),
    )

    @property
    def times(self) -> bool:
        """Is the time of a run to follow from what goes?"""
        return self.target_latency is not None or self.objective == "latency"

    @property
    def bounds(self) -> tuple[str, ...]:
        """What to change where no more may go under these settings, the likeliest cause first."""
        found = {
            "let more go with --include": bool(self.include),
            "leave less out with --exclude": bool(self.exclude),
            "raise --max-ratio": self.max_ratio < NEARLY_ALL,
            FINER_STEPS: self.round_to > 1,
            "lower --min-channels": self.min_channels > 1,
        }
        return tuple(text for text, holds in found.items() if holds)

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
