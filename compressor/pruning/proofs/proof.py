"""The proof: the smaller model gives what the original gives when the removed channels do not count.

Every model that is compared is a graph of its own, written before anything is cut, and is run in ONNX Runtime on the
same seeded inputs, at several sizes where dimensions are symbolic. Four things are held against each other: the file as
it was read and the prepared graph; the masked graph and the smaller one; a smaller one that is cut wrongly on purpose;
the smaller one and the file that was written. Weights are compared bit by bit besides
(:mod:`compressor.pruning.proofs.graphs.exact`), and what recovery leaves with what was proved
(:mod:`compressor.pruning.proofs.weights_only`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.config import RunSettings
from compressor.config.proof import ProofSection
from compressor.core.compare import Tolerance, is_finite
from compressor.core.scratch import scratch
from compressor.errors import ModelError, tool_fault
from compressor.graph.disk import files
from compressor.graph.disk.joined import split
from compressor.graph.form.normalise import normalise
from compressor.graph.ir.randomness import may_draw
from compressor.graph.sizes.shapes import Shapes
from compressor.operators.reference import Reference
from compressor.operators.sizes import infer
from compressor.pruning.proofs.graphs.interface_match import demand_same_interface
from compressor.pruning.proofs.graphs.written import demand_same
from compressor.pruning.proofs.outputs.evidence import Evidence, NotProved, NotProvedKind
from compressor.pruning.proofs.outputs.standard import Standard, drawn_of, moved_runs, noise_of, with_tolerance
from compressor.pruning.proofs.runs.chained import runnable_written
from compressor.pruning.proofs.runs.inputs import Inputs
from compressor.pruning.proofs.runs.whole_or_pieces import runnable
from compressor.runtime.stored import Answers, Feed, Runnable, Runs, opened_beside

ABOUT_SIZES = "sizes"
"""What an entry of what is not proved is about that is about no group."""
ONE_SIZE = "one size of its open dimensions was run: the file takes no other, or another would take too much"
SIZED = (
    "what goes is masked by position along an open dimension, so that values were compared at one size; at another one "
    "the shapes of outputs were"
)
UNLIKE = (
    "sizes of one input that have one name were taken to be equal, as ONNX has it; where they are not, ONNX Runtime "
    "runs the file all the same and gives something else"
)


def tolerance_of(settings: ProofSection) -> Tolerance:
    """The error that settings allow; by channel, unless only the quick proof is wanted."""
    return Tolerance(settings.rtol, settings.atol, by_channel=settings.verify == "full")


def answers_of(model: Runnable, inputs: Sequence[Feed]) -> Answers:
    """What a model that this tool made gives; raises ProofFailed where it does not run."""
    try:
        return Answers.of(model, inputs)
    except ModelError as error:
        raise tool_fault(f"a model made from the original fails: {error}") from None


def unlike(reference: Runnable, other: Runnable, inputs: Inputs, settings: ProofSection) -> list[NotProved]:
    """What is not the same where sizes differ that an input calls alike: nothing is owed there, so it is said alone."""
    if settings.verify != "full" or inputs.unlike is None:
        return []
    try:
        expected = Answers.of(reference, [inputs.unlike])
    except ModelError:
        return []  # nobody runs it at such sizes
    try:
        answers = Answers.of(other, [inputs.unlike])
    except ModelError:
        return [NotProved(ABOUT_SIZES, UNLIKE)]
    held = with_tolerance(expected, answers, tolerance_of(settings), inputs.model)
    return [] if Evidence.of(*held).passed else [NotProved(ABOUT_SIZES, UNLIKE)]


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


def prove(masked: MaskedReference, small: Runnable, shapes: Shapes, settings: RunSettings) -> tuple[Evidence, Standard]:
    """Runs the smaller model and compares it with the reference, output by output.

    A mask that spells out a size which depends on the input fits the first size only; at the second one the
    smaller model then has to run, without being compared.

    Returns:
        What was found, and the standard that it was held against.

    Raises:
        ProofFailed: it does not load or does not run; whether it differs is for
            :func:`compressor.pruning.proofs.outputs.evidence.demand_proof` to say.
        ModelError: the reference does not run.
    """
    sized = masked.masks is not None and masked.masks.sized
    inputs = Inputs.of_proof(masked.model, shapes.of_inputs(masked.model.graph), settings.seed)
    wanted = inputs.for_masks(sized=sized) if settings.verify == "full" or sized else inputs.both
    # Two runs are enough, and a third where one is far off; more are offered for models that refuse some sizes.
    enough = 2 if inputs.far is None else 3
    with opened_beside(small) as opened:
        expected = Answers.to_some(masked.stored, wanted, inputs.instead(), enough=enough)
        taken = list(expected.runs.feeds)
        # The second size is run though nothing can be compared there: a size that was baked into the smaller model
        # fails.
        answers = answers_of(opened, [*taken, *inputs.both[1:]] if sized and taken[0] is inputs.first else taken)
    if masked.masks is not None and len(answers.runs.outputs) > len(taken):
        _demand_shapes(answers.runs, masked.masks.cut.coupling, shapes)
    # Without the run at the second size, which has no counterpart.
    runs = Runs(answers.runs.names, taken, answers.runs.outputs[: len(taken)])
    standard, held = with_tolerance(expected, replace(answers, runs=runs), tolerance_of(settings), masked.model)
    evidence = Evidence.of(standard, held)
    if evidence.passed and settings.verify == "full":
        loudly = _at(inputs.loud, expected, answers, settings, masked.model)
        if loudly is not None and not loudly[0].passed:
            return loudly
    missing = unlike(masked.stored, small, inputs, settings)
    if shapes.chosen and len({input_sizes(feed) for feed in taken}) == 1:
        why = SIZED if sized and inputs.second is not None else ONE_SIZE
        missing.insert(0, NotProved(ABOUT_SIZES, why, NotProvedKind.SIZES))
    notes = [evidence.note, masked.stored.note]
    statistics = masked.masks is not None and masked.masks.statistics > 0
    evidence = replace(evidence, note="; ".join(filter(None, notes)), masked_statistics=statistics)
    return evidence.with_missing(missing), standard


def _at(
    feed: Feed | None, expected: Answers, answers: Answers, settings: RunSettings, model: ir.Model
) -> tuple[Evidence, Standard] | None:
    """What both give on one more input, judged by itself; None where the reference takes none or gives no numbers.

    What rounding does to large numbers would excuse anything in runs of ordinary ones.
    """
    if feed is None:
        return None
    try:
        known = expected.ready.run([feed])
    except ModelError:
        return None
    # Masks are zeros, and zero times infinity is no number.
    if not all(is_finite(array) for array in known.outputs[0]):
        return None
    try:
        found = answers.ready.run([feed])
    except ModelError as error:
        raise tool_fault(f"a model made from the original fails: {error}") from None
    held = with_tolerance(replace(expected, runs=known), replace(answers, runs=found), tolerance_of(settings), model)
    return Evidence.of(*held), held[0]


def input_sizes(feed: Feed) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Shapes of the inputs by name, to tell sizes apart."""
    return tuple(sorted((name, array.shape) for name, array in feed.items()))


def _demand_shapes(runs: Runs, coupling: Coupling, shapes: Shapes) -> None:
    """Raises ProofFailed unless outputs of the last run have the shapes that follow from the graph at these sizes."""
    bound = {name: array.shape for name, array in runs.feeds[-1].items()}
    for value in coupling.graph.outputs:
        if value.name in coupling.policy.free or value.name not in runs.names:
            continue
        shape = runs.outputs[-1][list(runs.names).index(str(value.name))].shape
        wanted = shapes.at(value, bound)
        # What depends on numbers and not on sizes alone is not known.
        if wanted is not None and (
            len(wanted) != len(shape) or any(w not in (None, f) for w, f in zip(wanted, shape, strict=True))
        ):
            raise tool_fault(
                f"output {value.name!r} of the smaller model has shape {list(shape)} at inputs of {bound}, where "
                f"{[w if w is not None else '?' for w in wanted]} follows from the graph"
            )


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

    Args:
        path: the file under its temporary name; of a joined model all its files, which run one after the other.
        settings: tolerance and provider.
        model: what was written.
        known: what was proved of it; None where nothing was, as its weights were trained since.

    Raises:
        ProofFailed: it does not load, does not run, or gives something else.
    """
    paths = [path] if isinstance(path, Path) else list(path)
    for part, file in zip(split(model), paths, strict=True):
        # Callers bind to names and sizes, which no comparison of numbers looks at.
        loaded = files.load_model(file)
        demand_same_interface(part, loaded)
        demand_same(part, loaded)
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
        written = partial(runnable_written, paths, model, folder, settings.provider)
        answers = answers_of(written(optimised=True), runs.feeds)
        standard = Standard(runs, tolerance_of(settings))
        # As its users will load it. Mostly it agrees at once; where their optimisations round otherwise, it is run as
        # the model in memory was: node by node.
        if not standard.met_by(answers.runs):
            if standard.met_by(written(optimised=False).run(runs.feeds)):
                return
            if may_draw(model):
                standard = replace(standard, left_out=drawn_of(answers, standard.tolerance))
            standard = replace(
                standard, noise=noise_of([(answers.runs, moved_runs(answers, runs.feeds))], standard.left_out)
            )
    evidence = Evidence.of(standard, answers.runs)
    if not evidence.passed:
        raise tool_fault(
            f"the written file differs from the model in memory: output {evidence.worst!r} is off by "
            f"{evidence.max_rel_err:.2g} of its range"
        )
