"""What the runs of a proof showed, and what they say nothing about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from compressor.core.compare import Distance
from compressor.errors import NothingToProve, tool_fault
from compressor.pruning.standard import Standard
from compressor.runtime.stored import Runs

NO_NUMBER = "no entry of this output was a finite number on the inputs of the proof"
EMPTY = "this output was empty on the inputs of the proof"


@dataclass(frozen=True)
class NotProved:
    """What no comparison says anything about, and why."""

    group: str
    reason: str


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


@dataclass
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
        not_proved: groups whose wrong cut nothing notices.
        shifted_together: groups whose wrong cut was noticed along with others', and not by itself.
        runs: what the model that was held against the reference gives.
        reference: what the model was held against, in words; empty: the original with the same channels masked.
    """

    tolerance: float
    max_rel_err: float = 0.0
    max_abs_err: float = 0.0
    passed: bool = True
    inputs: list[dict[str, list[int]]] = field(default_factory=list)
    worst: str = ""
    masked_statistics: bool = False
    note: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    noticed: int = 0
    not_proved: list[NotProved] = field(default_factory=list)
    shifted_together: list[str] = field(default_factory=list)
    runs: Runs | None = None
    reference: str = ""

    @staticmethod
    def of(standard: Standard, runs: Runs) -> Evidence:
        """How far ``runs`` is from what is asked, output by output.

        Raises:
            ProofFailed: outputs have other names, or another order; how far they are is for :func:`demand_proof`.
        """
        evidence = Evidence(standard.tolerance.rtol, note=standard.note, runs=runs)
        evidence.inputs = [{k: list(v.shape) for k, v in feed.items()} for feed in standard.runs.feeds]
        # Below every rank, so that an output is named even where nothing differs.
        worst = -1.0
        evidence.not_proved = [
            NotProved(standard.runs.names[place], why) for place, why in sorted(standard.left_out.items())
        ]
        for row in standard.distances(runs):
            for place, (name, gap) in enumerate(zip(standard.runs.names, row, strict=True)):
                if place in standard.left_out:
                    continue
                evidence.counts[name] = evidence.counts.get(name, 0) + gap.compared
                evidence.passed = evidence.passed and gap.passed
                evidence.tolerance = max(evidence.tolerance, gap.tolerance)
                evidence.max_rel_err = max(evidence.max_rel_err, gap.max_rel)
                evidence.max_abs_err = max(evidence.max_abs_err, gap.max_abs)
                if (rank := _rank(gap)) >= worst:
                    worst, evidence.worst, of_worst = rank, name, gap
        if not evidence.passed:
            evidence.max_rel_err, evidence.tolerance = of_worst.max_rel, of_worst.tolerance
        return evidence

    def take(self, noticed: Noticed) -> None:
        """Adds what came of wrong models."""
        self.noticed, self.shifted_together = noticed.count, noticed.together
        self.not_proved += noticed.missing

    @property
    def compared(self) -> int:
        """How many entries of all outputs were compared."""
        return sum(self.counts.values())

    @property
    def silent(self) -> list[NotProved]:
        """Outputs of which no entry was compared."""
        return [NotProved(name, self._silence(name)) for name, count in self.counts.items() if not count]

    def _silence(self, name: str) -> str:
        runs = self.runs
        arrays = [] if runs is None else [row[list(runs.names).index(name)] for row in runs.outputs]
        return NO_NUMBER if any(array.size for array in arrays) else EMPTY


def _rank(gap: Distance) -> float:
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
    if any(silent.reason == NO_NUMBER for silent in evidence.silent):
        what, remedy = "no output of the original is a finite number", ""
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
    return replace(
        evidence,
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
