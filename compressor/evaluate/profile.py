"""What every node costs in the original and in the result, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from compressor.config import RunSettings
from compressor.config.proof import ProofSection
from compressor.core.arrays import Array
from compressor.core.scratch import scratch
from compressor.evaluate import pair
from compressor.evaluate.attribution import attributed
from compressor.graph.disk import files
from compressor.graph.form.normalise import normalise
from compressor.graph.sizes.shapes import Shapes
from compressor.operators.carried import taught
from compressor.operators.sizes import infer
from compressor.pruning.budgets import cost
from compressor.pruning.cut.analysis import prepared_model
from compressor.results import Report
from compressor.results.detail import LayerRow


@dataclass(frozen=True)
class _Cost:
    """Multiply-accumulates of one node, and milliseconds with their noise where they were measured."""

    name: str
    op_type: str
    weight: str
    output: str
    macs: int
    milliseconds: float | None = None
    noise: float | None = None


Times = Mapping[str, float]
"""Milliseconds of a run by the name of what ran, in the order in which it ran."""
Turns = Sequence[Times]
"""Those of one model, measured several times."""
PROFILED, RUNS_COUNTED = 2, 10
"""How often each model is profiled, one after the other, and the runs of a turn that count."""
RESOLUTION = 1e-3
"""Milliseconds that the profile counts in."""


def layer_rows(
    original: ir.Model, result: ir.Model, settings: RunSettings, times: tuple[Turns, Turns] | None = None
) -> list[LayerRow]:
    """Multiply-accumulates of one sample by node, for all nodes that cost some in one of the models.

    Nodes are the same where their first outputs have the same name, or else where both have the same name and
    operator. Rows follow the order of the original; what only the result has comes last. Nodes inside the bodies of
    If and Loop are not counted, as in the totals.

    Args:
        original: the model as it was loaded; not changed.
        result: the smaller model; not changed.
        settings: of the run; shapes are bound and the original simplified as they say.
        times: of both models, if they were measured.

    Raises:
        ModelError: shapes do not fit.
    """
    # The original simplified as the run did it, or nodes that clean-up removed would look like savings.
    before = _costs(*prepared_model(original, settings), times[0] if times else None)
    plain = normalise(result.clone())
    after = _costs(plain, infer(plain, settings.input_shapes, settings.dims), times[1] if times else None)
    partners = _partners(before, after)
    rows = [_row(one, partners.get(k)) for k, one in enumerate(before)]
    taken = {id(partner) for partner in partners.values()}
    rows += [_row(None, two) for two in after if id(two) not in taken]
    return [row for row in rows if row.macs_before or row.macs_after]


def detailed(
    report: Report, original: str | Path, result: ir.Model, settings: RunSettings, *, timed: bool = True
) -> Report:
    """``report`` with costs by node.

    Args:
        report: of the run that made ``result``.
        original: the file that was read.
        result: the smaller model; not changed.
        settings: of the run.
        timed: also with milliseconds, for which both models are run.

    Raises:
        ModelError: the file is unreadable, shapes do not fit, or a model does not run.
        ProviderUnavailable: the provider is missing.
    """
    read = taught(files.load_model(original), settings)
    times = _times(Path(original), result, settings) if timed else None
    return report.model_copy(update={"layers": layer_rows(read, result, settings, times)})


def _times(original: Path, result: ir.Model, settings: RunSettings) -> tuple[Turns, Turns]:
    """Profiles of both models on one sample, in turns: what two of one model differ by is noise."""
    with scratch() as folder:
        smaller = Path(folder) / "result.onnx"
        files.save_model(result, smaller)
        opened = pair.open_model(original)
        dims = dict.fromkeys(pair.batch_symbols(opened, settings), 1)
        feeds = pair.seeded(opened, pair.bind(opened, settings, dims), settings.seed)
        turns = [[_profile(path, settings, feeds) for path in (opened.runs, smaller)] for _ in range(PROFILED)]
    return [before for before, _ in turns], [after for _, after in turns]


def _profile(path: Path, settings: ProofSection, feeds: Mapping[str, Array]) -> Times:
    from compressor.runtime.profile import profile  # noqa: PLC0415 - imports the runtime
    from compressor.runtime.sessions import Setup  # noqa: PLC0415

    return profile(path, settings.provider, feeds, Setup(guarded=False), RUNS_COUNTED).by_name()


def _costs(model: ir.Model, shapes: Shapes, turns: Turns | None) -> list[_Cost]:
    """Every node; what follows a layer, up to the next one, is fused into it or counted with it in its time."""
    found: list[_Cost] = []
    layer: dict[ir.Value, str] = {}
    owner: dict[str, str] = {}
    for node in model.graph:
        output = next((str(v.name) for v in node.outputs if v.name), "")
        macs = cost.macs_per_sample([node], shapes)
        found.append(_Cost(node.name or output, node.op_type, _weight(node), output, macs))
        # Of several inputs the first that a layer made, as a node can only be fused with one of them.
        before = next((layer[v] for v in node.inputs if v in layer), output)
        layer |= dict.fromkeys(node.outputs, output if macs else before)
        owner |= dict.fromkeys(filter(None, [node.name, *(v.name for v in node.outputs)]), output if macs else before)
    if turns is None or not owner:
        return found
    taken = [attributed(times, owner) for times in turns]
    return [_timed(one, [times[one.output] for times in taken if one.output in times]) for one in found]


def _timed(one: _Cost, measured: Sequence[float]) -> _Cost:
    """A node with the mean of its times, and what these are apart."""
    if not measured:
        return one
    apart = max(max(measured) - min(measured), RESOLUTION)
    return replace(one, milliseconds=sum(measured) / len(measured), noise=apart)


def _weight(node: ir.Node) -> str:
    """The first initializer of two axes or more that ``node`` reads."""
    for value in node.inputs:
        tensor = None if value is None or not value.is_initializer() else value.const_value
        if value is not None and tensor is not None and len(tensor.shape) > 1:
            return str(value.name)
    return ""


def _partners(before: list[_Cost], after: list[_Cost]) -> dict[int, _Cost]:
    """The node of the result for each position of the original that still has one."""
    outputs = {one.output: one for one in after if one.output}
    # Names of outputs first, since a cut keeps them even where it replaces a node.
    found = {k: outputs[one.output] for k, one in enumerate(before) if one.output in outputs}
    taken = {id(one) for one in found.values()}
    names = {(one.name, one.op_type): one for one in after if id(one) not in taken}
    for k, one in enumerate(before):
        if k not in found and (partner := names.pop((one.name, one.op_type), None)) is not None:
            found[k] = partner
    return found


def _row(before: _Cost | None, after: _Cost | None) -> LayerRow:
    named = before or after
    assert named is not None
    return LayerRow(
        name=named.name,
        op_type=named.op_type,
        weight=named.weight,
        macs_before=None if before is None else before.macs,
        macs_after=None if after is None else after.macs,
        ms_before=None if before is None else before.milliseconds,
        ms_after=None if after is None else after.milliseconds,
        ms_noise=max((one.noise for one in (before, after) if one is not None and one.noise is not None), default=None),
    )
