"""What the HTML report says, section by section: texts and numbers ready to print, nothing about markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isfinite, prod
from statistics import median
from typing import Any

from compressor.core.formatting import count, percentage, quantity
from compressor.render.charts import cells_of, dash_pattern, skyline, skyline_width
from compressor.render.few_channels import few_save_much
from compressor.render.setting_rows import plain_rows
from compressor.results.detail import LatencyResult, LayerRow, RecoveryRow
from compressor.results.records import FrozenRow, GroupRow, ModelStats, Report, ScoreHistogram, targets_reached

MINUS, DASH, CROSS = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{MULTIPLICATION SIGN}"
_PLACES = 150
"""Places listed of all reasons together, but never fewer than 5 of one; the JSON report holds all."""
_LAYERS = 120
"""Layers listed, largest first; the drawing above the list holds all."""
_ENTRIES = 150
"""Entries listed of a plan; the plan's file holds all."""
_RANGES = 1800
"""Ranges of positions listed of a whole plan, evenly among its entries; the plan's file holds all."""


@dataclass(frozen=True)
class SizeRow:
    """One size of the model before and after."""

    name: str
    before: str
    after: str
    left: float
    change: str
    times: str


@dataclass(frozen=True)
class Bar:
    """A row with a bar: what is kept, in percent, of what; texts for both ends."""

    name: str
    note: str
    before: str
    after: str
    change: str
    rail: float
    fill: float
    weight: str = ""
    dashes: str = ""
    cells: int = 0


@dataclass(frozen=True)
class Skyline:
    """Columns before and after over the same places."""

    width: float
    before: str
    after: str
    top: str
    text: str


@dataclass(frozen=True)
class ReasonRow:
    """Everything that had to stay for one reason."""

    text: str
    channels: str
    places: str
    rows: Sequence[FrozenRow]
    rest: int


@dataclass(frozen=True)
class RemovedEntry:
    """One entry of a plan."""

    weight: str
    positions: str
    rest: int


def heading(report: Report) -> tuple[str, str]:
    """What kind of run it was, and the name of the model's file."""
    kind = "Inspection"
    if report.output is not None:
        kind = "Pruning report" if "criterion" in report.done else "Clean-up report"
    # Reports may come from another system, with its separators.
    path = report.input.path
    return kind, path.replace("\\", "/").rpartition("/")[2] or path if path else "Model in memory"


def asked(report: Report) -> str:
    """What the settings asked for, as one sentence; empty where nothing is removed."""
    settings = report.done
    if report.output is None or "criterion" not in settings:
        return ""
    if settings.get("lossless"):
        return "Asked for: removing only what no output depends on."
    if settings.get("target_latency") is not None:
        return f"Asked for: a latency of {settings['target_latency']}."
    targets = {"target_macs": "multiply-accumulates", "target_params": "parameters", "target_size": "file size"}
    for key, what in targets.items():
        value = settings.get(key)
        if value is not None:
            amount = percent(value) if value <= 1 else quantity(value, "B")
            text = f"Asked for: keeping {amount} of the {what}" if value <= 1 else f"Asked for: a file of {amount}"
            reached = targets_reached(settings, report.input, report.output)[0].rpartition(", ")[2]
            return f"{text}; {reached}."
    if settings.get("ratio") is not None:
        part = percent(settings["ratio"])
        if settings.get("scope", "local") == "local":
            return f"Asked for: removing {part} of the channels of each group."
        return f"Asked for: ratio {part}; channels went where they matter least, more of some groups than of others."
    return "Asked for: what a saved plan says."


def done(report: Report) -> str:
    """What was removed, as one sentence."""
    channels = sum(g.channels for g in report.groups)
    if not channels:
        return "No channel of this model can be removed." if report.output is None else ""
    total, groups = f"{channels:,}", count(len(report.groups), "group")
    if report.output is None:
        return f"{total} channels in {groups} can be pruned."
    gone, touched = sum(g.removed for g in report.groups), sum(g.removed > 0 for g in report.groups)
    text = f"Removed: {gone:,} of {total} channels ({percent(gone / channels)}), in {touched:,} of {groups}."
    return f"{text} {few_save_much(report)}".rstrip()


def measures(before: ModelStats, after: ModelStats | None) -> list[SizeRow]:
    """File size, parameters, MACs and nodes; without a result the columns of the result are empty."""
    rows = [("File size", "bytes", "B"), ("MACs", "macs", ""), ("Parameters", "params", ""), ("Nodes", "nodes", "")]
    found = []
    for name, key, unit in rows:
        one: int = getattr(before, key)
        two: int = getattr(after, key) if after is not None else one
        text = f"{one:,}" if key == "nodes" else quantity(one, unit)
        after_text = f"{two:,}" if key == "nodes" else quantity(two, unit)
        found.append(SizeRow(name, text, after_text, left(two, one), change(two, one), times(two, one)))
    return found


def group_widths(rows: Sequence[GroupRow], plan: Mapping[str, Any] | None) -> list[Bar]:
    """Widths before and after; with a plan also which positions go."""
    gone: dict[str, tuple[list[int], int]] = {}
    for entry in _removals(plan):
        places = prod(entry["shape"][axis] for axis in entry["axes"]) if entry.get("shape") else 0
        gone.setdefault(str(entry["group"]), (list(entry["indices"]), places))
    found = []
    for row in rows:
        kept, (indices, places) = row.channels - row.removed, gone.get(row.name, ([], 0))
        places = places or row.channels
        # A plan of another model is not drawn. Positions may be several of a channel, as gates are.
        fits = len(indices) * row.channels == row.removed * places and row.removed and max(indices) < places
        found.append(
            Bar(
                name=row.name,
                note="",
                before=f"{row.channels:,}",
                after=f"{kept:,}",
                change=change(kept, row.channels),
                rail=100.0,
                fill=left(kept, row.channels),
                dashes=dash_pattern(places, indices) if fits else "",
                cells=cells_of(places),
            )
        )
    return found


def totals(scores: ScoreHistogram) -> list[int]:
    """Channels of each bin, kept and gone."""
    return [kept + gone for kept, gone in zip(scores.kept, scores.removed, strict=True)]


def group_skyline(rows: Sequence[GroupRow]) -> Skyline | None:
    """Channels of every group in the order of the graph."""
    if len(rows) < 2:
        return None
    before, after = [r.channels for r in rows], [r.channels - r.removed for r in rows]
    text = f"Channels of {count(len(rows), 'group')} in the order of the model, before and after. "
    text += f"The widest has {max(before):,} channels before, the widest after has {max(after):,}."
    return _skyline(before, after, f"{max(before):,} channels", text)


def layers(rows: Sequence[LayerRow], *, time: bool = False) -> list[Bar]:
    """The costliest layers first: MACs, or milliseconds where ``time`` is set and they tell more than noise."""
    costs = [(row, *_cost(row, time)) for row in rows if not time or row.time_tells]
    # Layers without any cost would only lengthen the list.
    costs = [c for c in costs if c[1] or c[2]]
    top = max((max(b or 0, a or 0) for _, b, a in costs), default=0)
    ranked = sorted(costs, key=lambda c: -max(c[1] or 0, c[2] or 0))[:_LAYERS]
    return [
        Bar(
            name=row.name,
            note=row.op_type,
            before=_amount(b, time),
            after=_amount(a, time),
            change=change(a, b) if a is not None and b else "",
            rail=left(b or 0, top),
            fill=left(a or 0, top),
            weight=row.weight if row.weight != row.name else "",
        )
        for row, b, a in ranked
    ]


def hidden_layers(rows: Sequence[LayerRow]) -> str:
    """What is said of layers that are drawn and not listed."""
    costly = sorted((max(r.macs_before or 0, r.macs_after or 0) for r in rows), reverse=True)
    rest = [c for c in costly if c][_LAYERS:]
    if not rest:
        return ""
    held = percent(sum(rest) / sum(costly))
    return f"{count(len(rest), 'smaller layer')} not listed here: {held} of the MACs."


def noisy_layers(rows: Sequence[LayerRow]) -> str:
    """What is said of layers that were timed and whose times tell nothing; empty where all tell."""
    timed = [row for row in rows if row.ms_noise is not None]
    noisy = [row for row in timed if not row.time_tells]
    if not noisy:
        return ""
    apart = milliseconds(median(row.ms_noise or 0.0 for row in noisy))
    which = f"{count(len(noisy), 'layer')} {'is' if len(noisy) == 1 else 'are'} not"
    return (
        f"{'No layer is' if len(noisy) == len(timed) else which} listed by time: each gained less than two "
        f"measurements of one model differ by (typically {apart}). onnx-compress bench times whole models."
    )


def layer_skyline(rows: Sequence[LayerRow], *, time: bool = False) -> Skyline | None:
    """Cost of every layer in the order of the graph."""
    costs = [(b or 0, a or 0) for b, a in (_cost(r, time) for r in rows) if b or a]
    if len(costs) < 2:
        return None
    before, after = [c[0] for c in costs], [c[1] for c in costs]
    top = _amount(max(before + after), time)
    what = "Milliseconds" if time else "Multiply-accumulates"
    text = f"{what} of {count(len(costs), 'layer')} in the order of the model, before and after. "
    text += f"Together {_amount(sum(before), time)} before and {_amount(sum(after), time)} after."
    return _skyline(before, after, top if time else f"{top} MACs", text)


def _skyline(before: Sequence[float], after: Sequence[float], top: str, text: str) -> Skyline:
    highest = max([*before, *after])
    return Skyline(skyline_width(len(before)), skyline(before, highest), skyline(after, highest), top, text)


def _cost(row: LayerRow, time: bool) -> tuple[float | None, float | None]:
    return (row.ms_before, row.ms_after) if time else (row.macs_before, row.macs_after)


def _amount(value: float | None, time: bool) -> str:
    if value is None:
        return DASH
    return milliseconds(value) if time else quantity(value)


def recovery(rows: Sequence[RecoveryRow]) -> list[Bar]:
    """Relative errors before and after recovery; bars to the largest finite one."""
    top = max((e for r in rows for e in (r.error_before, r.error_after) if isfinite(e)), default=0.0)
    return [
        Bar(
            name=row.name,
            note="",
            before=f"{row.error_before:.3g}",
            after=f"{row.error_after:.3g}",
            change=change(row.error_after, row.error_before),
            rail=left(row.error_before, top),
            fill=left(row.error_after, top),
        )
        for row in rows
    ]


def shown_speed_up(time: LatencyResult) -> str:
    """How many times as fast the result is."""
    return f"{time.before_ms / time.after_ms:.2f}{CROSS}" if time.after_ms > 0 else DASH


def interval(time: LatencyResult) -> str:
    """What the interval of the speed-up says, and where it was measured."""
    text = f"With {percent(time.level)} confidence the result is "
    text += f"between {time.low:.2f} and {time.high:.2f} times as fast"
    if time.low <= 1 <= time.high:
        text += ", so no difference was shown"
    where = [time.device, time.provider, "" if time.batch is None else f"batch {time.batch}"]
    place = ", ".join(part for part in where if part)
    return f"{text}. Measured in turns on the same device{': ' + place if place else ''}."


def milliseconds(value: float) -> str:
    """Three significant digits: ``12.3 ms``."""
    return f"{value:.3g} ms" if value < 1000 else f"{value:,.0f} ms"


def reasons(rows: Sequence[FrozenRow]) -> list[ReasonRow]:
    """What had to stay, by reason, the one that holds most channels first."""
    ordered = sorted(rows, key=lambda r: r.reason)
    by_reason = {text: list(members) for text, members in groupby(ordered, key=lambda r: r.reason)}
    # Shared out evenly, but never so few that a reason has no example.
    most = max(5, _PLACES // max(1, len(by_reason)))
    found = []
    for text, members in by_reason.items():
        total = sum(m.channels for m in members)
        shown = sorted(members, key=lambda m: -m.channels)[:most]
        entry = ReasonRow(text, count(total, "channel"), count(len(members), "place"), shown, len(members) - len(shown))
        found.append((total, entry))
    return [entry for _, entry in sorted(found, key=lambda item: -item[0])]


def removals(plan: Mapping[str, Any] | None) -> list[RemovedEntry]:
    """The entries of a plan, positions as ranges."""
    found, entries = [], _removals(plan)[:_ENTRIES]
    # The longest list is cut first; the page stays small whatever the plan.
    most = min(60, _RANGES // max(1, len(entries)))
    for entry in entries:
        axes = ",".join(map(str, entry["axes"]))
        runs = ranges(entry["indices"])
        text = ", ".join(runs[:most])
        found.append(RemovedEntry(f"{entry['initializer']}:{axes}", text, max(0, len(runs) - most)))
    return found


def policy(plan: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """The settings that a replay takes from the plan."""
    return plain_rows(plan.get("policy", {})) if plan else []


def _removals(plan: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    return plan["removals"] if plan else ()


def ranges(indices: Sequence[int]) -> list[str]:
    """Rising positions as ``3`` and ``5–9``."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return [str(a) if a == b else f"{a}{DASH}{b}" for a, b in runs]


def phases(seconds: Mapping[str, float]) -> list[tuple[str, str, float, float]]:
    """Name, seconds, start and length in percent of each phase."""
    total, start, found = sum(seconds.values()), 0.0, []
    for name, took in seconds.items():
        # A run too short to be timed has no phases to draw.
        length = 100 * took / total if total else 0.0
        found.append((name, f"{took:.2f} s", round(start, 2), round(length, 2)))
        start += length
    return found


def percent(part: float, digits: int = 0) -> str:
    """``0.5`` as ``50%``; one decimal below 10%, two digits below 1%."""
    if not isfinite(part):
        return DASH
    # Below a tenth one digit more, or small shares would all read alike.
    small = 0 < abs(part) < 0.0995 and not digits
    return (percentage(part) if small else f"{100 * part:.{digits}f}%").replace("-", MINUS)


def left(part: float, whole: float) -> float:
    """The part in percent of the whole, for drawing: between 0 and 100."""
    if not whole or not isfinite(part):
        return 0.0
    return round(100 * min(1.0, max(0.0, part / whole)), 2)


def change(after: float, before: float) -> str:
    """How much smaller, such as ``−74%``; ``0%`` for no change, a dash where there was nothing."""
    if not before or not isfinite(before) or not isfinite(after):
        return DASH
    if after == before:
        return "0%"
    sign = "+" if after > before else MINUS
    return sign + percent(abs(after - before) / before)


def times(after: float, before: float) -> str:
    """``3.9 times smaller``, or nothing where the change is small."""
    # Less than a twentieth is no news.
    if not after or not before or before < 1.05 * after:
        return ""
    return f"{before / after:.1f}{CROSS} smaller"


def run_shapes(inputs: Sequence[Mapping[str, Sequence[int]]]) -> list[str]:
    """The shapes of each run, one line a run."""
    return ["; ".join(f"{k}: {CROSS.join(map(str, v)) or 'scalar'}" for k, v in run.items()) for run in inputs]
