"""What can go wrong, and the exit code of each: one sentence a message, naming the fact and the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import onnx_ir as ir

REPORT = "please report it"
FAULT = f"this is a fault of this tool, {REPORT}"
"""How a message about a fault of ours ends."""


class CompressorError(Exception):
    """Base of every error that is raised on purpose; raised itself, it is an internal failure."""

    exit_code: ClassVar[int] = 1


class UsageError(CompressorError):
    """The command line, a setting or an output path cannot be used as asked."""

    exit_code = 2


class PlanError(CompressorError):
    """A pruning plan is unreadable or does not fit the model."""

    exit_code = 2


class ModelError(CompressorError):
    """A model file is unreadable, invalid or unsafe."""

    exit_code = 3


class DoesNotRun(ModelError):  # noqa: N818
    """A model that loads does not run on inputs that it is given, which may be the fault of either."""


class UnsupportedOperator(ModelError):  # noqa: N818
    """A node that torch cannot run: an operator without a function, or one used in an unknown way."""


class NotPossible(CompressorError):  # noqa: N818 -- names the outcome; the exit code speaks of it
    """What was asked for cannot be done with this model; raised as one of the kinds below.

    Attributes:
        frozen: what had to stay and why, as rows of a report, where whoever raised it knew.
    """

    exit_code = 4
    frozen: tuple[object, ...] = ()


# Side by side: that nothing is left to go ends a run of several steps well, which neither of the others may be taken
# for.
class NothingToPrune(NotPossible):
    """No channel of the model can be removed under the given settings."""


class TargetOutOfReach(NotPossible):
    """Channels can be removed, but not enough of them to reach the target."""


class NothingToTrain(NotPossible):
    """The model has no weight that training or recovery could change, as where all are quantised."""


class NothingToProve(NotPossible):
    """No output of the model is a finite number, so that no change of it could be seen."""


class ProofFailed(CompressorError):  # noqa: N818
    """The smaller model does not equal the masked original, or two models that should be the same differ.

    Attributes:
        result: the report that says where, if there is one and it was made in Python.
    """

    exit_code = 5
    result: object = None


def tool_fault(fact: str) -> ProofFailed:
    """The error where a proof caught a fault of this tool, and not of the model; ``fact`` is what it saw."""
    return ProofFailed(f"{fact}; nothing was written; {FAULT}")


class GateMissed(CompressorError):  # noqa: N818
    """The output is right, but misses a limit that the user set on it.

    Attributes:
        result: what missed it, where it was made in Python.
    """

    exit_code = 6
    result: object = None


class TrainingDiverged(CompressorError):  # noqa: N818
    """The loss is not finite any more; the module holds the last good weights.

    Attributes:
        model: a model with these weights, where there is one.
    """

    exit_code = 2
    model: ir.Model | None = None


class CheckpointError(UsageError):
    """A checkpoint is missing, damaged, or belongs to another run."""


class ProviderUnavailable(CompressorError):  # noqa: N818
    """An execution provider was asked for and cannot be used on this machine."""

    exit_code = 7


class RuleFault(CompressorError):  # noqa: N818
    """A rule of the operator table does not fit a node. Whoever meets it freezes the node and couples again.

    Attributes:
        node: name of the node.
        sentence: what does not fit.
    """

    def __init__(self, node: str, sentence: str) -> None:
        super().__init__(f"node {node!r}: {sentence}; {FAULT}")
        self.node = node
        self.sentence = sentence


class OutOfMemory(CompressorError):  # noqa: N818
    """Memory ran out; nothing is said about the model or the result."""

    exit_code = 8
