"""The whole flow of a recipe: check, go through the stages, judge the result, put it in place, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from compressor.config.choices import STAGES
from compressor.config.recipe import stage_kind
from compressor.core.clock import Progress
from compressor.errors import CompressorError, GateMissed, ProofFailed, UsageError
from compressor.graph.disk import files
from compressor.recipe import limits
from compressor.recipe.judging import Judge, Judged
from compressor.recipe.lock import held
from compressor.recipe.perform import content, kept_result, perform
from compressor.recipe.progress import ResolvedRecipe
from compressor.recipe.sizes import SizedCounts
from compressor.recipe.stages import Task
from compressor.recipe.store import MODEL, Store, model_digest
from compressor.render.recipe import write_recipe_html
from compressor.results import Document, ModelStats, Report
from compressor.results.bench import BenchReport
from compressor.results.detail import AccuracyRow
from compressor.results.environment import environment
from compressor.results.recipe import RecipeReport, StageRow, StageState
from compressor.results.records import GateRow

WORK_FOLDER = ".onnx-compressor"
"""The work folder, beside the output."""


@dataclass(frozen=True)
class RecipeOptions:
    """How a recipe is run.

    Attributes:
        work: the work folder; by default beside the output, or beside the recipe where there is none.
        start: the stage from which on all are run again.
        dry_run: only say what would run.
        line: receives a line about each stage.
        phases: opened around each stage that runs; yields what receives the name of the running phase.
    """

    work: Path | None = None
    start: str | None = None
    dry_run: bool = False
    line: Callable[[str], None] = lambda _: None
    phases: Callable[[], AbstractContextManager[Progress | None]] = nullcontext

    @staticmethod
    def beside(resolved: ResolvedRecipe) -> Path:
        """The work folder of a recipe where none is named."""
        return (resolved.path if resolved.output is None else resolved.output).parent / WORK_FOLDER


@dataclass(frozen=True)
class Outcome:
    """What came of a recipe: its report, and the gate or proof that it failed at, if any."""

    report: RecipeReport
    error: CompressorError | None = None


@dataclass
class RunState:
    """How far a recipe has come.

    Attributes:
        source: the last model.
        digest: stands for its bytes.
        model: its sizes.
        accuracy: its accuracy and the original's, where there are labels.
        bench: its latency, where it was measured.
        rows: of the stages that are behind.
        warnings: of theirs.
        again: the stages that follow are run, even if they had finished.
        unknown: with a dry run, a stage that would run is behind, so that nothing is known of what follows.
    """

    source: Path
    digest: str
    model: ModelStats
    accuracy: AccuracyRow | None
    bench: BenchReport | None = None
    rows: list[StageRow] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    again: bool = False
    unknown: bool = False


def run_recipe(resolved: ResolvedRecipe, options: RecipeOptions | None = None) -> Outcome:
    """Runs the stages of a recipe; what had finished before is not run again.

    Raises:
        CompressorError: one of :mod:`compressor.errors`; its message names the stage. Missed gates, and outputs that
            differ where they should not, are not raised but in the outcome, beside the report.
    """
    options = options or RecipeOptions()
    resolved.check(options.start)
    # A dry run writes nothing, not even a lock.
    if options.dry_run:
        return _Run(resolved, options).whole()
    with held(options.work or RecipeOptions.beside(resolved)):
        return _Run(resolved, options).whole()


class _Run:
    """One run of a recipe."""

    def __init__(self, resolved: ResolvedRecipe, options: RecipeOptions) -> None:
        self._resolved, self._options = resolved, options
        self._store = Store(options.work or RecipeOptions.beside(resolved))
        self._judge = Judge(resolved.data, resolved.original, self._store)
        self._digest = model_digest(resolved.original)
        self._counts = SizedCounts(resolved.original, resolved.data)

    def whole(self) -> Outcome:
        """From the first stage to the report."""
        begun = time.perf_counter()
        run = self._begin()
        before, output, gates = run.model, None, list[GateRow]()
        error: CompressorError | None = None
        try:
            for name in self._resolved.stages:
                self._stage(name, run)
            if not self._options.dry_run:
                gates = self._gates(before, run)
                run.warnings += [gate.unsure for gate in gates if gate.unsure]
                self._demand(None, gates, "the recipe", self._costliest(run), run.source)
                output = self._put_in_place(run)
        # The report is written all the same: it says what was measured and where it failed.
        except (GateMissed, ProofFailed) as found:
            error = found
        report = RecipeReport(
            recipe=str(self._resolved.path),
            input=before,
            output=output,
            accuracy=run.accuracy,
            stages=run.rows,
            gates=gates,
            failed=None if error is None else str(error),
            seconds=round(time.perf_counter() - begun, 3),
            warnings=list(dict.fromkeys(run.warnings)),
            environment=environment(),
        )
        if self._resolved.html is not None and not self._options.dry_run:
            write_recipe_html(report, self._resolved.html, datetime.now().astimezone())
        return Outcome(report, error)

    def _begin(self) -> RunState:
        if self._options.dry_run:
            found = Judged(value=None, reason=self._judge.missing())
        else:
            found = self._judge.judge(self._resolved.original, self._digest)
        row = None
        if found.value is not None:
            self._judge.evaluator.check_base(self._resolved.limits[0].max_drop, found.value)
            row = self._measured(found.value, found)
        elif found.reason and self._resolved.limits[0].max_drop is not None:
            raise UsageError(f"{self._resolved.path}: gates: max_drop needs samples with labels, but {found.reason}")
        return RunState(self._resolved.original, self._digest, self._counts.original, row)

    def _measured(self, before: float, after: Judged) -> AccuracyRow:
        """The metric of the original and of a model made of it, with the interval of the latter."""
        assert after.value is not None
        return self._judge.evaluator.row(before, after.value, after.samples)

    # ---- one stage

    def _stage(self, name: str, run: RunState) -> None:
        """Runs a stage, or takes what it gave before; raises GateMissed or ProofFailed when its row is written."""
        run.again |= name == self._options.start
        settings = self._resolved.stages[name]
        folder = self._store.folder(name, content(name, settings, run.digest, self._digest))
        # From the stage that is run again on, later ones follow from another model, whatever is kept.
        earlier = None if run.again or run.unknown else kept_result(name, settings, folder, self._store)
        if earlier is None and self._options.dry_run:
            self._tell(name, "would run")
            # The digest of the model that it would make is not known, so nothing can be looked up after it.
            run.unknown = True
            run.rows.append(StageRow(name=name, state="to run"))
            return
        self._tell(name, f"finished before, kept in {folder}" if earlier is not None else "runs")
        state: StageState = "ran" if earlier is None else "kept"
        if run.again:
            # A folder that stays would let training resume from its checkpoint.
            self._store.forget(folder)
        task = Task(self._resolved.original, run.source, folder, settings)
        finished, document = earlier or perform(name, task, self._store, self._options.phases())
        if finished.model is not None and finished.digest is not None:
            run.source, run.digest = folder / MODEL, finished.digest
            run.model = self._counts.of(run.source, finished.model)
            if run.accuracy is not None:
                run.accuracy = self._measured(run.accuracy.before, self._judge.judge(run.source, run.digest))
        if isinstance(document, BenchReport):
            run.bench = document
        gates = limits.judge_gates(document, settings, name)
        row = StageRow(
            name=name,
            state=state,
            folder=str(folder),
            seconds=finished.seconds,
            model=None if finished.model is None else run.model,
            accuracy=run.accuracy.after if run.accuracy is not None and finished.model is not None else None,
            speed_up=limits.measured_speed_up(document),
            gates=gates,
            report=finished.report,
        )
        # Before the gate is demanded, so that the row of the stage that fails is in the report.
        run.rows.append(row)
        run.warnings += [f"{name}: {text}" for text in finished.report["warnings"]]
        self._demand(document, gates, f"stage {name!r}", f"stage {name!r}", folder)

    def _tell(self, name: str, text: str) -> None:
        names = list(self._resolved.stages)
        self._options.line(f"[{names.index(name) + 1}/{len(names)}] {name}: {text}")

    # ---- the result

    def _gates(self, before: ModelStats, run: RunState) -> list[GateRow]:
        """The gates of the recipe, on its last model and the last measurement of that."""
        of_file, of_speed = self._resolved.limits
        rows = [] if run.accuracy is None else [run.accuracy]
        found = limits.judge_gates(Report(input=before, output=run.model, accuracy=rows), of_file)
        return found if run.bench is None else found + limits.judge_gates(run.bench, of_speed)

    def _costliest(self, run: RunState) -> str:
        """The stage that lost most of the metric; the recipe's stages, where none was measured."""
        found = {row.name: row.accuracy for row in run.rows if row.accuracy is not None}
        if run.accuracy is None or not found:
            return "the stages"
        values = [run.accuracy.before, *found.values()]
        lost = [self._judge.evaluator.lost(one, two) for one, two in pairwise(values)]
        return f"stage {list(found)[lost.index(max(lost))]!r}"

    def _put_in_place(self, run: RunState) -> ModelStats | None:
        """Writes the last model to where the recipe wants it; None where no stage made one."""
        output = self._resolved.output
        if output is None or run.source == self._resolved.original:
            return None
        # As the stage wrote it: with weights beside the file, or in it.
        external = True if len(files.model_files(run.source)) > 1 else None
        forbidden = files.model_files(self._resolved.original)
        # Further files of the model lie beside the first, where the stage made it and where it goes.
        made = {output: run.source}
        made |= {output.with_name(Path(file).name): run.source.with_name(Path(file).name) for file in run.model.also}
        files.save_models({place: files.load_model(file) for place, file in made.items()}, external, forbidden)
        size = sum(map(files.size_on_disk, made))
        also = [str(place) for place in made if place != output]
        return run.model.model_copy(update={"path": str(output), "also": also, "bytes": size})

    def _demand(self, document: Document | None, gates: list[GateRow], owner: str, stage: str, place: Path) -> None:
        """Raises what a missed gate or a failed comparison is, with whose it is, which stage to ease, where to look."""
        try:
            limits.demand_limits(document, gates, {"stage": stage, **advice(self._resolved.stages)})
        except (GateMissed, ProofFailed) as error:
            error.args = (f"{owner}: {error}; see {place}",)
            raise


def advice(stages: Iterable[str]) -> dict[str, str]:
    """What makes a file smaller yet, and faster, by what remedies call it.

    A palette of few values takes less than integers do, and the two do not add up; and integers are slower than real
    numbers where a processor has no fast kernels for them.
    """
    quantised = next((name for name in stages if STAGES[stage_kind(name)].quantises), None)
    if quantised is None:
        return {"add": "add a stage unify or quantize", "faster": ""}
    out = f"time the recipe without stage {quantised!r}, as integers make some models slower; or to "
    return {"add": f"put unify in the place of stage {quantised!r}", "faster": out}
