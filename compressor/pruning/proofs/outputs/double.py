"""Two models in double precision, where in single precision rounding cannot be told from a fault.

What rounding does inside, such as to an exponential of a number near zero, cannot always be provoked by moving inputs
in their last bit. With 53 bits instead of 24 it all but vanishes, and a fault stays. ONNX Runtime has few kernels for
doubles, so ONNX's own reference implementation computes them, which takes its time: this is asked last.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from compressor.core.compare import Tolerance, is_real, rounding_spread
from compressor.graph.form.upcast import widened
from compressor.pruning.proofs.outputs.evidence import Evidence, NotProvedKind
from compressor.pruning.proofs.outputs.standard import Standard
from compressor.runtime.stored import Feed, Runs

MOST_MACS = 2 * 10**8
"""Multiply-accumulates of a run that is worth it: some seconds in numpy."""
AGREE = Tolerance(1e-9, by_channel=True)
"""Error that is none in double precision, where 2^-52 is 2e-16."""
IN_DOUBLE = (
    "compared in double precision: with fewer bits rounding decides, and takes this much of the range of {outputs}"
)


def judged_in_double(
    evidence: Evidence, standard: Standard, reference: ir.Model, small: ir.Model
) -> tuple[Evidence, Standard]:
    """What is found, and the standard that it is held against, once more where it failed, or where the tolerance that
    rounding asked for is so large that passing says little.

    Args:
        evidence: of the smaller model, held against ``standard``.
        standard: outputs of the reference.
        reference: gives them.
        small: the smaller model.

    Returns:
        As given where there is nothing to ask, or doubles cannot be computed. If the two agree with doubles, the
        difference is rounding: the standard then allows as much, by channel, and what hardly was compared is proved. If
        they differ by more than was allowed from the start, it is a fault, whatever rounding would excuse.
    """
    if evidence.runs is None or (evidence.passed and not standard.hardly_compared):
        return evidence, standard
    one, two = (_in_double(model, standard.runs) for model in (reference, small))
    if one is None or two is None:
        return evidence, standard
    note = IN_DOUBLE.format(outputs=_rounded(evidence.runs, standard))
    plain = replace(standard, runs=one, noise=(), note=note)
    if not replace(plain, tolerance=AGREE).met_by(two):
        return (evidence, standard) if plain.met_by(two) or not evidence.passed else (Evidence.of(plain, two), plain)
    pairs = [zip(a, b, strict=True) for a, b in zip(standard.runs.outputs, evidence.runs.outputs, strict=True)]
    noise = [[rounding_spread(a, [b]) for a, b in row] for row in pairs]
    allowed = replace(standard, noise=noise, note=note)
    # What was not proved for another reason, and statistics that were masked, are as they were.
    missing = [item for item in evidence.not_proved if item.kind is not NotProvedKind.ROUNDING]
    found = replace(Evidence.of(allowed, evidence.runs), not_proved=missing)
    return replace(found, masked_statistics=evidence.masked_statistics), allowed


def _rounded(runs: Runs, standard: Standard) -> str:
    """The outputs that rounding moves by more than is allowed without asking."""
    rows = replace(standard, noise=()).distances(runs)
    failing = {name for row in rows for name, gap in zip(runs.names, row, strict=True) if not gap.passed}
    names = [repr(name) for name in runs.names if name in failing]
    return f"output{'' if len(names) == 1 else 's'} {', '.join(names)}" if names else "the outputs"


def _in_double(model: ir.Model, runs: Runs) -> Runs | None:
    """The same outputs, computed with doubles; None where the reference implementation cannot."""
    from compressor.graph.ir.reference import reference_of  # noqa: PLC0415 - 60 ms that most proofs need not pay

    try:
        evaluator = reference_of(ir.to_proto(widened(model, ir.DataType.DOUBLE)))
        outputs = [[np.asarray(a) for a in evaluator.run(runs.names, dict(_wide(feed)))] for feed in runs.feeds]
    except Exception:  # noqa: BLE001 - operators that it does not know, and types that it does not take, raise anything
        return None
    return Runs(runs.names, runs.feeds, outputs)


def _wide(feed: Feed) -> Feed:
    return {name: array.astype(np.float64) if is_real(array) else array for name, array in feed.items()}
