"""The gates of a recipe and of its stages, judged by the rules of the commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from compressor.commands import bench, verify
from compressor.config import BenchSettings, RunSettings
from compressor.config.gates import GatesSection
from compressor.config.recipe import STAGE_GATES
from compressor.errors import GateMissed
from compressor.results import Document, Report
from compressor.results.bench import BenchReport
from compressor.results.recipe import GateRow
from compressor.results.verify import VerifyReport
from compressor.steps.gates import missed

REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "max_drop": "let {stage} change less, or train longer (finetune with more epochs)",
        "max_distance": "let {stage} change less, or train longer (finetune with more epochs)",
        "max_size": "remove more (a larger ratio, or target_size), or add a stage unify or quantize",
        "min_speedup": "remove more (a larger ratio, or target_latency), or choose by time (objective: latency)",
        "max_latency": "remove more (a larger ratio, or target_latency), or choose by time (objective: latency)",
    }
)
"""What to try where a gate is missed."""


def judge_gates(document: Document, settings: RunSettings, stage: str = "") -> list[GateRow]:
    """A row for every gate that ``settings`` set on what ``document`` reports."""
    rows = []
    for name, kind in STAGE_GATES.items():
        limit = getattr(settings, name, None)
        if limit is None or not isinstance(settings, kind):
            continue
        # One gate at a time, so that each has a row and a sentence of its own.
        others = dict.fromkeys(set(STAGE_GATES).intersection(type(settings).model_fields) - {name})
        alone = settings.model_copy(update=others)
        if isinstance(document, Report) and isinstance(alone, GatesSection):
            found = GateRow(
                stage=stage,
                name=name,
                limit=limit,
                measured=_of_file(name, limit, document),
                missed=_keyed("; ".join(missed(document, alone)), name),
            )
            rows.append(found)
        elif isinstance(document, BenchReport) and isinstance(alone, BenchSettings):
            measured, words = _of_speed(name, document), _keyed(_sentence(document, alone), name)
            rows.append(GateRow(stage=stage, name=name, limit=limit, measured=measured, missed=words))
    return rows


def measured_speed_up(document: Document) -> float | None:
    """How many times as fast B was in the first run of a measurement; None where the document is none of two."""
    found = document.runs[0].speed_up if isinstance(document, BenchReport) else None
    return None if found is None else found.value


def demand_limits(document: Document | None, gates: Iterable[GateRow], costliest: str) -> None:
    """Judges what was found.

    Args:
        document: of a stage; None for the recipe.
        gates: as they were judged.
        costliest: the stage that lost most of what a metric says.

    Raises:
        GateMissed: a gate is missed.
        ProofFailed: outputs differ that should not.
    """
    words = {gate.missed: REMEDIES[gate.name].format(stage=costliest) for gate in gates if gate.missed}
    if words:
        raise GateMissed("; ".join([*words, f"try to {' and to '.join(dict.fromkeys(words.values()))}"]))
    if isinstance(document, VerifyReport):
        verify.demand_equal(document)


def _keyed(words: str, name: str) -> str:
    """The sentence of a command with the key of the recipe in place of the flag, which nobody gave."""
    return words.replace("--" + name.replace("_", "-"), name)


def _of_file(name: str, limit: float, report: Report) -> float | None:
    if name == "max_drop":
        return max((row.lost_by(limit) for row in report.accuracy), default=None)
    if name == "max_distance":
        return None if report.outputs is None else report.outputs.distance.value
    assert report.output is not None
    return report.output.bytes / report.input.bytes if limit <= 1 else report.output.bytes


def _of_speed(name: str, report: BenchReport) -> float | None:
    if name == "min_speedup":
        return min((run.speed_up.value for run in report.runs if run.speed_up is not None), default=None)
    return max((run.b or run.a).median_latency_ms for run in report.runs)


def _sentence(report: BenchReport, settings: BenchSettings) -> str:
    try:
        bench.demand_speed(report, settings)
    except GateMissed as error:
        return str(error)
    return ""
