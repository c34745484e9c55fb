"""What a written model says of the run that made it, from the run's report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compressor.channels.plan import PruningPlan
from compressor.core.formatting import count
from compressor.graph.disk.provenance import text_digest
from compressor.results import ProofResult, Report

if TYPE_CHECKING:
    from compressor.results.unify import UnifyReport
    from compressor.train.finetune import TuneResult


def pruning_facts(report: Report, plan: PruningPlan | None = None) -> dict[str, str | None]:
    """Proof, distance and accuracy of a pruned or cleaned model, and what stands for the plan."""
    distance = None
    if report.outputs is not None:
        distance = distance_on_samples(
            report.outputs.distance.value, report.outputs.samples, made_up=not report.outputs.real
        )
    accuracy = [accuracy_fact(row.metric, row.before, row.after, row.samples) for row in report.accuracy]
    return {
        "plan_sha256": None if plan is None else text_digest(plan.to_json()),
        "proof": proof_fact(report.proof),
        "distance": distance,
        "accuracy": "; ".join(accuracy) or None,
    }


def unified_facts(report: UnifyReport) -> dict[str, str | None]:
    """The same of a model with unified weights; what stands for the plan are the blocks of its layers."""
    row = report.accuracy
    moved = None if report.output_error is None else _moved(report.output_error, "random inputs")
    return {
        "plan_sha256": text_digest("\n".join(f"{layer.name} {layer.block}" for layer in report.layers)),
        "proof": proof_fact(report.proof),
        "distance": moved,
        "accuracy": None if row is None else accuracy_fact(row.metric, row.before, row.after, row.samples),
    }


def training_facts(result: TuneResult) -> dict[str, str | None]:
    """What the written model says of its training: the metric before and after, and how it was verified."""
    before, after = result.history.before, result.history.after
    told = None
    if before.metric is not None and after.metric is not None:
        judged = "set aside samples" if result.judged is None else str(result.judged)
        found = f"{before.metric:.4f} before, {after.metric:.4f} after"
        name = result.history.metric_name
        # The fact is called accuracy itself.
        told = f"{found if name == 'accuracy' else f'{name} {found}'}, on {judged}"
    return {"accuracy": told, "proof": "none" if result.max_rel_err is None else "passed, against the trained module"}


def proof_fact(proof: ProofResult | None) -> str:
    """What the proof said, without the error itself, whose last digits differ from machine to machine."""
    if proof is None:
        return "none"
    verdict = "passed" if proof.passed else "failed"
    return f"{verdict}, {proof.level}, within {proof.tolerance:g} on {len(proof.inputs)} input sizes, {proof.provider}"


def distance_on_samples(moved: float, samples: int, *, made_up: bool) -> str:
    """How far outputs moved, as a share of their norm, on so many samples."""
    return _moved(moved, f"{samples} {'made-up samples' if made_up else 'samples'}")


def _moved(share: float, what: str) -> str:
    return f"{share:.4f} of the outputs' norm on {what}"


def accuracy_fact(metric: str, before: float, after: float, samples: int | None) -> str:
    """What a metric says of the original and of the result."""
    return f"{metric} {before:.4f} before, {after:.4f} after" + (
        "" if samples is None else f", on {count(samples, 'sample')}"
    )
