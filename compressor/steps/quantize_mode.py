"""Which mode ``--mode auto`` takes: the faster one, unless the other keeps outputs clearly nearer or takes more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import onnx_ir as ir

from compressor.config.quantize import QuantizeSettings
from compressor.core.formatting import percentage, portion
from compressor.errors import ModelError, NotPossible, ProofFailed
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.operators.table import RULES, operator_of
from compressor.pruning.proofs.graphs.interface_match import demand_same_interface
from compressor.results.detail import OutputsRow, off_by
from compressor.results.quantize import ModeRow, QuantizedRow
from compressor.runtime import quantizer
from compressor.steps.quantize import QuantizeTask, demand_quantised
from compressor.steps.quantize_run import Quantised, elements, quantised
from compressor.steps.run_samples import RunSamples

SAMPLES_COMPARED = 256
"""Samples that two modes are compared on, at most."""
NEAR = 0.01
"""What one mode may be further off than the other and still count as near: of places with another largest class, or
without classes of the norm of the outputs."""
SLOW = 0.1
"""The same where most weights are of convolutions, which run slower than the original's when they quantise what they
read each time; static ones are faster."""
MORE = 0.1
"""Share of the numbers of all weights by which a mode has to take more of them to be worth it."""
FAR_APART = 0.2
"""Share of places with another largest class, or without classes of the norm, from which on a user is warned."""
LARGE = "the model is too large to try both modes, and dynamic needs no calibration"
WRECKED = "outputs moved far from the original's: {far}; {remedy}"
MODE_REMEDIES = MappingProxyType(
    {
        "static": "--mode auto takes dynamic where that is nearer, and --exclude leaves layers as they were",
        "dynamic": "--mode auto takes static where that is nearer, and --exclude leaves layers as they were",
        "int4": "a smaller --block-size, --exclude of some layers or --mode auto keeps more",
        "tried": "no mode of int8 keeps them nearer; leave the layers that lose most as they were with --exclude",
        "tried, int4 left": (
            "no mode of int8 keeps them nearer; --mode int4, which leaves activations as they are, was not tried and "
            "may; or leave the layers that lose most as they were with --exclude"
        ),
    }
)
"""What keeps outputs nearer, by the mode that was asked for."""
UNTAKEN = (
    "{share:.1%} of the numbers of weights stay as they were, as they are of recurrent layers ({operators}), which "
    "--mode {mode} does not take; {remedy}"
)


@dataclass(frozen=True)
class Made:
    """A quantised model, and how it came to its mode.

    Attributes:
        task: what was asked for.
        done: what the quantiser made of it.
        why: that mode, where it was chosen.
        tried: what was tried to choose.
    """

    task: QuantizeTask
    done: Quantised
    why: str | None = None
    tried: tuple[ModeRow, ...] = ()


@dataclass(frozen=True)
class _Try:
    """One mode: what it made, or the error that it ended in, and how it did."""

    task: QuantizeTask
    done: Quantised | None
    error: ModelError | NotPossible | ProofFailed | None
    row: ModeRow

    @property
    def off(self) -> float | None:
        """How far outputs are from the original's: by class where there are scores of classes."""
        return None if self.row.distance is None else _off(self.row.agreement, self.row.distance)

    @property
    def margin(self) -> float:
        """What it may be further off than another and still count as near."""
        return SLOW if _convolutional(self.task) else NEAR


def made(source: ir.Model, tasks: Sequence[QuantizeTask], samples: RunSamples, settings: QuantizeSettings) -> Made:
    """Runs the quantiser in the mode that was asked for, or in the better one.

    Args:
        source: the original.
        tasks: the mode that was asked for; or those to choose from, the faster first.
        samples: to calibrate and compare on.
        settings: of the run.

    Raises:
        ModelError: the quantiser refuses the model in every mode, the model does not run before, or what the quantiser
            makes does not run.
        ProofFailed: what it makes has other inputs or outputs.
        NothingToPrune: it takes no weight.
        NothingToProve: no output is a finite number, so that it cannot calibrate.
        UsageError: there are fewer samples than the model takes at a time.
    """
    if settings.mode != "auto":
        return Made(tasks[0], _made(source, tasks[0], samples, settings))
    if tasks[0].asked.large:
        return Made(tasks[-1], _made(source, tasks[-1], samples, settings), LARGE)
    held = samples.held_out(max(SAMPLES_COMPARED, batch_limit(source) or 0), settings.seed)
    tries: list[_Try] = []
    for task in tasks:
        tries.append(_tried(source, task, samples, held, settings))
        # What is near, and whole, cannot be beaten by enough; trying the other would only take time.
        if _cannot_be_beaten(tries[-1]):
            break
    best, why = _chosen(tries)
    if best.done is None:
        assert tries[0].error is not None
        raise tries[0].error
    return Made(best.task, best.done, why, tuple(one.row for one in tries))


def _made(source: ir.Model, task: QuantizeTask, samples: RunSamples, settings: QuantizeSettings) -> Quantised:
    quantised_model = quantised(task, samples, settings)
    # The quantiser is not ours, so what callers bind to is checked.
    demand_same_interface(source, quantised_model.model)
    demand_quantised(quantised_model.rows, task, quantised_model.notes)
    return quantised_model


def _tried(
    source: ir.Model, task: QuantizeTask, samples: RunSamples, held: RunSamples, settings: QuantizeSettings
) -> _Try:
    """One mode, made on ``samples`` and compared on those that are ``held`` out."""
    try:
        made_model = _made(source, task, samples, settings)
        outputs = held.outputs_row(source, [made_model.model], settings)
    except (ModelError, NotPossible, ProofFailed) as error:
        return _Try(task, None, error, ModeRow(mode=task.mode, refused=str(error)))
    taken = _numbers(made_model.rows, quantized=True) / max(1, _numbers(made_model.rows))
    row = _mode_row(task.mode, outputs).model_copy(update={"quantized": taken})
    return _Try(task, made_model, None, row)


def _cannot_be_beaten(one: _Try) -> bool:
    return one.done is not None and (one.off is None or one.off <= one.margin) and one.row.quantized > 1 - MORE


def _chosen(tries: Sequence[_Try]) -> tuple[_Try, str]:
    """The first, unless another is clearly nearer or takes more; and why."""
    first, *others = tries
    for other in others:
        if other.done is None:
            continue
        if first.done is None:
            return other, f"{first.row.mode} made nothing that could be used: {first.row.refused}"
        if first.off is not None and other.off is not None and first.off > other.off + first.margin:
            return other, f"with it {_how_far(other.row)}, with {first.row.mode} {_how_far(first.row)}"
        near = first.off is None or other.off is None or other.off <= first.off + NEAR
        if near and other.row.quantized > first.row.quantized + MORE:
            taken = f"{other.row.quantized:.1%} of the numbers of weights, {first.row.mode}"
            return other, f"it takes {taken} {first.row.quantized:.1%}"
    done = next((other for other in others if other.done is not None), None)
    if done is None:
        return first, f"with it {_how_far(first.row)}"
    said = f"with it {_how_far(first.row)}, with {done.row.mode} {_how_far(done.row)}"
    nearer = done.off is not None and first.off is not None and done.off < first.off
    usual = f"{said}; {first.row.mode} comes first where both are near: it is mostly faster (--latency measures)"
    return first, usual if nearer else said


def _convolutional(task: QuantizeTask) -> bool:
    """Are most numbers of weights those of kernels with windows?"""
    sizes = {value: len(value.shape or ()) for value in task.weights.values()}
    kernels = [v for v, axes in sizes.items() if axes > 2 and all(operator_of(u.node).has_kernel for u in v.uses())]
    return 2 * sum(elements(v) for v in kernels) > sum(elements(v) for v in sizes)


def _mode_row(mode: str, outputs: OutputsRow | None) -> ModeRow:
    if outputs is None:
        return ModeRow(mode=mode)
    agreement = None if outputs.agreement is None else outputs.agreement.value
    return ModeRow(mode=mode, distance=outputs.distance.value, output=outputs.farthest, agreement=agreement)


def _how_far(row: ModeRow) -> str:
    if row.distance is None:
        return "outputs cannot be compared"
    if row.agreement is not None:
        return f"the largest class is the original's in {percentage(row.agreement)}"
    written, link = portion(row.distance)
    return off_by(written(row.distance), row.output, link)


def _off(agreement: float | None, distance: float) -> float:
    return distance if agreement is None else 1 - agreement


def _numbers(rows: Sequence[QuantizedRow], *, quantized: bool = False) -> int:
    return sum(row.weights for row in rows if row.quantized or not quantized)


# ---- what a user should know --------------------------------------------------------------------------------------


def mode_remarks(found: Made, outputs: OutputsRow | None, settings: QuantizeSettings) -> list[str]:
    """Sentences about recurrent weights that stay as they were, and about outputs that moved far."""
    said = _untaken(found.task.mode, found.done.rows)
    if outputs is not None:
        agreement = None if outputs.agreement is None else outputs.agreement.value
        if _off(agreement, outputs.distance.value) > FAR_APART:
            far = _how_far(_mode_row(found.task.mode, outputs))
            said.append(WRECKED.format(far=far, remedy=MODE_REMEDIES[_remedy(found, settings)]))
    return said


def _remedy(found: Made, settings: QuantizeSettings) -> str:
    if settings.mode != "auto":
        return found.task.mode
    packed = any(quantizer.taken_in_four_bits(row.operator) for row in found.done.rows)
    return "tried, int4 left" if packed else "tried"


def _untaken(mode: str, rows: Sequence[QuantizedRow]) -> list[str]:
    left = [row for row in rows if not row.quantized and _recurrent(row)]
    if not left:
        return []
    kinds = sorted({row.operator for row in left})
    able = [kind for kind in kinds if quantizer.taken_dynamically(kind)]
    if able and mode == "dynamic":
        return []  # they are nodes that were left out, and a warning says why
    remedy = f"--mode dynamic takes {', '.join(able)}" if able else "no mode of ONNX Runtime's quantiser does"
    part = sum(row.weights for row in left) / sum(row.weights for row in rows)
    return [UNTAKEN.format(share=part, operators=", ".join(kinds), mode=mode, remedy=remedy)]


def _recurrent(row: QuantizedRow) -> bool:
    rule = RULES.get(("", row.operator))
    return rule is not None and rule.recurrent
