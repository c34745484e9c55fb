"""The proof: the smaller model gives what the original gives when the removed channels do not count.

Both are run in ONNX Runtime on the same seeded inputs, at up to three sizes where dimensions are open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from compressor.config import RunSettings
from compressor.errors import ModelError, ProofFailed
from compressor.graph.evaluate import Array
from compressor.graph.feeds import feeds, probe_inputs
from compressor.graph.shapes import Shapes
from compressor.operators.reference import Reference

if TYPE_CHECKING:
    from compressor.runtime.sessions import Session

COARSEST = {"float16": 1e-2, "bfloat16": 5e-2, "float32": 0.0, "float64": 0.0}
"""Smallest relative tolerance that makes sense for a result of this type."""
ILL_CONDITIONED = 1e-2
"""Largest relative error that rounding in an ill-conditioned network is believed to explain."""
NOISE_FACTOR = 16.0
"""Rounding happens at every node, the measured noise at the inputs only."""
INTEGER_SHARE = 1e-3
"""Share of integer or boolean results (indices of a maximum, say) that rounding may turn."""


@dataclass
class Evidence:
    """What the runs showed.

    Attributes:
        max_rel_err: largest difference, as a share of the largest magnitude of its output.
        max_abs_err: largest difference.
        tolerance: largest relative difference allowed.
        passed: every output of every run was within it.
        inputs: shapes by input name, for each run.
        worst: the output with the largest relative error.
        masked_statistics: the reference takes norms and means over the kept channels only.
        note: what a reader of the numbers should know.
        compared: how many finite results were compared; of none, nothing is proved.
    """

    tolerance: float
    max_rel_err: float = 0.0
    max_abs_err: float = 0.0
    passed: bool = True
    inputs: list[dict[str, list[int]]] = field(default_factory=list)
    worst: str = ""
    masked_statistics: bool = False
    note: str = ""
    compared: int = 0

    def add(self, name: str, expected: Array, found: Array, rtol: float, atol: float) -> None:
        """Compares one output."""
        relative, absolute, fine = compare(expected, found, rtol, atol)
        self.compared += int(np.isfinite(expected).sum()) if expected.dtype.kind in "fc" else expected.size
        self.passed = self.passed and fine
        if relative >= self.max_rel_err:
            self.worst = name
        self.max_rel_err = max(self.max_rel_err, relative)
        self.max_abs_err = max(self.max_abs_err, absolute)


def compare(expected: Array, found: Array, rtol: float, atol: float) -> tuple[float, float, bool]:
    """Largest relative and absolute difference, and whether it is within tolerance.

    Relative to the largest magnitude of ``expected``. Positions that are the same infinity or NaN in both do not
    count; any other difference between them is an infinite error.
    """
    if expected.shape != found.shape:
        return np.inf, np.inf, False
    if expected.dtype.kind not in "fc" and expected.dtype.name != "bfloat16":
        share = float(np.mean(expected != found)) if expected.size else 0.0
        return share, share, share <= INTEGER_SHARE
    one, two = expected.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(one)
    if not np.array_equal(finite, np.isfinite(two)) or not np.array_equal(one[~finite], two[~finite], equal_nan=True):
        return np.inf, np.inf, False
    if not finite.any():
        return 0.0, 0.0, True
    gap = float(np.abs(one[finite] - two[finite]).max())
    scale = float(np.abs(one[finite]).max())
    limit = max(rtol, COARSEST.get(expected.dtype.name, 0.0)) * scale + max(atol, float(np.finfo(np.float32).tiny))
    return gap / scale if scale else gap, gap, gap <= limit


@dataclass(frozen=True)
class Runs:
    """Outputs of a model on the inputs of the proof."""

    names: list[str]
    feeds: list[dict[str, Array]]
    outputs: list[list[Array]]


def run(model: ir.Model, inputs: list[dict[str, Array]], provider: str, *, optimise: bool = True) -> Runs:
    """Writes ``model`` to a temporary folder, weights beside it, and runs it on each input.

    Raises:
        ModelError: ONNX Runtime refuses it, or it does not run.
        ProviderUnavailable: the provider is not there.
    """
    from compressor.runtime import sessions  # noqa: PLC0415 - 0.2 s that a run without proof need not pay

    with sessions.opened(model, provider, sessions.Setup(optimise=optimise)) as session:
        outputs = [_answer(session, feed) for feed in inputs]
        return Runs([o.name for o in session.get_outputs()], inputs, outputs)


def _answer(session: Session, feed: Mapping[str, Array]) -> list[Array]:
    from compressor.runtime import sessions  # noqa: PLC0415 - as above

    wanted = {i.name for i in session.get_inputs()}
    return sessions.run(session, {k: v for k, v in feed.items() if k in wanted})


def run_on_probes(model: ir.Model, shapes: Shapes, settings: RunSettings, *, first_only: bool = False) -> Runs:
    """Runs ``model`` on seeded inputs at each of its probe sizes, leaving out those that ONNX Runtime refuses.

    Where the first is refused, an index may be outside its table or a size may not suit the model: indices of zero
    and other sizes are tried, until one runs.

    Args:
        model: is run.
        shapes: what is known of it.
        settings: provider and seed.
        first_only: only at the first sizes, because the model spells them out.

    Raises:
        ModelError: ONNX Runtime refuses the model, or every input tried.
        ProviderUnavailable: the provider is not there.
    """
    from compressor.runtime import sessions  # noqa: PLC0415 - as above

    found: list[tuple[dict[str, Array], list[Array]]] = []
    problem: ModelError | None = None
    with sessions.opened(model, settings.provider) as session:
        for attempt in probe_inputs(model, shapes, settings.seed, first_only=first_only):
            if attempt.instead and found:
                break
            try:
                found.append((attempt.feed, _answer(session, attempt.feed)))
            except ModelError as error:
                problem = problem or error
        if not found:
            raise ModelError(
                f"{problem}; if an open dimension needs a certain size, give it with --dim NAME=SIZE or --input-shape"
            )
        names = [o.name for o in session.get_outputs()]
    return Runs(names, [feed for feed, _ in found], [answer for _, answer in found])


@dataclass(frozen=True)
class Expected:
    """What the smaller model has to give.

    Attributes:
        reference: the masked original.
        runs: its outputs.
        masked_statistics: it takes norms and means over the kept channels only.
        only_run: inputs at which the smaller model has to run, without being compared.
    """

    reference: ir.Model
    runs: Runs
    masked_statistics: bool
    only_run: list[dict[str, Array]]


def expect(reference: ir.Model, masks: Reference | None, shapes: Shapes, settings: RunSettings) -> Expected:
    """Runs the reference: at the bound sizes, and at others where dimensions are open.

    A mask that spells out a size which depends on the input fits the first size only; at the second one the
    smaller model then has to run, without being compared.
    """
    sized = masks is not None and masks.sized
    runs = run_on_probes(reference, shapes, settings, first_only=sized)
    only_run = [feeds(reference, shapes.other_inputs, shapes, settings.seed + 1)] if sized else []
    return Expected(reference, runs, masks is not None and masks.statistics > 0, only_run)


def confirm(expected: Expected, found: ir.Model, settings: RunSettings) -> Evidence:
    """Runs the smaller model and compares it, output by output.

    Where the two differ, it is asked whether rounding explains it: fused kernels of the runtime may round in other
    places (int8 products do), so both are run again without graph optimisations; and an ill-conditioned network
    may blow up the last bit, so the tolerance is compared with how far the reference moves by itself.

    Raises:
        ProofFailed: it does not load, does not run, or differs beyond the tolerance.
    """
    feeds, provider = expected.runs.feeds, settings.provider
    try:
        smaller = run(found, [*feeds, *expected.only_run], provider)
        evidence = prove(expected.runs, smaller, settings.rtol, settings.atol)
        if not evidence.passed:
            plain = [run(m, feeds, provider, optimise=False) for m in (expected.reference, found)]
            evidence = prove(plain[0], plain[1], settings.rtol, settings.atol)
            evidence.note = "compared with graph optimisations off: with them the runtime rounds in other places"
            if not evidence.passed and evidence.max_rel_err <= ILL_CONDITIONED:
                rtol = max(settings.rtol, NOISE_FACTOR * _noise(expected, settings))
                evidence = prove(plain[0], plain[1], rtol, settings.atol)
                evidence.note = "the network amplifies rounding; the tolerance is a multiple of what it does by itself"
    except ModelError as error:
        raise ProofFailed(f"the smaller model fails: {error}; nothing was written; please report it") from None
    evidence.masked_statistics = expected.masked_statistics
    if not evidence.compared and evidence.inputs:
        evidence.note = "no result is a finite number, so that nothing was compared; check the original"
    demand(evidence)
    return evidence


def _noise(expected: Expected, settings: RunSettings) -> float:
    """How far the reference itself moves when its inputs are rounded differently; a share of its range."""
    rng = np.random.default_rng(settings.seed)
    eps = np.finfo(np.float32).eps

    def nudge(array: Array) -> Array:
        if array.dtype.kind != "f":
            return array
        factors = 1 + eps * rng.choice([-1.0, 1.0], array.shape)
        return np.asarray(array.astype(np.float64) * factors).astype(array.dtype)

    inputs = [{name: nudge(array) for name, array in f.items()} for f in expected.runs.feeds]
    moved = run(expected.reference, inputs, settings.provider)
    return prove(expected.runs, moved, 0.0, 0.0).max_rel_err


def finite(expected: Expected) -> bool:
    """Are all results of the reference numbers?"""
    return all(np.isfinite(a).all() for outputs in expected.runs.outputs for a in outputs if a.dtype.kind == "f")


def prove(expected: Runs, found: Runs, rtol: float, atol: float) -> Evidence:
    """Compares output by output; does not raise."""
    floors = [COARSEST.get(a.dtype.name, 0.0) for outputs in expected.outputs for a in outputs]
    evidence = Evidence(max([rtol, *floors]))
    for feed, one, two in zip(expected.feeds, expected.outputs, found.outputs, strict=False):
        evidence.inputs.append({k: list(v.shape) for k, v in feed.items()})
        for name, a, b in zip(expected.names, one, two, strict=True):
            evidence.add(name, a, b, rtol, atol)
    return evidence


def worst(proofs: Sequence[Evidence]) -> Evidence | None:
    """The proof with the largest error, of those of several steps."""
    return max(proofs, key=lambda e: e.max_rel_err / e.tolerance if e.tolerance else e.max_rel_err, default=None)


def demand(evidence: Evidence) -> None:
    """Raises ProofFailed unless the proof passed."""
    if not evidence.passed:
        raise ProofFailed(
            f"output {evidence.worst!r} of the smaller model is off by {evidence.max_rel_err:.2g} of its range "
            f"(tolerance {evidence.tolerance:g}); nothing was written; this is a fault of this tool, please report it"
        )


def _size(dim: int | ir.SymbolicDim) -> str:
    return str(ir.SymbolicDim(None) if isinstance(dim, int) and dim < 0 else dim)


def same_signature(before: ir.Model, after: ir.Model) -> None:
    """Raises ProofFailed unless inputs and outputs have the same names, types and shapes.

    Inputs with a default in the file are left out: a weight that lost channels cannot be overridden any more.
    """

    def signature(model: ir.Model) -> list[tuple[object, ...]]:
        values = [*(v for v in model.graph.inputs if not v.is_initializer()), *model.graph.outputs]
        return [(v.name, v.dtype, None if v.shape is None else tuple(map(_size, v.shape))) for v in values]

    if signature(before) != signature(after):
        raise ProofFailed("inputs or outputs of the smaller model differ from the original's; nothing was written")
