"""The proof: the smaller model gives what the original gives when the removed channels do not count.

Every model that is compared lies in a file of its own, written before anything that could edit it, and is run in
ONNX Runtime on the same seeded inputs, at two sizes where dimensions are symbolic. Four things are held against
each other: the file as it was read and the prepared graph; the masked graph and the smaller one; a smaller one
that is cut wrongly on purpose; the smaller one and the file that was written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

import onnx_ir as ir

from compressor.config import RunSettings
from compressor.config.proof import ProofSection
from compressor.core.compare import Distance, Tolerance
from compressor.core.scratch import scratch
from compressor.errors import ModelError, ProofFailed
from compressor.graph import files
from compressor.graph.joined import Given
from compressor.graph.normalise import normalise
from compressor.graph.shapes import Shapes, infer
from compressor.operators.reference import Reference
from compressor.pruning.chained import runnable_given, runnable_written
from compressor.pruning.inputs import Inputs
from compressor.pruning.nothing_compared import demand_numbers
from compressor.pruning.piecewise import Piecewise, runnable
from compressor.pruning.standard import Standard, moved_runs, noise_of, with_tolerance
from compressor.runtime.stored import Answers, Feed, Runnable, Runs

ONE_SIZE = "the file does not run at another size of its open dimensions"
PLEASE = "nothing was written; this is a fault of this tool, please report it"


@dataclass(frozen=True)
class NotProved:
    """What no comparison says anything about, and why."""

    group: str
    reason: str


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
        compared: how many results were compared; of none, nothing is proved.
        noticed: wrong cuts, made on purpose, that the comparison noticed.
        not_proved: groups whose wrong cut nothing notices.
        shifted_together: groups whose wrong cut was noticed along with others', and not by itself.
        runs: what the model that was held against the reference gives.
        digest: hash of its file; empty where that is not the file that will be written.
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
    compared: int = 0
    noticed: int = 0
    not_proved: list[NotProved] = field(default_factory=list)
    shifted_together: list[str] = field(default_factory=list)
    runs: Runs | None = None
    digest: str = ""
    reference: str = ""

    @staticmethod
    def of(asked: Standard, found: Runs) -> Evidence:
        """How far ``found`` is from what is asked, output by output; does not raise."""
        evidence = Evidence(asked.tolerance.rtol, note=asked.note, runs=found)
        evidence.inputs = [{k: list(v.shape) for k, v in feed.items()} for feed in asked.runs.feeds]
        # Below every rank, so that an output is named even where nothing differs.
        worst = -1.0
        for row in asked.distances(found):
            for name, gap in zip(asked.runs.names, row, strict=True):
                evidence.compared += gap.compared
                evidence.passed = evidence.passed and gap.passed
                evidence.tolerance = max(evidence.tolerance, gap.tolerance)
                evidence.max_rel_err = max(evidence.max_rel_err, gap.max_rel)
                evidence.max_abs_err = max(evidence.max_abs_err, gap.max_abs)
                if (rank := _rank(gap)) >= worst:
                    worst, evidence.worst, of_worst = rank, name, gap
        if not evidence.passed:
            evidence.max_rel_err, evidence.tolerance = of_worst.max_rel, of_worst.tolerance
        return evidence


def _rank(gap: Distance) -> float:
    """Outputs that fail come before those that pass, large errors before small ones."""
    return gap.channel_rel + (0.0 if gap.passed else 1e9)


def tolerance_of(settings: ProofSection) -> Tolerance:
    """The error that settings allow; by channel, unless only the quick proof is wanted."""
    return Tolerance(settings.rtol, settings.atol, by_channel=settings.verify == "full")


# ---- the file as it was read, and the prepared graph ---------------------------------------------------------


def prove_preparation(
    source: Given, prepared: ir.Model, shapes: Shapes, settings: RunSettings, *, numbers: bool = True
) -> list[NotProved]:
    """Proves that normalising, folding and unfusing changed no output: of the file itself, where there is one.

    Both are run at the second size, and far from it where more than the batch is open: a size that was taken for a
    constant shows there.

    Args:
        source: the file, several of a joined model, or a model in memory.
        prepared: made from it.
        shapes: of the prepared graph.
        settings: tolerance, provider and seed.
        numbers: some output has to be a finite number; said now, before anything is measured on it.

    Returns:
        What could not be proved.

    Raises:
        ProofFailed: the prepared graph differs, or does not run where the file does; or no output is a number.
    """
    inputs = Inputs.of_proof(prepared, shapes, settings.seed)
    # Folding looked at the first size; at the second one a size that was taken for a constant shows.
    wanted = inputs.both[-1:] if inputs.far is None or inputs.batched else [inputs.both[-1], inputs.far]
    with scratch() as folder:
        # The file itself where there is one: a copy that this tool read and wrote again could hide a fault of its
        # reader.
        given = runnable_given(source, prepared, folder, settings.provider)
        try:
            # The first size comes before made-up ones: shapes were inferred at it, so it most likely runs.
            spare = chain([inputs.first], inputs.instead())
            expected = Answers.to_some(given, wanted, spare)
        except ModelError as error:
            # Shapes in external data, say, which the runtime does not read.
            return [NotProved("preparation", f"ONNX Runtime does not run the file as it was read: {error}")]
        # Only on feeds that the original takes: what it refuses, the prepared graph may refuse too.
        found = _answers(runnable(prepared, folder, settings.provider), expected.runs.feeds)
        evidence = Evidence.of(*with_tolerance(expected, found, tolerance_of(settings)))
    if not evidence.passed:
        raise ProofFailed(
            f"the prepared graph differs from the file that was read: output {evidence.worst!r} is off by "
            f"{evidence.max_rel_err:.2g} of its range (tolerance {evidence.tolerance:g}); {PLEASE}"
        )
    if numbers:
        demand_numbers(evidence.compared, evidence.runs)
    # By identity: another feed than the wanted one was taken, so nothing was shown about other sizes.
    if inputs.second is not None and expected.runs.feeds[0] is not wanted[0]:
        return [NotProved("preparation", ONE_SIZE)]
    return []


def prove_cleaned(source: Given, cleaned: ir.Model, shapes: Shapes, settings: RunSettings) -> Evidence:
    """Proves that a model which lost no channel gives what its file gives; raises as :func:`prove_preparation`."""
    inputs = Inputs.of_proof(cleaned, shapes, settings.seed)
    chosen = inputs.every if settings.verify == "full" else inputs.both
    evidence = same_outputs(source, cleaned, chosen, settings, inputs.instead())
    demand_proof(evidence)
    # The original refused one of the probed sizes.
    if len(evidence.inputs) < len(inputs.both):
        evidence.not_proved = [NotProved("preparation", ONE_SIZE)]
    return evidence


def same_outputs(
    source: Given,
    made: ir.Model,
    inputs: Sequence[Feed],
    settings: RunSettings,
    instead: Iterable[Feed] = (),
) -> Evidence:
    """How far a model is from the one that it was made from, on the inputs that the latter takes; does not demand."""
    with scratch() as folder:
        expected = Answers.to_some(runnable_given(source, made, folder, settings.provider), inputs, instead)
        found = _answers(runnable(made, folder, settings.provider), expected.runs.feeds)
        return Evidence.of(*with_tolerance(expected, found, tolerance_of(settings)))


def _answers(found: Runnable, inputs: Sequence[Feed]) -> Answers:
    """What a model that this tool made gives; raises ProofFailed where it does not run."""
    try:
        return Answers.of(found, inputs)
    except ModelError as error:
        raise ProofFailed(f"a model made from the original fails: {error}; {PLEASE}") from None


# ---- the masked graph, and the smaller one -------------------------------------------------------------------


@dataclass(frozen=True)
class MaskedReference:
    """The reference: what the smaller model has to give.

    Attributes:
        model: the graph in which what goes does not count; nothing edits it.
        stored: its file.
        masks: what was put into it; None where it is the prepared graph itself.
    """

    model: ir.Model
    stored: Runnable
    masks: Reference | None = None


def prove(masked: MaskedReference, found: Runnable, shapes: Shapes, settings: RunSettings) -> tuple[Evidence, Standard]:
    """Runs the smaller model and compares it with the reference, output by output.

    A mask that spells out a size which depends on the input fits the first size only; at the second one the
    smaller model then has to run, without being compared.

    Returns:
        What was found, and the standard that it was held against.

    Raises:
        ProofFailed: it does not load or does not run; whether it differs is for :func:`demand_proof` to say.
        ModelError: the reference does not run.
    """
    sized = masked.masks is not None and masked.masks.sized
    inputs = Inputs.of_proof(masked.model, shapes.of_inputs(masked.model.graph), settings.seed)
    wanted = inputs.for_masks(sized=sized) if settings.verify == "full" or sized else inputs.both
    # Two runs are enough; more are offered for models that refuse some sizes.
    expected = Answers.to_some(masked.stored, wanted, inputs.instead(), enough=2)
    taken = list(expected.runs.feeds)
    # The second size is run though nothing can be compared there: a size that was baked into the smaller model fails.
    answers = _answers(found, [*taken, *inputs.both[1:]] if sized and taken[0] is inputs.first else taken)
    # Without the run at the second size, which has no counterpart.
    runs = Runs(answers.runs.names, taken, answers.runs.outputs[: len(taken)])
    asked, held = with_tolerance(expected, replace(answers, runs=runs), tolerance_of(settings))
    evidence = Evidence.of(asked, held)
    if isinstance(masked.stored, Piecewise):
        evidence.note = "; ".join(filter(None, [evidence.note, masked.stored.note]))
    evidence.masked_statistics = masked.masks is not None and masked.masks.statistics > 0
    return evidence, asked


def demand_proof(evidence: Evidence) -> None:
    """Raises ProofFailed unless the proof passed."""
    if not evidence.passed:
        raise ProofFailed(
            f"output {evidence.worst!r} of the smaller model is off by {evidence.max_rel_err:.2g} of its range "
            f"(tolerance {evidence.tolerance:g}); {PLEASE}"
        )
    demand_numbers(evidence.compared, evidence.runs)


# ---- the file that was written -------------------------------------------------------------------------------


def file_check(
    model: ir.Model, known: Evidence | None, settings: RunSettings
) -> Callable[[Path | Sequence[Path]], None] | None:
    """What ``files.save_model`` asks of a file before it is put in place: :func:`prove_written`, if all is proved."""
    if settings.verify != "full":
        return None
    return partial(prove_written, settings=settings, model=model, known=known)


def prove_written(path: Path | Sequence[Path], settings: RunSettings, model: ir.Model, known: Evidence | None) -> None:
    """Proves that a written file gives what the model in memory gives, before it is put in place.

    A file of the very bytes that were proved already is not run again.

    Args:
        path: the file under its temporary name; of a joined model all its files, which run one after the other.
        settings: tolerance and provider.
        model: what was written.
        known: what was proved of it; None where nothing was, as its weights were trained since.

    Raises:
        ProofFailed: it does not load, does not run, or gives something else.
    """
    paths = [path] if isinstance(path, Path) else list(path)
    # Equal bytes give equal results, and a run of a large file is the dearest part of writing.
    if known is not None and known.digest and known.digest == files.digest(paths):
        return
    runs = known.runs if known is not None else None
    if runs is None:
        # Sizes are followed in graphs without functions.
        plain = normalise(model.clone()) if model.functions else model
        inputs = Inputs.of_proof(plain, infer(plain, settings.input_shapes, settings.dims), settings.seed)
        with scratch() as folder:
            stored = runnable(model, folder, settings.provider)
            runs = Answers.to_some(stored, inputs.both, inputs.instead()).runs
    runs = runs.smallest()  # one shows whether the file was written right; the mathematics was proved before
    with scratch() as folder:
        answers = _answers(runnable_written(paths, model, folder, settings.provider), runs.feeds)
        asked = Standard(runs, tolerance_of(settings))
        # Mostly the file agrees at once; what was proved may be runs without optimisations.
        if not asked.met_by(answers.runs):
            if asked.met_by(answers.stored.run(runs.feeds, optimise=False)):
                return
            asked = replace(asked, noise=noise_of([(answers.runs, moved_runs(answers, runs.feeds))]))
    evidence = Evidence.of(asked, answers.runs)
    if not evidence.passed:
        raise ProofFailed(
            f"the written file differs from the model in memory: output {evidence.worst!r} is off by "
            f"{evidence.max_rel_err:.2g} of its range; {PLEASE}"
        )


def with_comparisons(evidence: Evidence, more: Sequence[Evidence]) -> Evidence:
    """``evidence`` of a proof with what further comparisons of the same two models showed.

    Raises:
        ProofFailed: one of these did not pass.
    """
    for other in more:
        demand_proof(other)
    worst = max([evidence, *more], key=lambda e: e.max_rel_err)
    return replace(
        evidence,
        max_rel_err=worst.max_rel_err,
        max_abs_err=max(e.max_abs_err for e in [evidence, *more]),
        worst=worst.worst,
        tolerance=max(e.tolerance for e in [evidence, *more]),
        compared=sum(e.compared for e in [evidence, *more]),
    )


def together(proofs: Sequence[Evidence]) -> Evidence | None:
    """The proof with the largest error of those of several steps, with what none of them proved."""
    # By the share of its tolerance, since steps may have had different ones.
    worst = max(proofs, key=lambda e: e.max_rel_err / e.tolerance if e.tolerance else e.max_rel_err, default=None)
    if worst is None:
        return None
    missing = dict.fromkeys(item for proof in proofs for item in proof.not_proved)
    along = dict.fromkeys(name for proof in proofs for name in proof.shifted_together)
    noticed = sum(proof.noticed for proof in proofs)
    return replace(worst, not_proved=list(missing), shifted_together=list(along), noticed=noticed)


def _sizes(value: ir.Value, *, declared: bool) -> tuple[str, ...] | int | None:
    """What the file declares of the shape of an input or output, or the number of axes alone."""
    if value.shape is None:
        return None
    return tuple(map(_size, value.shape)) if declared else len(value.shape)


def _size(dim: int | ir.SymbolicDim) -> str:
    # A negative size stands for an open one (docs/decisions/0008), so both ways of writing it have to compare equal.
    return str(ir.SymbolicDim(None) if isinstance(dim, int) and dim < 0 else dim)


def same_signature(before: ir.Model, after: ir.Model, free: Collection[str] = ()) -> None:
    """Raises ProofFailed unless inputs and outputs have the same names, types and shapes.

    Inputs with a default in the file are left out: a weight that lost channels cannot be overridden any more.

    Args:
        before: the original.
        after: the smaller model.
        free: inputs and outputs that may have other sizes.
    """

    def bound(model: ir.Model) -> list[ir.Value]:
        return [*(v for v in model.graph.inputs if not v.is_initializer()), *model.graph.outputs]

    def signature(value: ir.Value, known: ir.Value) -> tuple[object, ...]:
        # With the file's declared sizes: callers bind to these, even where inference knows better. What the original
        # leaves open nobody can have bound to.
        sizes = None if known.shape is None else _sizes(value, declared=known.name not in free)
        return value.name, None if known.dtype is None else value.dtype, sizes

    if [v.name for v in bound(before)] != [v.name for v in bound(after)]:
        raise ProofFailed("the result has other inputs or outputs than the original; nothing was written")
    for one, two in zip(bound(before), bound(after), strict=True):
        if signature(one, one) != signature(two, one):
            raise ProofFailed(
                f"{one.name!r} was {one.dtype} {one.shape} and is {two.dtype} {two.shape} in the result; nothing was "
                "written"
            )
