"""The report of a run: groups, what was frozen, how the proof went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.groups import ChannelGroup, blocked
from compressor.config import RunSettings
from compressor.config.proof import ProofSection
from compressor.graph.disk.joined import joined_of
from compressor.pruning.budgets.select import Scored
from compressor.pruning.cut.analysis import Analysis
from compressor.pruning.proofs.outputs.evidence import Evidence, NotProved
from compressor.results import (
    FrozenRow,
    GroupRow,
    ModelStats,
    NotProvedRow,
    ProofResult,
    Report,
)
from compressor.steps.histogram import histogram
from compressor.steps.remarks import remarks


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
        warnings=remarks(analysis, before, evidence, settings),
        settings=settings.model_dump(mode="json"),
    )


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
    return GroupRow(name=member.name, channels=member.channels, removed=gone * member.counts, axes=axes)


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
        inputs=list(map(dict, evidence.inputs)),
        masked_statistics=evidence.masked_statistics,
        reference=evidence.reference,
        level=settings.verify,
        noticed=evidence.noticed,
        not_proved=list(map(_not_proved_row, evidence.not_proved)),
        shifted_together=list(evidence.shifted_together),
    )
