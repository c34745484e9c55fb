"""Limits that a user sets on the result; what misses one is written all the same, and says so.

Every verdict is made here: reports show the rows, and what is missed ends the run with exit code 6.
"""

from __future__ import annotations

from math import ceil
from typing import TypeVar

from compressor.config import AMOUNTS, PruneSettings
from compressor.config.choices import STRUCTURES
from compressor.config.gates import GatesSection
from compressor.config.quantize import QuantizeSettings
from compressor.core.compare import TINY, at_most
from compressor.core.formatting import distance_value, metric_value, portion, quantity
from compressor.core.intervals import needed
from compressor.errors import GateMissed
from compressor.results import Report
from compressor.results.detail import LEAST_JUDGED, AccuracyRow, Share
from compressor.results.quantize import QuantizedRow, QuantizeReport
from compressor.results.records import GateRow

R = TypeVar("R", bound=Report)
EXCLUDE = "--exclude for layers that lose most: --include with one name at a time tells what each loses"
LOSE_MOST = "--exclude for groups that lose most: onnx-compress sensitivity tells what each loses"
_WHOLE, _INT8, _INT4 = 32, 8, 4
"""Bits of a number as it was and as either mode stores it."""


def gate_rows(report: Report, settings: GatesSection) -> list[GateRow]:
    """A row for each limit that was set on a file: what was measured, and how it is missed where it is."""
    rows = [] if settings.max_drop is None else _drops(report, settings.max_drop)
    if settings.max_distance is not None:
        rows.append(_moved(report, settings.max_distance))
    if settings.max_size is not None and report.output is not None:
        rows.append(_size(report.input.bytes, report.output.bytes, settings.max_size))
    return rows


def judged(report: R, settings: GatesSection) -> R:
    """The report with the verdict on each limit."""
    return report.model_copy(update={"gates": gate_rows(report, settings)})


def missed(report: Report, settings: GatesSection) -> list[str]:
    """A clause for each gate that the result misses."""
    return [row.missed for row in gate_rows(report, settings) if row.missed]


def _drops(report: Report, limit: float) -> list[GateRow]:
    """A row for each metric; one that was not measured at all is told of, too."""
    return [drop_row(row, limit) for row in report.accuracy] or [GateRow(name="max_drop", limit=limit, measured=None)]


def drop_row(row: AccuracyRow, limit: float, on: str = "") -> GateRow:
    """The verdict on a metric that may lose so much; ``on`` says on what it was measured, where that is not the
    result."""
    # ``lost`` is positive for a change to the worse, whichever direction of the metric is better.
    lost, share = row.lost_by(limit), row.share or row.counts_relative(limit)
    clause = "" if at_most(lost, limit) else _dropped(row, limit)
    # Of an original that is right by chance nothing is lost, whatever was done to it.
    clause = f"--max-drop cannot be judged: {row.baseless}" if row.baseless else clause
    unsure = "" if row.baseless else too_fine(row, limit)
    found = GateRow(name="max_drop", limit=limit, measured=lost, of=f"{row.metric}{on}", share=share, missed=clause)
    return found.model_copy(update={"unsure": unsure})


def _moved(report: Report, limit: float) -> GateRow:
    if report.outputs is None:
        return GateRow(name="max_distance", limit=limit, measured=None)
    moved = report.outputs.distance
    row = distance_row(moved.value, limit, f"output {moved.output!r}")
    return row.model_copy(update={"unsure": _too_near(moved, limit, report.outputs.samples)})


def distance_row(moved: float, limit: float, of: str) -> GateRow:
    """The verdict on outputs that may move by such a share of their norm; ``of`` says which did."""
    by = distance_value(moved).removesuffix(" times")
    clause = f"{of} moves by {by} {portion(moved)[1]} its norm, --max-distance allows {distance_value(limit)}"
    missed = "" if at_most(moved, limit) else clause
    return GateRow(name="max_distance", limit=limit, measured=moved, of=of, missed=missed)


def _size(before: int, after: int, limit: float) -> GateRow:
    # Up to 1 a share of the original's bytes, above that bytes, as for --target-size.
    whole = 1 if limit > 1 else before
    found, clause = after / whole, ""
    if not at_most(found, limit):
        has, most = (quantity(round(number), "B") for number in (after, limit * whole))
        clause = f"the file has {has}, --max-size allows {most}"
    return GateRow(name="max_size", limit=limit, measured=found, of="file", share=limit <= 1, missed=clause)


def _dropped(row: AccuracyRow, limit: float) -> str:
    """A clause for a metric that lost more than a limit: per cent, or numbers in its unit."""
    relative = row.counts_relative(limit)
    lost, most = (metric_value(value, share=row.share or relative) for value in (row.lost_by(limit), limit))
    verb = "dropped" if row.higher_is_better else "rose"
    if not relative:
        return f"{row.metric} {verb} by {lost}, --max-drop allows {most}"
    worst = row.before + (-limit if row.higher_is_better else limit) * abs(row.before)
    before, after, worst_told = (metric_value(value, share=row.share) for value in (row.before, row.after, worst))
    return f"{row.metric} {verb} by {lost} ({before} to {after}), --max-drop allows {most} (to {worst_told})"


def _remedy(report: Report, settings: GatesSection) -> str:
    """What to try where a gate is missed, in a clause."""
    if isinstance(settings, QuantizeSettings):
        tried = "" if getattr(report, "mode", None) == "dynamic" or settings.mode == "auto" else "--mode dynamic, or "
        fits = settings.max_size is None or missed(report, settings.model_copy(update={"max_size": None}))
        return f"try {tried}{EXCLUDE}" if fits else _smaller(report)
    if not isinstance(settings, PruneSettings):
        return ""
    if not missed(report, settings.model_copy(update={"max_drop": None, "max_distance": None})):
        return f"try {_less(settings)}{_more_training(settings)}, or {LOSE_MOST}"
    if not STRUCTURES.find(settings.structure).lowers:
        return f"--structure {settings.structure} leaves zeros in the file; choose --structure channels, or quantize"
    amount = _amount(settings)
    return "try a larger --ratio, or --target-size" if amount == "ratio" else f"try a smaller --{amount}"


def _smaller(report: Report) -> str:
    """What makes a quantised file smaller: pruning, and int4 where weights that it takes outweigh those it leaves."""
    assert isinstance(report, QuantizeReport)
    rows = report.weights if report.mode != "int4" else []
    freed = sum(_bits_freed(row) * row.weights for row in rows)
    return "try --mode int4, or prune first" if freed > 0 else "prune the model first"


def _bits_freed(row: QuantizedRow) -> int:
    """Bits a number that int4 takes off what int8, or nothing, made of it."""
    # Its module loads ONNX Runtime, which a bare cut does without.
    from compressor.runtime.quantizer import taken_in_four_bits

    now = _INT8 if row.quantized else _WHOLE
    return now - (_INT4 if taken_in_four_bits(row.operator) else _WHOLE)


def _less(settings: PruneSettings) -> str:
    amount = _amount(settings)
    return f"a smaller --{amount}" if amount == "ratio" else f"a larger --{amount}"


def _amount(settings: PruneSettings) -> str:
    """The flag that says how much goes: a share that is removed (``ratio``), or a target of what is left."""
    ratio, *targets = AMOUNTS
    given = next((name for name in targets if getattr(settings, name) is not None), ratio)
    return given.replace("_", "-")


def _more_training(settings: PruneSettings) -> str:
    if settings.trains:
        return ", more --epochs"
    # Short training and least squares come first, as they need nothing else.
    if settings.recover == "none" and settings.given("recover"):
        return ", drop --recover none"
    return f", --recover finetune --epochs {settings.epochs}" + ("" if settings.data is not None else " with --data")


def unresolved(report: Report, settings: GatesSection) -> list[str]:
    """Warnings: labels on which the original is no better than chance, a gate that samples are too few to tell."""
    told = [row.baseless for row in report.accuracy if row.baseless]
    return told + [gate.unsure for gate in gate_rows(report, settings) if gate.unsure]


def too_fine(row: AccuracyRow, limit: float) -> str:
    """Why samples are too few to tell whether a metric that is counted lost more than a limit; empty where they do."""
    # No number of samples tells whether nothing at all is lost.
    if not limit or not row.samples or row.low is None or row.high is None:
        return ""
    # Where the interval leaves the limit on one side, the gate is met or missed whatever chance did.
    open_ = row.before - row.high <= limit <= row.before - row.low
    wanted = needed(row.after, limit)
    if not open_ or row.samples >= wanted:
        return ""
    return (
        f"--max-drop {metric_value(limit, share=True)} is finer than {_told_by(row.samples)}: {row.metric} of the "
        f"result lies between {row.low:.2%} and {row.high:.2%}; about {wanted:,} samples would tell"
    )


def _too_near(moved: Share, limit: float, samples: int) -> str:
    """The same of how far outputs moved."""
    told = f"--max-distance {distance_value(limit)} is finer than {_told_by(samples)}"
    if moved.low is None or moved.high is None:
        return f"{told}: there is no interval of one; {LEAST_JUDGED} or more would tell"
    if not moved.low <= limit <= moved.high:
        return ""
    # An interval of a mean narrows with the square root of the number.
    narrower = (moved.high - moved.low) / 2 / max(abs(limit - moved.value), 1e-3 * limit, TINY)
    wanted = f"; about {ceil(samples * narrower**2):,} samples would tell"
    low, high = map(distance_value, (moved.low, moved.high))
    return f"{told}: outputs are off by {low} to {high}{'' if high.endswith('times') else ' of'} their norm{wanted}"


def _told_by(samples: int) -> str:
    return "one sample tells" if samples == 1 else f"{samples:,} samples tell"


def demand_gates(report: Report, settings: GatesSection) -> None:
    """Raises GateMissed where the result misses a gate."""
    clauses = missed(report, settings)
    if clauses:
        # Labels that say nothing are no matter of the ratio.
        remedy = "" if any(row.baseless for row in report.accuracy) else _remedy(report, settings)
        raise GateMissed("; ".join([*clauses, *filter(None, [remedy])]))
