"""Chooses a block for each layer by what it costs: every layer alone at every block, then all of them together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from compressor.commands import unify
from compressor.config.choosing import ChoosingSettings
from compressor.core.atomic import write_text
from compressor.core.clock import Clock, Progress
from compressor.core.formatting import count, percentage, quantity
from compressor.core.scratch import scratch
from compressor.data import open_data
from compressor.errors import NothingToPrune, TargetOutOfReach, UsageError
from compressor.experiments.change import ReferenceOutputs, open_samples
from compressor.experiments.ledger import Ledger
from compressor.experiments.limits import Limits
from compressor.experiments.run import Experiment, Trial, Variant, run_trials
from compressor.experiments.workers import workers_of
from compressor.graph.disk import files
from compressor.graph.disk.stream import plan_files
from compressor.graph.ir.edit import constant_array
from compressor.metrics.evaluator import Evaluator
from compressor.pruning.budgets.allocate import Move
from compressor.results.records import GateRow
from compressor.results.sensitivity import OutputChange
from compressor.results.unify import UnifyReport
from compressor.steps import run_files
from compressor.steps.gates import distance_row, drop_row
from compressor.steps.refused_samples import samples_tried
from compressor.steps.unify import get_ready, packed, weighed
from compressor.unification.choose import BlockOption, UnifyPlan, blocks_after, moves, notation, within
from compressor.unification.project import project
from compressor.unification.unified import with_unified

UNPACKING_BYTES = 900
"""Bytes of the nodes that unpack one weight, about: what saves less makes the file larger."""


@dataclass(frozen=True)
class OneShot:
    """A model file whose layers get the blocks of a plan, in one shot.

    Attributes:
        source: the file.
        settings: of the run, as JSON.
    """

    source: Path
    settings: str

    def open(self) -> Variant:
        """Loads the file; the variant of a plan, as JSON, is the model with its blocks as plain weights."""
        # In the process that measures: only the path travels to it.
        source = files.load_model(self.source)
        settings = ChoosingSettings.model_validate_json(self.settings)
        data = open_data(settings, source) if settings.curvature != "none" else None

        def with_blocks(text: str) -> ir.Model:
            plan = UnifyPlan.from_json(text)
            chosen = plan.applied(settings)
            ready = get_ready(source, chosen, 0, None)
            plan.check(ready.weights.layers)
            if data is not None:
                ready = weighed(ready, data, chosen)
            return with_unified(ready.model, [project(layer, chosen) for layer in ready.weights.layers])

        return with_blocks


@dataclass(frozen=True)
class ChosenBlocks:
    """What was chosen, and why.

    Attributes:
        plan: the block of each layer.
        options: every layer alone, at every block that fits it.
        together: what all blocks of the plan cost together.
        accuracy: the metric of the original; None where it was not measured.
        remembered: measurements that an earlier run had made.
        gates: the verdict on each limit, of all blocks together before any training.
    """

    plan: UnifyPlan
    options: Sequence[BlockOption]
    together: OutputChange
    accuracy: float | None
    remembered: int
    gates: list[GateRow]


def choose(
    source: Path, settings: ChoosingSettings, *, ledger: Path | None = None, clock: Clock | None = None
) -> ChosenBlocks:
    """The blocks that save most while everything together stays within ``max_drop`` and ``max_distance``; or those by
    which outputs move least in a file of ``target_size``.

    Layers move from no block towards large ones in the order of what they lose for each byte saved, each measured
    alone; how far is decided by measuring them together. Nothing is trained.

    Processes are started afresh, so a script calls this under ``if __name__ == "__main__":``, or with ``jobs=1``.

    Args:
        source: the model file; not changed.
        settings: which weights, the ladder of blocks, the limits, the samples.
        ledger: file of finished measurements, read and appended to; they are made once.
        clock: receives the time of each phase.

    Raises:
        TargetOutOfReach: even the cheapest block of one layer loses more.
        CompressorError: one of :mod:`compressor.errors`, each with its exit code.
    """
    clock = clock or Clock()
    limits = Limits(settings.max_drop, settings.max_distance, Evaluator.of(settings))
    with clock.phase("load"):
        model, _ = run_files.open_source(source, settings)
        samples = open_samples(model, settings)
        limits.check(samples)
        known = Ledger(ledger)
    with scratch() as folder, workers_of(settings) as workers:
        with clock.phase("reference"), samples_tried(lambda: model, settings):
            reference = ReferenceOutputs.make(model, samples, settings, Path(folder), limits)
        with clock.phase("blocks"):
            options = _block_options(model, settings)
        with clock.phase("choose"):
            variants = OneShot(source, settings.model_dump_json())
            experiment = Experiment(variants, reference, files.digest(files.model_files(source)))

            def measure(*trials: Trial) -> list[OutputChange]:
                return run_trials(experiment, trials, known, workers, clock.tell)

            def trial(label: str, blocks: dict[str, str]) -> Trial:
                return Trial(label, UnifyPlan.of(blocks, settings).to_json())

            alone = [trial(f"{row.layer} in blocks of {row.block}", {row.layer: row.block}) for row in options]
            remembered = sum(experiment.key(one) in known for one in alone)
            changes = measure(*alone)
            options = [replace(row, distance=found.distance) for row, found in zip(options, changes, strict=True)]

            def together(made: Sequence[Move[str]]) -> OutputChange:
                return measure(trial(f"{len(made)} moves together", blocks_after(made, options)))[0]

            made = _made(model, options, settings, lambda made: limits.allow(together(made), reference.accuracy))
            if not made:
                raise TargetOutOfReach(
                    f"no layer can be unified so that {limits}; allow more, or give finer blocks with --ladder"
                    + ("" if settings.target_size is None else ", or a larger --target-size")
                )
            plan, cost = UnifyPlan.of(blocks_after(made, options), settings), together(made)
            gates = _verdicts(limits, cost, reference.accuracy, reference.samples)
            return ChosenBlocks(plan, options, cost, reference.accuracy, remembered, gates)


def _verdicts(limits: Limits, found: OutputChange, accuracy: float | None, samples: int) -> list[GateRow]:
    """The verdict on each limit that blocks were chosen within, measured on so many samples."""
    rows, about = [], f" before training, on {count(samples, 'sample')}"
    if limits.max_drop is not None and accuracy is not None and found.accuracy is not None:
        rows.append(drop_row(limits.evaluator.row(accuracy, found.accuracy, samples), limits.max_drop, about))
    if limits.max_distance is not None:
        rows.append(distance_row(found.distance, limits.max_distance, f"outputs{about}"))
    return rows


def _made(
    model: ir.Model,
    options: Sequence[BlockOption],
    settings: ChoosingSettings,
    allowed: Callable[[Sequence[Move[str]]], bool],
) -> list[Move[str]]:
    """The moves that are made: all that are allowed, or those that bring the file to its size, if they are."""
    line = moves(options)
    if settings.target_size is None:
        return within(line, allowed)
    made = _to_size(model, line, options, settings)
    return made if allowed(made) else []


def _to_size(
    model: ir.Model, line: Sequence[Move[str]], options: Sequence[BlockOption], settings: ChoosingSettings
) -> list[Move[str]]:
    """As few moves from the start of the line as bring the file to ``target_size``, found by bisection.

    Raises:
        TargetOutOfReach: all of them do not.
    """
    assert settings.target_size is not None
    before = plan_files(model).size
    limit = settings.target_size if settings.target_size > 1 else settings.target_size * before

    def size(count: int) -> int:
        if not count:
            return before
        chosen_settings = UnifyPlan.of(blocks_after(line[:count], options), settings).applied(settings)
        # Only bytes are asked for here, and the bisection does this a dozen times.
        chosen_settings = chosen_settings.model_copy(update={"verify": "off", "method": "one-shot", "permute": False})
        ready = get_ready(model, chosen_settings, 0, None)
        once = [project(layer, chosen_settings) for layer in ready.weights.layers]
        return plan_files(packed(ready.model, once, chosen_settings).model).size

    low, high = 0, len(line)
    # All moves first, so that out of reach is said at once.
    if size(high) > limit:
        # In the unit that was typed.
        told = percentage(settings.target_size) if limit != settings.target_size else quantity(round(limit), "B")
        raise TargetOutOfReach(
            f"with the coarsest blocks everywhere the file has {quantity(size(high), 'B')}, --target-size asks for "
            f"{told}; give coarser ones with --ladder, take the first and last layer in with "
            "--all-layers, or prune first"
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if size(middle) <= limit else (middle, high)
    return list(line[:high])


def _block_options(model: ir.Model, settings: ChoosingSettings) -> list[BlockOption]:
    """Every layer at every block that fits it, with the bytes that saves; not measured yet.

    Raises:
        NothingToPrune: no block fits any layer.
    """
    block_options: dict[tuple[str, str], BlockOption] = {}
    nothing: NothingToPrune | None = None
    for block in settings.ladder:
        try:
            # A codebook and a permutation would be other answers than the block that is asked about.
            chosen = settings.model_copy(update={"block": block, "codebook": None, "permute": False})
            layers = get_ready(model, chosen, 0, None).weights.layers
        except NothingToPrune as error:
            nothing = error
            continue
        for layer in layers:
            text = notation(layer.layout.block)
            saved = constant_array(layer.value).nbytes - project(layer, chosen).packed.stored
            # On a small layer several blocks of the ladder may come out as the same one.
            block_options.setdefault((layer.name, text), BlockOption(layer.name, text, saved, 0.0))
    if nothing is not None and not block_options:
        raise nothing
    # For a size in bytes a move must save more than the nodes that unpack it add.
    least = 0 if settings.target_size is None else UNPACKING_BYTES
    return [option for option in block_options.values() if option.saved > least]


def unify_chosen_file(
    source: Path,
    output: Path | None,
    settings: ChoosingSettings,
    *,
    plan: Path | None = None,
    plan_out: Path | None = None,
    progress: Progress | None = None,
) -> UnifyReport:
    """:func:`compressor.commands.unify.unify_file` with the blocks of a plan, or with chosen ones where a limit is set.

    Args:
        source: the model file; not changed.
        output: the file to write; None writes none.
        settings: as for :func:`choose`; without a limit and a plan, its own blocks count.
        plan: is replayed.
        plan_out: gets the plan; measurements are remembered beside it, in a file that ends in ``.jsonl``.
        progress: hears of phases.

    Raises:
        CompressorError: as :func:`choose` and :func:`compressor.commands.unify.unify`.
    """
    chosen, gates, clock = None, list[GateRow](), Clock(progress)
    if plan_out is not None and (plan is not None or not settings.chooses):
        raise UsageError(
            "--plan-out writes blocks that are chosen; give --max-drop, --max-distance or --target-size, and no --plan"
        )
    if plan is not None:
        chosen = UnifyPlan.load(plan)
    elif settings.chooses:
        ledger = None if plan_out is None else plan_out.with_name(plan_out.name + ".jsonl")
        blocks = choose(source, settings, ledger=ledger, clock=clock)
        chosen, gates = blocks.plan, blocks.gates
    if chosen is not None and plan_out is not None:
        write_text(plan_out, chosen.to_json())
    report = unify.unify_file(source, output, settings if chosen is None else chosen.applied(settings), progress)
    return report.model_copy(update={"gates": gates, "seconds": _added_up(clock.seconds, report.seconds)})


def _added_up(first: Mapping[str, float], then: Mapping[str, float]) -> dict[str, float]:
    """Seconds by phase, of choosing and of what followed; a phase of both adds up."""
    return {name: round(first.get(name, 0.0) + then.get(name, 0.0), 4) for name in {**first, **then}}
