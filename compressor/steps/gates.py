"""Limits that a user sets on the result; what misses one is written all the same, and says so."""

from __future__ import annotations

from compressor.config import PruneSettings
from compressor.config.gates import GatesSection
from compressor.core.formatting import quantity
from compressor.errors import GateMissed
from compressor.evaluate.likeness import needed, wilson
from compressor.results import Report


def missed(report: Report, settings: GatesSection) -> list[str]:
    """A clause for each gate that the result misses."""
    found = []
    for row in report.accuracy:
        drop = row.before - row.after
        if settings.max_drop is not None and drop > settings.max_drop + 1e-12:
            found.append(f"{row.metric} dropped by {drop:.2%}, --max-drop allows {settings.max_drop:.2%}")
    if settings.max_size is not None and report.output is not None:
        limit = settings.max_size if settings.max_size > 1 else settings.max_size * report.input.bytes
        if report.output.bytes > limit:
            size = quantity(report.output.bytes, "B")
            found.append(f"the file has {size}, --max-size allows {quantity(round(limit), 'B')}")
    return found


def unresolved(report: Report, settings: GatesSection) -> list[str]:
    """A warning for a gate that the samples are too few to tell, with the number that would tell."""
    found = []
    for row in report.accuracy:
        if not settings.max_drop or not row.samples:
            continue
        wanted = needed(max(row.before, row.after), settings.max_drop)
        if row.samples < wanted:
            low, high = wilson(row.after * row.samples, row.samples)
            found.append(
                f"--max-drop {settings.max_drop:.2%} is finer than {row.samples:,} samples tell: {row.metric} of the "
                f"result lies between {low:.2%} and {high:.2%}; about {wanted:,} samples would tell"
            )
    return found


def demand_gates(report: Report, settings: PruneSettings) -> None:
    """Raises GateMissed where the result misses a gate."""
    found = missed(report, settings)
    if found:
        raise GateMissed("; ".join(found))
