"""What the runs of a proof showed, and what they say nothing about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from compressor.core.compare import ArrayDistance
from compressor.errors import NothingToProve, tool_fault
from compressor.pruning.proofs.outputs.standard import Standard
from compressor.runtime.stored import Runs

NO_NUMBER = "no entry of this output was a finite number on the inputs of the proof"
EMPTY = "this output was empty on the inputs of the proof"


class NotProvedKind(Enum):
    """Why nothing is said, as far as anything is decided by it."""

    SIZES = "values were compared at one size alone"
    ROUNDING = "rounding may move it by as much as it holds"
    NO_NUMBER = "no entry was a finite number"
    OTHER = "anything else"


@dataclass(frozen=True)
class NotProved:
    """What no comparison says anything about, and why: in words for a reader, and of which kind that is."""

    group: str
    reason: str
    kind: NotProvedKind = NotProvedKind.OTHER


@dataclass(frozen=True)
class Noticed:
    """What came of models that were made wrong on purpose.

    Attributes:
        count: of those that were noticed.
        missing: groups or layers of which it was not.
        together: groups or layers of which it was along with others, and not by themselves.
    """

    count: int
    missing: list[NotProved]
    together: list[str]


@dataclass(frozen=True)
class Evidence:
    """What the runs showed.

    Attributes:
        max_rel_err: largest difference, as a share of the largest magnitude of its output.
        max_abs_err: largest difference.
        tolerance: largest relative difference allowed.
        passed: every output of every run was within it.
        inputs: shapes by input name, for each run.
        worst: the output with the largest relative error.
        masked_statistics: the reference takes norms and means over the kept channels only.
        note: what a reader of the numbers should know.
        counts: how many entries of each output were compared; of none, nothing is proved of it.
        noticed: wrong cuts, made on purpose, that the comparison noticed.
        not_proved: what no comparison says anything about, such as groups whose wrong cut nothing notices.
        shifted_together: groups whose wrong cut was noticed along with others', and not by itself.
        runs: what the model that was held against the reference gives.
        reference: what the model was held against, in words; empty: the original with the same channels masked.
    """

    tolerance: float
    max_rel_err: float = 0.0
    max_abs_err: float = 0.0
    passed: bool = True
    inputs: Sequence[Mapping[str, list[int]]] = ()
    worst: str = ""
    masked_statistics: bool = False
    note: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    noticed: int = 0
    not_proved: Sequence[NotProved] = ()
    shifted_together: Sequence[str] = ()
    runs: Runs | None = None
    reference: str = ""

    @staticmethod
    def of(standard: Standard, runs: Runs) -> Evidence:
        """How far ``runs`` is from what is asked, output by output.

        Raises:
            ProofFailed: outputs have other names, or another order; how far they are is for :func:`demand_proof`.
        """
        names = standard.runs.names
        gaps = [
            (name, gap)
            for row in standard.distances(runs)
            for place, (name, gap) in enumerate(zip(names, row, strict=True))
            if place not in standard.left_out
        ]
        rounded = {k: NotProved(names[k], why, NotProvedKind.ROUNDING) for k, why in standard.hardly_compared.items()}
        missing = rounded | {k: NotProved(names[k], why) for k, why in standard.left_out.items()}
        counts: dict[str, int] = {}
        for name, gap in gaps:
            counts[name] = counts.get(name, 0) + gap.compared
        # From behind, so that of equals the last one is named; one is even where nothing differs.
        worst, of_worst = max(reversed(gaps), key=lambda pair: _rank(pair[1]), default=("", None))
        passed = all(gap.passed for _, gap in gaps)
        # What failed is told as it is, and not beside the looser tolerance of another output.
        told = [gap for _, gap in gaps] if passed or of_worst is None else [of_worst]
        return Evidence(
            tolerance=max([standard.tolerance.rtol if passed else 0.0, *(gap.tolerance for gap in told)]),
            max_rel_err=max((gap.max_rel for gap in told), default=0.0),
            max_abs_err=max([0.0, *(gap.max_abs for _, gap in gaps)]),
            passed=passed,
            inputs=[{k: list(v.shape) for k, v in feed.items()} for feed in standard.runs.feeds],
            worst=worst,
            note=standard.note,
            counts=counts,
            not_proved=[missing[place] for place in sorted(missing)],
            runs=runs,
        )

    def with_wrong_models(self, noticed: Noticed) -> Evidence:
        """The same with what came of models that were made wrong on purpose."""
        wrong = replace(self, noticed=noticed.count, shifted_together=noticed.together)
        return wrong.with_missing(noticed.missing)

    def with_missing(self, missing: Iterable[NotProved]) -> Evidence:
        """The same, of which more is not proved."""
        return replace(self, not_proved=[*self.not_proved, *missing])

    @property
    def compared(self) -> int:
        """How many entries of all outputs were compared."""
        return sum(self.counts.values())

    @property
    def silent(self) -> list[NotProved]:
        """Outputs of which no entry was compared."""
        return [self._silence(name) for name, count in self.counts.items() if not count]

    def _silence(self, name: str) -> NotProved:
        runs = self.runs
        arrays = [] if runs is None else [row[list(runs.names).index(name)] for row in runs.outputs]
        if any(array.size for array in arrays):
            return NotProved(name, NO_NUMBER, NotProvedKind.NO_NUMBER)
        return NotProved(name, EMPTY)


def _rank(gap: ArrayDistance) -> float:
    """Outputs that fail come before those that pass, large errors before small ones."""
    return gap.channel_rel + (0.0 if gap.passed else 1e9)


def demand_proof(evidence: Evidence) -> None:
    """Raises ProofFailed unless the proof passed, and NothingToProve where nothing was compared."""
    demand_passed(evidence)
    demand_numbers(evidence)


def demand_passed(evidence: Evidence) -> None:
    """Raises ProofFailed unless every output is within tolerance."""
    if not evidence.passed:
        raise tool_fault(
            f"output {evidence.worst!r} of the smaller model is off by {evidence.max_rel_err:.2g} of its range "
            f"(tolerance {evidence.tolerance:g})"
        )


def demand_numbers(evidence: Evidence) -> None:
    """Raises NothingToProve where not one entry was compared: a model whose outputs are all NaN agrees with any."""
    if evidence.compared or not evidence.inputs:
        return
    fed = ", ".join(f"{name} {shape}" for name, shape in evidence.inputs[0].items())
    what, remedy = f"every output of the original is empty ({fed})", ", export it again where it fixes a size to 0"
    if any(silent.kind is NotProvedKind.NO_NUMBER for silent in evidence.silent):
        what, remedy = "no output of the original is a finite number", ""
    elif evidence.not_proved and not evidence.counts:
        out = evidence.not_proved[0]
        what, remedy = f"nothing of any output can be compared ({out.group!r}: {out.reason})", ""
    raise NothingToProve(
        f"{what} on the inputs of the proof, so nothing can be proved; give sizes that it is meant for with --dim or "
        f"--input-shape{remedy}, or leave the proof out with --no-verify"
    )


def _strain(evidence: Evidence) -> float:
    """How much of its own tolerance an error takes: comparisons may have had different ones."""
    return evidence.max_rel_err / evidence.tolerance if evidence.tolerance else evidence.max_rel_err


def with_comparisons(evidence: Evidence, more: Sequence[Evidence]) -> Evidence:
    """``evidence`` of a proof with what further comparisons of the same two models showed.

    Raises:
        ProofFailed: one of these did not pass.
    """
    for other in more:
        # One without numbers (a branch that gives NaN) shows nothing, and accuses nobody.
        demand_passed(other)
    worst = max([evidence, *more], key=_strain)
    missing = dict.fromkeys(item for proof in (evidence, *more) for item in proof.not_proved)
    return replace(
        evidence,
        not_proved=list(missing),
        max_rel_err=worst.max_rel_err,
        max_abs_err=max(e.max_abs_err for e in [evidence, *more]),
        worst=worst.worst,
        tolerance=worst.tolerance,
        counts={name: sum(e.counts.get(name, 0) for e in [evidence, *more]) for name in evidence.counts},
    )


def together(proofs: Sequence[Evidence]) -> Evidence | None:
    """The proof with the largest error of those of several steps, with what none of them proved."""
    worst = max(proofs, key=_strain, default=None)
    if worst is None:
        return None
    missing = dict.fromkeys(item for proof in proofs for item in proof.not_proved)
    along = dict.fromkeys(name for proof in proofs for name in proof.shifted_together)
    return replace(
        worst,
        not_proved=list(missing),
        shifted_together=list(along),
        noticed=sum(proof.noticed for proof in proofs),
        masked_statistics=any(proof.masked_statistics for proof in proofs),
        note="; ".join(dict.fromkeys(proof.note for proof in proofs if proof.note)),
    )
