"""Settings of a pruning run that do not go together: asked when settings are made, and when a plan joins them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from compressor.config.choices import STRUCTURES

if TYPE_CHECKING:
    from compressor.config.prune import PruneSettings

IsGiven = Callable[["PruneSettings"], bool]
"""Is a setting given?"""


@dataclass(frozen=True)
class Contradiction:
    """A setting, and what does not go with it.

    Attributes:
        given: is the setting given? Without ``others`` it asks for both, it and what it does not go with.
        text: the sentence; ``{other}`` is the flag of the other one, see :func:`_words` for further ones.
        others: flag -> is that given? One suffices.
        replayed: only where a plan is replayed.
    """

    given: IsGiven
    text: str
    others: Mapping[str, IsGiven] = field(default_factory=dict)
    replayed: bool = False

    def said(self, settings: PruneSettings) -> str | None:
        """The sentence; None where there is no contradiction."""
        if not self.given(settings):
            return None
        found = next((flag for flag, given in self.others.items() if given(settings)), "")
        if self.others and not found:
            return None
        words = _words(settings)
        return self.text.format(other=found.format(**words), **words)


def contradiction(settings: PruneSettings, *, replayed: bool = False) -> str | None:
    """What is said of the first two settings that do not go together; None where all do.

    Args:
        settings: of the run.
        replayed: is a plan replayed?
    """
    asked = (entry.said(settings) for entry in CONTRADICTIONS if replayed or not entry.replayed)
    return next((text for text in asked if text is not None), None)


def _words(settings: PruneSettings) -> dict[str, str]:
    resizing = {"--cache-heads": settings.cache_heads, "--free-output": settings.free_outputs}
    return {
        "loss": settings.loss,
        "recover": settings.recover,
        "structure": settings.structure,
        "resizing": next((flag for flag, is_so in resizing.items() if is_so), "--keep-tokens"),
    }


def _own_recovery(settings: PruneSettings) -> bool:
    return settings.given("recover") and settings.recover not in ("auto", "none")


_CHANNELS_ALONE: Mapping[str, IsGiven] = MappingProxyType(
    {
        "--lossless": lambda s: s.lossless,
        "--depth": lambda s: s.depth,
        "--target-latency": lambda s: s.target_latency is not None,
        "--objective latency": lambda s: s.objective == "latency",
        "--steps": lambda s: s.steps > 1,
        "--sparsify": lambda s: s.sparsify is not None,
        "--sensitivity": lambda s: s.sensitivity is not None,
        "--layer-ratio": lambda s: bool(s.layer_ratio),
        # Coefficients have an energy in one unit, by which they can be ranked as channels are.
        "--scope": lambda s: s.scope in ("local", "global") and not STRUCTURES.find(s.structure).basis,
    }
)

CONTRADICTIONS = (
    Contradiction(
        lambda s: s.scope == "sensitivity" and s.sensitivity is None,
        "--scope sensitivity follows a report; give it with --sensitivity, or choose another --scope",
    ),
    Contradiction(
        # The other amounts say themselves what is spent. A target that was made of an objective is no second amount.
        lambda s: s.objective == "latency" and (s.lossless or (s.target_params or s.target_size) is not None),
        "--objective latency goes with --ratio or --target-macs; leave it out",
    ),
    Contradiction(
        lambda s: s.changes_layers,
        "{other} is for channels alone; leave it out, or say --structure channels",
        _CHANNELS_ALONE,
    ),
    Contradiction(
        lambda s: s.resume and not s.trains,
        "--resume goes on with training, and nothing is trained; add --recover finetune, or drop it",
    ),
    Contradiction(
        lambda s: s.reinitialise != "no" and not s.trains,
        "--reinitialise takes what the network has learnt, so that it needs --recover finetune",
    ),
    Contradiction(
        lambda s: s.refit_last and s.data is None,
        "--refit-last learns from labels; give --data with labels, or leave it out",
    ),
    Contradiction(
        lambda s: s.trains and s.data is None and s.loss in ("cross-entropy", "mixed"),
        "--loss {loss} learns from labels, and made-up samples have none; give --data",
    ),
    Contradiction(
        lambda s: s.keep_functions and bool(s.also),
        "--keep-functions is for a model of one file; leave it out, or --also",
    ),
    Contradiction(
        lambda s: s.depth,
        "--depth takes whole blocks, and {other} looks at channels alone; leave one of them out",
        {
            "--sparsify": lambda s: s.sparsify is not None,
            "--sensitivity": lambda s: s.sensitivity is not None,
            "--target-latency": lambda s: s.target_latency is not None,
        },
    ),
    Contradiction(
        lambda s: not STRUCTURES.find(s.structure).lowers,
        "--structure {structure} leaves zeros in the file, which takes no multiply-accumulates, parameters or bytes "
        "out of it, so that no {other} is reached; say with --ratio which share of the weights becomes zero (0.5 keeps "
        "2 of every 4), or choose --structure channels",
        {
            "--target-macs": lambda s: s.target_macs is not None,
            "--target-params": lambda s: s.target_params is not None,
            "--target-size": lambda s: s.target_size is not None,
            "--target-latency": lambda s: s.target_latency is not None,
        },
    ),
    Contradiction(
        lambda s: s.rewind is not None,
        "a plan already says what goes, which --rewind trains to find out; leave one of them out",
        replayed=True,
    ),
    Contradiction(
        lambda s: s.rewind is not None and not s.trains,
        "--rewind trains fresh weights, which needs --recover finetune",
    ),
    Contradiction(
        lambda s: s.rewind is not None and s.lossless,
        "--rewind chooses by trained weights, and --lossless takes only what is zero already; give a ratio",
    ),
    Contradiction(
        lambda s: s.rewind is not None,
        "--rewind goes back to weights from before what {other} does; leave one of them out",
        {
            "--reinitialise": lambda s: s.reinitialise != "no",
            "--sparsify": lambda s: s.sparsify is not None,
            "--structure": lambda s: s.changes_layers,
        },
    ),
    Contradiction(
        lambda s: s.sparsify is not None and not s.trains, "--sparsify trains, which needs --recover finetune"
    ),
    Contradiction(
        lambda s: s.sparsify is not None and s.lossless,
        "--sparsify trains towards a cut, and --lossless takes only what is zero already; give a ratio",
    ),
    Contradiction(
        lambda s: s.sparsify is not None and s.expand > 0,
        "--sparsify looks at the weights, which --expand makes products of; leave one of them out",
    ),
    Contradiction(
        # Nothing runs both models side by side on the same data.
        lambda s: s.resizes,
        "{other} compares models on the same inputs and outputs; leave it out, or {resizing}",
        {
            "--recover {recover}": _own_recovery,
            "--scope loss": lambda s: s.scope == "loss",
            "--data": lambda s: s.data is not None,
            "--val-data": lambda s: s.val_data is not None,
            "--max-drop": lambda s: bool(s.max_drop),
            "--max-distance": lambda s: s.max_distance is not None,
            "--robustness": lambda s: bool(s.robustness),
            "--trainability": lambda s: bool(s.trainability),
        },
    ),
)
"""What does not go together, in the order in which it is looked for."""
