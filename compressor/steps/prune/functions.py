"""Calls of local functions are put back at the end of a pruning run, and what is written is proved with them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from compressor.graph.form.outline import keep_functions
from compressor.pruning.proofs.outputs.evidence import NotProved
from compressor.pruning.proofs.preparation import prove_with_functions
from compressor.steps.prune.pruned import Pruned
from compressor.steps.prune.run import PruningRun
from compressor.steps.prune.start import RunStart


@dataclass(frozen=True)
class WithFunctions:
    """What came of the local functions of a model.

    Attributes:
        pruned: what all steps left, its model with calls.
        notes: what the report has to say of functions that stay inlined.
        not_proved: what no comparison says anything about.
    """

    pruned: Pruned
    notes: list[str]
    not_proved: list[NotProved]


def put_back(run: PruningRun, given: ir.Model, start: RunStart, pruned: Pruned) -> WithFunctions:
    """Puts calls back into the model, in place, and proves that it gives the same with them.

    Args:
        run: how it is proved.
        given: the original, which has the functions.
        start: the graph before any step, which calls are looked for in.
        pruned: what all steps left.

    Raises:
        ProofFailed: it does not.
    """
    inlined = pruned.model.clone()
    notes, missing = keep_functions(pruned.model, start.analysis.model, given), list[NotProved]()
    if run.settings.proves:
        with run.clock.phase("prove"):
            missing = prove_with_functions(inlined, pruned.model, run.settings)
    return WithFunctions(replace(pruned, sealed=pruned.model.clone()), notes, missing)
