"""The gates of a recipe and of its stages, judged by the rules of the commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from compressor.commands import bench, verify
from compressor.config import BenchSettings, RunSettings
from compressor.config.gates import GatesSection
from compressor.core.formatting import keyed
from compressor.errors import GateMissed
from compressor.results import Document, Report
from compressor.results.bench import BenchReport
from compressor.results.records import GateRow
from compressor.results.verify import VerifyReport
from compressor.steps import gates as gate_rules

LESS_TIME = "{faster}remove more (a larger ratio, or target_latency), or choose by time (objective: latency)"
REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "max_drop": "let {stage} change less, or train longer (finetune with more epochs)",
        "max_distance": "let {stage} change less, or train longer (finetune with more epochs)",
        "max_size": "remove more (a larger ratio, or target_size), or {add}",
        "min_speedup": LESS_TIME,
        "max_latency": LESS_TIME,
    }
)
"""What to try where a gate is missed; open are the ``stage`` that lost most of what a metric says, what to ``add`` to
make the file smaller, and what makes it ``faster`` before all else."""


def judge_gates(document: Document, settings: RunSettings, stage: str = "") -> list[GateRow]:
    """A row for every gate that ``settings`` set on what ``document`` reports."""
    rows: list[GateRow] = []
    if isinstance(document, Report) and isinstance(settings, GatesSection):
        rows = gate_rules.gate_rows(document, settings)
    elif isinstance(document, BenchReport) and isinstance(settings, BenchSettings):
        rows = bench.speed_rows(document, settings, "the recipe's model", "the result")
    return [
        row.model_copy(
            update={"stage": stage} | {name: keyed(getattr(row, name), [row.name]) for name in ("missed", "unsure")}
        )
        for row in rows
    ]


def measured_speed_up(document: Document) -> float | None:
    """How many times as fast B was in the first run of a measurement; None where the document is none of two."""
    found = document.runs[0].speed_up if isinstance(document, BenchReport) else None
    return None if found is None else found.value


def demand_limits(document: Document | None, gates: Iterable[GateRow], advice: Mapping[str, str]) -> None:
    """Judges what was found.

    Args:
        document: of a stage; None for the recipe.
        gates: as they were judged.
        advice: what :data:`REMEDIES` leave open.

    Raises:
        GateMissed: a gate is missed.
        ProofFailed: outputs differ that should not.
    """
    words = {gate.missed: REMEDIES[gate.name].format(**advice) for gate in gates if gate.missed}
    if words:
        raise GateMissed("; ".join([*words, f"try to {' and to '.join(dict.fromkeys(words.values()))}"]))
    if isinstance(document, VerifyReport):
        verify.demand_equal(document)
