"""What recovery leaves is proved: the graph that was cut, with other weights, and layers that changed, as written."""

from __future__ import annotations

from compressor.pruning.cut.analysis import Analysis
from compressor.pruning.proofs.graphs.written import demand_same
from compressor.pruning.proofs.outputs.evidence import Evidence
from compressor.steps.prune.prove_changed import prove_changed, prove_stored
from compressor.steps.prune.prove_cut import ProvedCut
from compressor.steps.prune.recover import Recovered
from compressor.steps.prune.run import PruningRun


def prove_recovered(run: PruningRun, analysis: Analysis, cut: ProvedCut, recovered: Recovered) -> list[Evidence]:
    """Proves what recovery left; nothing beside the cut where it only touched weights.

    Args:
        run: what was proved, and how.
        analysis: what was cut.
        cut: what is left of it, and what was proved of that.
        recovered: what recovery made of it.

    Raises:
        ProofFailed: more than weights changed, or a changed layer is not what it was written for.
    """
    shown = cut.evidence[-1] if cut.evidence else None
    if run.recovery.idle:
        demand_same(cut.model, recovered.plain, "what is left after a cut that nothing recovers")
        return []
    changed = recovered.changed
    if changed is None:
        run.demand_only_weights(analysis, cut.model, recovered.plain, shown)
        return []
    evidence = prove_changed(changed, analysis, run.settings, run.clock)
    run.demand_only_weights(analysis, cut.model, changed.unordered or changed.reference, shown)
    # Training came after the layers were written.
    run.demand_only_weights(analysis, changed.model, recovered.plain, evidence[-1] if evidence else None)
    return [*evidence, *prove_stored(recovered.plain, recovered.model, analysis, run.settings, run.clock)]
