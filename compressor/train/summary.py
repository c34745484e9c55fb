"""The report of a fine-tuning run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from compressor.config import TuneSettings
from compressor.graph.disk.files import size_on_disk
from compressor.metrics.evaluator import Evaluator
from compressor.metrics.metric import AGREEMENT
from compressor.results.detail import UndoneRow
from compressor.results.finetune import EpochRow, Score, TuneReport
from compressor.train.finetune import TuneResult
from compressor.train.loop.history import EpochRecord, Judgement
from compressor.train.loop.losses import ACCURACY


def tune_report(
    result: TuneResult,
    settings: TuneSettings,
    *,
    source: Path | None = None,
    teacher: Path | None = None,
    output: Path | None = None,
) -> TuneReport:
    """What the run did, with the size of the written file read back."""
    history, evaluator = result.history, Evaluator.of(settings)
    return TuneReport(
        input=None if source is None else str(source),
        teacher=None if teacher is None else str(teacher),
        output=None if output is None else str(output),
        # Read back from the disk: the file has weights outside of it where the model is large.
        bytes=None if output is None else size_on_disk(output),
        compared=result.compared,
        prepared=result.prepared,
        metric_name=history.metric_name,
        share=history.metric_name in (ACCURACY, AGREEMENT) if evaluator is None else evaluator.share,
        before=_score(history.before),
        after=_score(history.after),
        judged=None if result.judged is None else result.judged.samples,
        seen=None if result.judged is None else result.judged.seen,
        best_epoch=history.best_epoch,
        undone=undone_rows(result, "training"),
        stopped_early=history.stopped_early,
        steps=history.steps,
        epochs=[_row(record) for record in history.epochs],
        device=history.device,
        max_rel_err=result.max_rel_err,
        seconds={"training": round(history.seconds, 3)},
        warnings=[*result.warnings, *result.caveats],
        ran={"training": [result.ran]} if result.ran else {},
        settings=settings.model_dump(mode="json"),
    )


def undone_rows(result: TuneResult, what: str) -> list[UndoneRow]:
    """What is told of training that ended with the weights that it began with; nothing of any other."""
    history = result.history
    if history.best_epoch:
        return []
    # Without a metric that was asked for, the loss decides, also where accuracy is shown.
    by_loss = history.decided_by == "loss" or history.before.metric is None
    before = history.before.loss if by_loss else history.before.metric
    assert before is not None
    on = "samples set aside" if result.judged is None else result.judged.in_words()
    row = UndoneRow(what=what, measure=history.decided_by, on=on, before=before, after=history.best_tried)
    return [row.model_copy(update={"seconds": round(history.seconds, 3)})]


def _score(found: Judgement) -> Score:
    return Score(loss=found.loss, metric=found.metric)


def _row(record: EpochRecord) -> EpochRow:
    fields = {name: value for name, value in asdict(record).items() if name not in ("seconds", "valid")}
    return EpochRow(valid=None if record.valid is None else _score(record.valid), **fields)
