"""What a run has to say: sizes and costs, groups, what was frozen, how the proof went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.groups import ChannelGroup, blocked
from compressor.channels.plan import PruningPlan
from compressor.config import AMOUNTS, PruneSettings, RunSettings
from compressor.config.proof import ProofSection
from compressor.core.formatting import count, share
from compressor.core.notation import parse_also
from compressor.graph import files
from compressor.graph.joined import join, joined_of, split
from compressor.graph.normalise import normalise
from compressor.graph.restore_packed import with_plain_weights
from compressor.graph.stream import plan_files
from compressor.graph.unfuse import UNFUSED
from compressor.graph.weights import weight_bytes
from compressor.operators import quantization_grid
from compressor.operators.carried import taught
from compressor.operators.table import RULES
from compressor.pruning import cost
from compressor.pruning.analysis import Analysis
from compressor.pruning.freed import held_by_caches
from compressor.pruning.measured_shapes import shapes_of
from compressor.pruning.proof import Evidence, file_check
from compressor.pruning.select import Scored
from compressor.results import (
    DiffReport,
    FrozenRow,
    GroupRow,
    InitializerChange,
    ModelStats,
    NotProvedRow,
    OperatorChange,
    ProofResult,
    Report,
)
from compressor.steps.histogram import histogram

if TYPE_CHECKING:
    from compressor.evaluate.pair import Opened

NAMED = 3
"""Nodes that a warning names."""


def open_source(model: str | Path | ir.Model, settings: RunSettings, also: Sequence[str] = ()) -> tuple[ir.Model, int]:
    """The model, knowing what the settings teach about operators, and its bytes on disk (in memory: of its weights).

    Args:
        model: a file, or a model in memory.
        settings: of the run.
        also: further files of it, as :func:`compressor.core.notation.parse_also` reads them.

    Raises:
        CompressorError: a file is not sound, or the files do not fit each other.
    """
    loaded = model if isinstance(model, ir.Model) else files.load_model(model)
    if also:
        path = None if isinstance(model, ir.Model) else Path(model)
        loaded = join(loaded, path, [(Path(file), pairs) for file, pairs in map(parse_also, also)])
    size = weight_bytes(loaded) if isinstance(model, ir.Model) else _size(loaded)
    return taught(loaded, settings), size


def _size(loaded: ir.Model) -> int:
    source = files.source_of(loaded)
    return 0 if source is None else source.size


def settings_of_plan(settings: PruneSettings, plan: PruningPlan | None) -> PruneSettings:
    """The settings a run analyses with: a plan brings those that decide what hangs together."""
    if plan is None:
        return settings
    # JSON has lists only, and the settings hold tuples, which compare as unequal to lists.
    policy = {name: tuple(value) if isinstance(value, list) else value for name, value in plan.policy.items()}
    # Amounts go: the plan says what goes, and a target beside it would be aimed at as well.
    return settings.model_copy(update={**dict.fromkeys(AMOUNTS), "lossless": False, **policy})


def stats(path: Path | None, size: int, graph: ir.Graph, counts: tuple[int, int], uncounted: int = 0) -> ModelStats:
    """One row of the report; ``counts`` are (parameters, MACs), ``uncounted`` the nodes whose MACs are not known."""
    return ModelStats(
        path=None if path is None else str(path),
        bytes=size,
        params=counts[0],
        macs=counts[1],
        uncounted=uncounted,
        nodes=graph.num_nodes(),
        opset=graph.opset_imports.get("", 0),
    )


def stats_of(source: ir.Model, found: Analysis, size: int, path: Path | None) -> ModelStats:
    """The original, counted before anything is cut."""
    graph, shapes = found.model.graph, found.shapes
    counts = (_params(source), cost.macs_per_sample(graph, shapes, RULES))
    return stats(path, size, source.graph, counts, len(cost.uncounted(graph, shapes, RULES)))


def _params(model: ir.Model) -> int:
    """Parameters of a model as it came; those of Constant nodes count, so it is normalised first."""
    return cost.graph_params(normalise(model.clone()).graph)


def stats_in_memory(
    model: ir.Model, settings: RunSettings, size: int | None = None, path: Path | None = None
) -> ModelStats:
    """A model as it is; without ``size``, bytes on disk, its bytes are those it would have in one file."""
    stored = normalise(model.clone())
    # What unpacks weights is computed once, when a runtime loads the model, and is no cost of a sample.
    plain = with_plain_weights(stored)
    shapes = shapes_of(plain, settings)
    counts = (cost.graph_params(stored.graph), cost.macs_per_sample(plain.graph, shapes, RULES))
    size = plan_files(model).size if size is None else size
    return stats(path, size, model.graph, counts, len(cost.uncounted(plain.graph, shapes, RULES)))


def stats_of_file(opened: Opened, settings: RunSettings) -> ModelStats:
    """A model that was opened to be measured."""
    return stats_in_memory(opened.model, settings, files.size_on_disk(opened.path), opened.path)


def places(model: ir.Model, output: Path) -> dict[Path, ir.Model]:
    """Where each file of a result goes: the first to ``output``, others beside it under their own names."""
    joined, found = joined_of(model), split(model)
    rest = [] if joined is None else [part.path for part in joined.parts[1:]]
    names = [output, *(pruned_beside(output, path) for path in rest if path is not None)]
    return dict(zip(names, found, strict=True))


def pruned_beside(output: Path, file: Path) -> Path:
    """Where a further file of a model goes: ``decoder.onnx`` to ``decoder.pruned.onnx`` in the folder of the output."""
    return output.with_name(f"{file.stem if file.suffix == '.onnx' else file.name}.pruned.onnx")


def read_back(path: Path, settings: RunSettings) -> ModelStats:
    """A written file, loaded again and counted."""
    loaded, size = open_source(path, settings)
    return stats_in_memory(loaded, settings, size, path)


def put_in_place(model: ir.Model, output: Path | None, settings: RunSettings, proved: Evidence | None) -> ModelStats:
    """Writes a model, once the written bytes are proved, and counts the file; without ``output`` only counts.

    Args:
        model: the result of a run.
        output: where it goes.
        settings: how it is written and proved.
        proved: what was proved of the model as it is; None where its weights changed since.

    Raises:
        CompressorError: as :func:`compressor.graph.files.save_model` and the proof of the written file.
    """
    if output is None:
        return stats_in_memory(model, settings)
    check = file_check(model, proved, settings)
    written = places(model, output)
    files.save_models(written, settings.external_data, check=check)
    if len(written) == 1:
        return read_back(output, settings)
    # Sizes of inputs that the user gave may be of any of the files, so that these are counted as one again.
    loaded = stats_in_memory(model, settings, sum(_size(files.load_model(path)) for path in written))
    return loaded.model_copy(update={"path": str(output), "also": [str(path) for path in list(written)[1:]]})


def report(
    found: Analysis,
    before: ModelStats,
    groups: list[GroupRow],
    evidence: Evidence | None,
    settings: RunSettings,
) -> Report:
    """The report of a run, without what only the caller knows (the output file, seconds)."""
    return Report(
        input=before,
        groups=groups,
        frozen=frozen_rows(found),
        proof=proof_row(evidence, settings),
        warnings=[
            *_unfused(found.model),
            *_partial(before),
            *_once(found),
            *_deep(found, settings),
            *_cached(found, before, settings),
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


def _once(found: Analysis) -> list[str]:
    if not cost.in_bodies(found.model.graph, found.shapes, RULES):
        return []
    return ["MACs count every body of control flow once: one iteration of a loop, and each branch of an If"]


def _deep(found: Analysis, settings: RunSettings) -> list[str]:
    if not isinstance(settings, PruneSettings) or not settings.depth or found.coupling.blocks:
        return []
    return ["--depth found no residual block that may go: no sum of a value and a branch that starts from it"]


def _cached(found: Analysis, before: ModelStats, settings: RunSettings) -> list[str]:
    if not isinstance(settings, PruneSettings) or settings.cache_heads:
        return []
    held = held_by_caches(found.coupling)
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


def file_names(source: ir.Model) -> list[str]:
    """Names of the files that a model was joined from; empty for a model of one file."""
    joined = joined_of(source)
    return [] if joined is None else [part.title for part in joined.parts]


def told_apart(report: Report, source: ir.Model) -> Report:
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
    found = {name: histogram(given, cut) for name, given in scored.items()}
    return [row.model_copy(update={"scores": found[row.name]}) if row.name in found else row for row in rows]


def _group_row(member: ChannelGroup, cut: ChannelMask | None) -> GroupRow:
    gone = 0 if cut is None else int((~cut.keeps_units(member.units)).sum())
    axes = list(dict.fromkeys([*(slot.label for slot in member.slots), *(block.name for block in member.blocks)]))
    # Channels whose weights all go with residual blocks are gone, whatever the plan says of them.
    if cut is not None and member.slots:
        inside = {value for block in cut.blocks for value in block.weights}
        gone = len(member.units) if all(slot.value in inside for slot in member.slots) else gone
    return GroupRow(name=member.name, channels=member.channels, removed=gone * member.width, axes=axes)


def frozen_rows(found: Analysis) -> list[FrozenRow]:
    """Filters that had to stay, with the fact that stopped them; equal rows merged."""
    merged: Counter[tuple[str, int | None, str, str]] = Counter()
    for row in blocked(found.coupling):
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
        not_proved=[NotProvedRow(group=item.group, reason=item.reason) for item in evidence.not_proved],
        shifted_together=evidence.shifted_together,
    )


def prunable_params(found: Analysis, groups: Sequence[ChannelGroup], whole: int) -> int:
    """How many of the ``whole`` parameters of a model lie in weights that some group has an axis of.

    In the analysed graph constants have copies, are folded or fused, so the share there is what counts.
    """
    held = quantization_grid.weight_elements(dict.fromkeys(slot.value for member in groups for slot in member.slots))
    return round(whole * held / max(1, cost.graph_params(found.model.graph)))


def difference(a: Path, b: Path) -> DiffReport:
    """What differs between two model files."""
    settings = RunSettings()
    models = [files.load_model(p) for p in (a, b)]
    tensors = [{str(v.name): v.const_value for v in normalise(m.clone()).graph.initializers.values()} for m in models]
    counts = [Counter(node.op_type for node in m.graph) for m in models]
    signatures = [
        [(v.name, v.dtype, str(v.shape)) for v in [*m.graph.inputs, None, *m.graph.outputs] if v is not None]
        for m in models
    ]
    return DiffReport(
        a=read_back(a, settings),
        b=read_back(b, settings),
        same_signature=signatures[0] == signatures[1],
        initializers=_changed(tensors[0], tensors[1]),
        operators=[
            OperatorChange(op_type=op, count_a=counts[0][op], count_b=counts[1][op])
            for op in sorted(counts[0] | counts[1])
            if counts[0][op] != counts[1][op]
        ],
    )


def _changed(
    one: dict[str, ir.TensorProtocol | None], two: dict[str, ir.TensorProtocol | None]
) -> list[InitializerChange]:
    found = []
    for name in dict.fromkeys([*one, *two]):
        a, b = one.get(name), two.get(name)
        shapes = [None if t is None else [int(d) for d in t.shape.numpy()] for t in (a, b)]
        # By bytes, as NaNs are unequal to themselves and zeros of either sign are equal.
        if shapes[0] != shapes[1] or (a is not None and b is not None and a.tobytes() != b.tobytes()):
            found.append(InitializerChange(name=name, shape_a=shapes[0], shape_b=shapes[1]))
    return found


def left_alone(skipped: Mapping[str, str], who: str = "recovery") -> list[str]:
    """One warning a reason, with the first nodes that it holds for; ``who`` left them alone."""
    nodes: dict[str, list[str]] = {}
    for node, reason in skipped.items():
        # One line a reason: a model with hundreds of such nodes would fill the report otherwise.
        nodes.setdefault(reason, []).append(repr(node))
    found = []
    for reason, names in nodes.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        found.append(f"{who} left {', '.join(names[:NAMED])}{more} alone: {reason}")
    return found
