"""The report of a run: sizes and costs, groups, what was frozen, how the proof went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.groups import ChannelGroup, blocked
from compressor.channels.plan import PruningPlan
from compressor.config import AMOUNTS, PruneSettings, RunSettings
from compressor.config.proof import ProofSection
from compressor.core.formatting import count, share
from compressor.graph import files
from compressor.graph.binding import Bound, fitted
from compressor.graph.joined import joined_of
from compressor.graph.meta import UNFUSED
from compressor.graph.normalise import normalise
from compressor.graph.restore_packed import with_plain_weights
from compressor.graph.shapes import Shapes
from compressor.graph.stream import plan_files
from compressor.operators import quantization_grid
from compressor.pruning import cost
from compressor.pruning.analysis import Analysis
from compressor.pruning.evidence import Evidence, NotProved
from compressor.pruning.freed import held_by_caches
from compressor.pruning.measured_shapes import shapes_at, shapes_of
from compressor.pruning.select import Scored
from compressor.results import (
    FrozenRow,
    GroupRow,
    ModelStats,
    NotProvedRow,
    ProofResult,
    Report,
)
from compressor.steps.histogram import histogram

if TYPE_CHECKING:
    from compressor.evaluate.pair import Opened

NAMED = 3
"""Nodes that a warning names."""


def settings_of_plan(settings: PruneSettings, plan: PruningPlan | None) -> PruneSettings:
    """The settings a run analyses with: a plan brings those that decide what hangs together."""
    if plan is None:
        return settings
    # JSON has lists only, and the settings hold tuples, which compare as unequal to lists.
    policy = {name: tuple(value) if isinstance(value, list) else value for name, value in plan.policy.items()}
    # Amounts go: the plan says what goes, and a target beside it would be aimed at as well. It goes at once, however
    # many steps led to it.
    return settings.model_copy(update={**dict.fromkeys(AMOUNTS), "lossless": False, "steps": 1, **policy})


@dataclass(frozen=True)
class CountedGraph:
    """A graph whose multiply-accumulates are counted, and its shapes."""

    graph: ir.Graph
    shapes: Shapes


def stats(path: Path | None, size: int, source: ir.Graph, params: int, counted: CountedGraph) -> ModelStats:
    """One row of the report.

    Args:
        path: of the file.
        size: bytes on disk.
        source: the graph as it is.
        params: parameters of it.
        counted: what MACs are counted on.
    """
    graph, shapes = counted.graph, counted.shapes
    return ModelStats(
        path=None if path is None else str(path),
        bytes=size,
        params=params,
        macs=cost.macs_per_sample(graph, shapes),
        macs_at=_counted_at(source, shapes),
        uncounted=len(cost.uncounted(graph, shapes)),
        nodes=source.num_nodes(),
        opset=source.opset_imports.get("", 0),
    )


def _counted_at(source: ir.Graph, shapes: Shapes) -> dict[str, list[int]]:
    """Shapes of one sample, by the inputs that have open sizes beside the axis of samples."""
    open_inputs = (v for v in source.inputs if v.shape is None or not all(isinstance(d, int) for d in v.shape[1:]))
    bound = {str(v.name): shapes.inputs.get(str(v.name)) for v in open_inputs}
    # A number of samples that was made up is divided by; one that the model fixes is counted whole.
    return {n: [1 if shape[0] == shapes.batch else shape[0], *shape[1:]] for n, shape in bound.items() if shape}


def stats_of(source: ir.Model, analysis: Analysis, size: int, path: Path | None) -> ModelStats:
    """The original, counted before anything is cut."""
    return stats(path, size, source.graph, _params(source), CountedGraph(analysis.model.graph, analysis.shapes))


def _params(model: ir.Model) -> int:
    """Parameters of a model as it came; those of Constant nodes count, so it is normalised first."""
    return cost.graph_params(normalise(model.clone()).graph)


def stats_in_memory(
    model: ir.Model,
    settings: RunSettings,
    size: int | None = None,
    path: Path | None = None,
    *,
    inputs: Bound | None = None,
) -> ModelStats:
    """A model as it is; without ``size``, bytes on disk, its bytes are those it would have in one file.

    ``inputs`` are the sizes that the original was counted at. Those that would be chosen for this model may be larger,
    as its values are smaller.
    """
    stored = normalise(model.clone())
    # What unpacks weights is computed once, when a runtime loads the model, and is no cost of a sample.
    plain = with_plain_weights(stored)
    shapes = shapes_at(plain, fitted(inputs, plain.graph), settings) if inputs else shapes_of(plain, settings)
    size = plan_files(model).size if size is None else size
    return stats(path, size, model.graph, cost.graph_params(stored.graph), CountedGraph(plain.graph, shapes))


def stats_of_file(opened: Opened, settings: RunSettings) -> ModelStats:
    """A model that was opened to be measured."""
    return stats_in_memory(opened.model, settings, files.size_on_disk(opened.path), opened.path)


def report(
    analysis: Analysis,
    before: ModelStats,
    groups: list[GroupRow],
    evidence: Evidence | None,
    settings: RunSettings,
) -> Report:
    """The report of a run, without what only the caller knows (the output file, seconds)."""
    return Report(
        input=before,
        groups=groups,
        frozen=frozen_rows(analysis),
        proof=proof_row(evidence, settings),
        warnings=[
            *_unfused(analysis.model),
            *_partial(before),
            *_once(analysis),
            *_deep(analysis, settings),
            *_cached(analysis, before, settings),
            *_noted(evidence),
        ],
        settings=settings.model_dump(mode="json"),
    )


def _noted(evidence: Evidence | None) -> list[str]:
    return [f"proof: {evidence.note}"] if evidence is not None and evidence.note else []


def _partial(stats: ModelStats) -> list[str]:
    if not stats.uncounted:
        return []
    return [f"MACs are partial: they leave out {count(stats.uncounted, 'node')} whose cost is not known"]


def _once(analysis: Analysis) -> list[str]:
    if not cost.in_bodies(analysis.model.graph, analysis.shapes):
        return []
    return ["MACs count every body of control flow once: one iteration of a loop, and each branch of an If"]


def _deep(analysis: Analysis, settings: RunSettings) -> list[str]:
    if not isinstance(settings, PruneSettings) or not settings.depth or analysis.coupling.blocks:
        return []
    return ["--depth found no residual block that may go: no sum of a value and a branch that starts from it"]


def _cached(analysis: Analysis, before: ModelStats, settings: RunSettings) -> list[str]:
    if not isinstance(settings, PruneSettings) or settings.cache_heads:
        return []
    held = held_by_caches(analysis.coupling)
    if not held:
        return []
    channels = count(sum(row.channels for row in held), "channel")
    part = share(sum(row.elements for row in held), before.params)
    return [
        f"the caller's cache holds keys and values of every head, so {channels} of queries, keys and values stay, with "
        f"{part} of the parameters; --cache-heads declares the cache anew and lets heads go"
    ]


def _unfused(model: ir.Model) -> list[str]:
    count = model.meta.get(UNFUSED)
    if not count:
        return []
    listed = ", ".join(f"{number} {op}" for op, number in count.items())
    return [f"operators that ONNX Runtime fused ({listed}) are written as simpler ones; it fuses most when it loads"]


def with_not_proved(report: Report, missing: Sequence[NotProved]) -> Report:
    """The report with more that could not be proved."""
    if report.proof is None or not missing:
        return report
    rows = [*report.proof.not_proved, *map(_not_proved_row, missing)]
    return report.model_copy(update={"proof": report.proof.model_copy(update={"not_proved": rows})})


def _not_proved_row(item: NotProved) -> NotProvedRow:
    return NotProvedRow(group=item.group, reason=item.reason)


def with_file_of_group(report: Report, source: ir.Model) -> Report:
    """The report with the file of each group, where ``source`` was joined from several."""
    joined = joined_of(source)
    if joined is None:
        return report
    owner = {name: part.title for part in joined.parts for name in part.names}
    rows = [row.model_copy(update={"file": owner.get(row.name, "")}) for row in report.groups]
    return report.model_copy(update={"groups": rows})


def group_rows(
    groups: Sequence[ChannelGroup], cut: ChannelMask | None, earlier: Sequence[GroupRow] = ()
) -> list[GroupRow]:
    """What each group has and loses, with what it lost in earlier steps."""
    rows = {row.name: row for row in earlier}
    for member in groups:
        # What went adds up over the steps; channels stay those that the group had at first.
        row, old = _group_row(member, cut), rows.get(member.name)
        rows[member.name] = row if old is None else old.model_copy(update={"removed": old.removed + row.removed})
    return list(rows.values())


def with_scores(rows: Sequence[GroupRow], scored: Mapping[str, Scored], cut: ChannelMask) -> list[GroupRow]:
    """The rows, with what a step ranked the channels of each group by."""
    histograms = {name: histogram(given, cut) for name, given in scored.items()}
    return [row.model_copy(update={"scores": histograms[row.name]}) if row.name in histograms else row for row in rows]


def _group_row(member: ChannelGroup, cut: ChannelMask | None) -> GroupRow:
    gone = 0 if cut is None else int((~cut.keeps_units(member.units)).sum())
    axes = list(dict.fromkeys([*(slot.label for slot in member.slots), *(block.name for block in member.blocks)]))
    # Channels whose weights all go with residual blocks are gone, whatever the plan says of them.
    if cut is not None and member.slots:
        inside = {value for block in cut.blocks for value in block.weights}
        gone = len(member.units) if all(slot.value in inside for slot in member.slots) else gone
    return GroupRow(name=member.name, channels=member.channels, removed=gone * member.width, axes=axes)


def frozen_rows(analysis: Analysis) -> list[FrozenRow]:
    """Filters that had to stay, with the fact that stopped them; equal rows merged."""
    merged: Counter[tuple[str, int | None, str, str]] = Counter()
    for row in blocked(analysis.coupling):
        value, _, axis = row.label.rpartition(":")
        number = int(axis) if axis.isdigit() else None
        where = f" ({row.reason.value})" if row.reason.value else ""
        merged[value, number, row.reason.node, row.reason.reason + where] += row.channels
    return [
        FrozenRow(value=value, axis=axis, node=node, reason=reason, channels=channels)
        for (value, axis, node, reason), channels in merged.most_common()
    ]


def proof_row(evidence: Evidence | None, settings: ProofSection) -> ProofResult | None:
    """The proof as the report shows it."""
    if evidence is None:
        return None
    return ProofResult(
        max_rel_err=evidence.max_rel_err,
        max_abs_err=evidence.max_abs_err,
        tolerance=evidence.tolerance,
        passed=evidence.passed,
        provider=settings.provider,
        inputs=evidence.inputs,
        masked_statistics=evidence.masked_statistics,
        reference=evidence.reference,
        level=settings.verify,
        noticed=evidence.noticed,
        not_proved=list(map(_not_proved_row, evidence.not_proved)),
        shifted_together=evidence.shifted_together,
    )


def prunable_params(analysis: Analysis, groups: Sequence[ChannelGroup], whole: int) -> int:
    """How many of the ``whole`` parameters of a model lie in weights that some group has an axis of.

    In the analysed graph constants have copies, are folded or fused, so the share there is what counts.
    """
    held = quantization_grid.weight_elements(dict.fromkeys(slot.value for member in groups for slot in member.slots))
    return round(whole * held / max(1, cost.graph_params(analysis.model.graph)))


def left_alone(skipped: Mapping[str, str], who: str = "recovery") -> list[str]:
    """One warning a reason, with the first nodes that it holds for; ``who`` left them alone."""
    nodes: dict[str, list[str]] = {}
    for node, reason in skipped.items():
        # One line a reason: a model with hundreds of such nodes would fill the report otherwise.
        nodes.setdefault(reason, []).append(repr(node))
    warnings = []
    for reason, names in nodes.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        warnings.append(f"{who} left {', '.join(names[:NAMED])}{more} alone: {reason}")
    return warnings
