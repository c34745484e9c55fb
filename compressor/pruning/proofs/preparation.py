"""The file as it was read, and the graph that was made of it before anything is removed: both give the same.

Normalising, folding and unfusing are proved here, with the file itself as the reference where there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, tee
from pathlib import Path

import onnx_ir as ir

from compressor.config import RunSettings
from compressor.core.scratch import scratch
from compressor.errors import ModelError, tool_fault
from compressor.graph.disk.joined import ModelOrigin
from compressor.graph.form.normalise import normalise, with_node_names
from compressor.graph.sizes.shapes import Shapes
from compressor.operators.sizes import infer
from compressor.pruning.proofs.graphs.constants import demand_same_constants
from compressor.pruning.proofs.graphs.exact import became_constants, demand_settings
from compressor.pruning.proofs.graphs.prepared_wiring import demand_prepared_wiring
from compressor.pruning.proofs.outputs.evidence import (
    Evidence,
    NotProved,
    NotProvedKind,
    demand_numbers,
    demand_proof,
    with_comparisons,
)
from compressor.pruning.proofs.outputs.standard import with_tolerance
from compressor.pruning.proofs.proof import ONE_SIZE, answers_of, input_sizes, tolerance_of, unlike
from compressor.pruning.proofs.renumbered import Renumbered, Renumbering
from compressor.pruning.proofs.routes import ModelPair, flows, prove_routes
from compressor.pruning.proofs.runs.chained import runnable_given
from compressor.pruning.proofs.runs.inputs import Inputs
from compressor.pruning.proofs.runs.whole_or_pieces import runnable
from compressor.runtime.stored import Answers, Feed, Runnable, opened_beside

PREPARATION = "preparation"
NOT_RUNNING = "the file does not run before anything is changed: {error}"
REFUSED = (
    "the file does not run as it was read, though what was made of it does, so that nothing shows that both are the "
    "same: {error}; export it anew or mend that, or leave this comparison out with {flag}"
)
"""What is said of a file that ONNX Runtime refuses, where the prepared graph runs."""
UNREAD = "the file does not run as it lies there, so that what was read of it was run in its place: {error}"


@dataclass(frozen=True)
class Original:
    """A model as it came.

    Attributes:
        given: the file, several of a joined model, or a model in memory.
        model: what was read from there.
        renumbering: tokens that have other numbers in ``model`` than in ``given``; None where all are the same.
    """

    given: ModelOrigin
    model: ir.Model
    renumbering: Renumbering | None = None


def prove_preparation(
    original: Original, prepared: ir.Model, shapes: Shapes, settings: RunSettings, *, numbers: bool = True
) -> list[NotProved]:
    """Proves that normalising, folding and unfusing changed no output: of the file itself, where there is one.

    Both are run at the second size, and far from it where more than the batch is open: a size that was taken for a
    constant shows there. Constants, settings and who reads what are compared node by node; branches, in runs, where
    their nodes keep their names.

    Args:
        original: what came in.
        prepared: made from it.
        shapes: of the prepared graph.
        settings: tolerance, provider and seed.
        numbers: some output has to be a finite number; said now, before anything is measured on it.

    Returns:
        What could not be proved.

    Raises:
        ModelError: the file does not run.
        ProofFailed: the prepared graph differs, or does not run where the file does.
        NothingToProve: no output is a number.
    """
    missing = _demand_same_parts(original.model, prepared, settings)
    inputs = Inputs.of_proof(prepared, shapes, settings.seed)
    # Folding looked at the first size; at the second one a size that was taken for a constant shows.
    wanted = inputs.every[-2:] if inputs.far is not None else inputs.both[-1:]
    # The first size comes before made-up ones: shapes were inferred at it, so it most likely runs.
    spare = chain([inputs.first], inputs.instead())
    try:
        evidence = same_outputs(original, prepared, wanted, settings, spare, _alone(original, inputs))
    except ModelError as error:
        raise _refused(error, prepared, inputs.both, settings, "--verify quick") from None
    _demand_passed(evidence)
    if numbers:
        demand_numbers(evidence)
    # By identity: another feed than the wanted one was taken, so nothing was shown about other sizes.
    if inputs.second is not None and evidence.runs is not None and evidence.runs.feeds[0] is not wanted[0]:
        missing.append(NotProved(PREPARATION, ONE_SIZE, NotProvedKind.SIZES))
    return [*missing, *evidence.silent, *evidence.not_proved, *_unlike(original, prepared, inputs, settings)]


def prove_cleaned(original: Original, cleaned: ir.Model, shapes: Shapes, settings: RunSettings) -> Evidence:
    """Proves that a model which lost no channel gives what its file gives; raises as :func:`prove_preparation`."""
    missing = _demand_same_parts(original.model, cleaned, settings)
    inputs = Inputs.of_proof(cleaned, shapes, settings.seed)
    chosen = inputs.every if settings.verify == "full" else inputs.both
    try:
        evidence = same_outputs(original, cleaned, chosen, settings, inputs.instead(), _alone(original, inputs))
    except ModelError as error:
        raise _refused(error, cleaned, chosen, settings, "--no-verify") from None
    demand_proof(evidence)
    # The original refused one of the probed sizes.
    taken = evidence.runs.feeds if evidence.runs is not None else ()
    if inputs.second is not None and len({input_sizes(feed) for feed in taken}) == 1:
        missing.append(NotProved(PREPARATION, ONE_SIZE, NotProvedKind.SIZES))
    return evidence.with_missing([*evidence.silent, *missing, *_unlike(original, cleaned, inputs, settings)])


def prove_with_functions(plain: ir.Model, kept: ir.Model, settings: RunSettings) -> list[NotProved]:
    """Proves that a model gives the same once calls of local functions are back in it.

    Args:
        plain: without them.
        kept: with them.
        settings: tolerance, provider and sizes.

    Returns:
        Branches of which nothing is shown, as they lie in functions.

    Raises:
        ProofFailed: it does not.
    """
    graph = normalise(kept.clone())
    missing = _demand_same_parts(plain, graph, settings)
    inputs = Inputs.of_proof(graph, infer(graph, settings.input_shapes, settings.dims), settings.seed)
    try:
        evidence = same_outputs(Original(kept, kept), plain, inputs.both, settings, inputs.instead())
    except ModelError as error:
        raise tool_fault(f"the model does not run with its functions: {error}") from None
    demand_proof(evidence)
    return [*missing, *evidence.not_proved]


def _alone(original: Original, inputs: Inputs) -> list[Feed]:
    """What is run besides, for what ordinary numbers do not show."""
    quiet = inputs.quiet if became_constants(original.model.graph, inputs.model.graph) else None
    return [feed for feed in (inputs.loud, quiet, inputs.small) if feed is not None]


def _demand_same_parts(before: ir.Model, prepared: ir.Model, settings: RunSettings) -> list[NotProved]:
    """Holds constants, settings and wiring against the file's; what was folded and cannot be computed is returned."""
    demand_settings(before.graph, prepared.graph, "the prepared graph")
    demand_prepared_wiring(before, prepared)
    return demand_same_constants(before, prepared, settings.provider)


def _refused(error: ModelError, made: ir.Model, feeds: Sequence[Feed], settings: RunSettings, flag: str) -> ModelError:
    """What is said of a file that does not run; with the ``flag`` that goes without it where ``made`` of it does."""
    with scratch() as folder:
        try:
            Answers.to_some(runnable(made, folder, settings.provider), feeds, enough=1)
        except ModelError:
            return ModelError(NOT_RUNNING.format(error=error))
    # Two nodes of one name, say.
    return ModelError(REFUSED.format(error=str(error).rstrip(" ."), flag=flag))


def _demand_passed(evidence: Evidence) -> None:
    if not evidence.passed:
        raise tool_fault(
            f"the prepared graph differs from the file that was read: output {evidence.worst!r} is off by "
            f"{evidence.max_rel_err:.2g} of its range (tolerance {evidence.tolerance:g})"
        )


def _unlike(original: Original, prepared: ir.Model, inputs: Inputs, settings: RunSettings) -> list[NotProved]:
    if inputs.unlike is None:
        return []
    with scratch() as folder:
        given = _runnable(original, prepared, folder, settings)
        return unlike(given, runnable(prepared, folder, settings.provider), inputs, settings)


def _runnable(original: Original, prepared: ir.Model, folder: Path, settings: RunSettings) -> Runnable:
    """The file itself where there is one: a copy that this tool read and wrote could hide a fault of its reader."""
    given = runnable_given(original.given, prepared, folder, settings.provider)
    return given if original.renumbering is None else Renumbered(given, original.renumbering)


def _answers_of_original(
    original: Original,
    prepared: ir.Model,
    feeds: Sequence[Feed],
    instead: Iterable[Feed],
    folder: Path,
    settings: RunSettings,
) -> tuple[Answers, list[NotProved]]:
    """What the file gives, or what was read of it where it does not run itself, which is then not proved.

    Raises:
        ModelError: neither takes any of the inputs.
    """
    spare, again = tee(instead)
    try:
        return Answers.to_some(_runnable(original, prepared, folder, settings), feeds, spare), []
    except ModelError as error:
        # Shapes in external data, say, which the runtime does not read there.
        with suppress(ModelError):
            read = runnable(original.model, folder, settings.provider)
            return Answers.to_some(read, feeds, again), [NotProved(PREPARATION, UNREAD.format(error=error))]
        raise


def same_outputs(
    original: Original,
    prepared: ir.Model,
    inputs: Sequence[Feed],
    settings: RunSettings,
    instead: Iterable[Feed] = (),
    alone: Sequence[Feed] = (),
) -> Evidence:
    """How far a model is from the one that it was made from, on inputs that the latter takes, and in every branch.

    Does not demand anything; what no input reaches is in ``not_proved``.

    Args:
        original: what it was made from.
        prepared: the model.
        inputs: to compare on.
        settings: tolerance and provider.
        instead: tried one after the other where the original takes none of them.
        alone: more inputs, each judged by itself.

    Raises:
        ProofFailed: the model does not run where the original does, or differs on what is judged by itself.
        ModelError: the original takes none of the inputs.
    """
    tolerance, full = tolerance_of(settings), settings.verify == "full"
    with scratch() as folder, opened_beside(runnable(prepared, folder, settings.provider)) as made:
        # All at once, since a model that is run in pieces is read once for all of them.
        wanted = [*inputs, *alone] if full else inputs
        expected, unread = _answers_of_original(original, prepared, wanted, instead, folder, settings)
        # Only on feeds that the original takes: what it refuses, the model may refuse too.
        answers = answers_of(made, expected.runs.feeds)
        expected, expected_alone = expected.apart(alone)
        answers, answers_alone = answers.apart(alone)
        evidence = Evidence.of(*with_tolerance(expected, answers, tolerance, original.model)).with_missing(unread)
        if not evidence.passed or not full:
            return evidence
        # By itself, as what rounding does to large numbers would excuse anything in runs of ordinary ones.
        for one, other in zip(expected_alone, answers_alone, strict=True):
            _demand_passed(Evidence.of(*with_tolerance(one, other, tolerance, original.model)))
        # Routes go by names of nodes, which the prepared graph was given in the same way.
        known = with_node_names(original.model) if flows(prepared.graph) else original.model
        models = ModelPair(known, prepared)
        routed = prove_routes(models, expected.runs.feeds, tolerance, folder, settings.provider, ways=prepared.graph)
    failed = next((told for told in routed.shown if not told.passed), None)
    if failed is not None:
        return failed
    return with_comparisons(evidence, routed.shown).with_missing(routed.missing)
