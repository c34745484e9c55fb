"""A reference at the second size, where the one that was made at the first size does not run there.

Heads that are merged with the batch, say, are masked by position along an axis that is open. Such a mask fits the
sizes that the model was analysed at and no other. Analysed anew at the second sizes, the same plan makes masks that fit
those.
"""

from __future__ import annotations

from pathlib import Path

from compressor.channels.plan import PruningPlan
from compressor.config import PruneSettings
from compressor.errors import ModelError, PlanError, RuleFault, UsageError
from compressor.pruning.cut import surgery
from compressor.pruning.cut.analysis import Analysis, analyse
from compressor.pruning.cut.apply import cut_of
from compressor.pruning.proofs.outputs.evidence import Evidence
from compressor.pruning.proofs.outputs.standard import with_tolerance
from compressor.pruning.proofs.proof import answers_of, tolerance_of
from compressor.pruning.proofs.runs.inputs import Inputs
from compressor.pruning.proofs.runs.whole_or_pieces import runnable
from compressor.runtime.stored import Answers, Runnable


def at_second_size(
    analysis: Analysis, plan: PruningPlan, small: Runnable, settings: PruneSettings, folder: Path
) -> Evidence | None:
    """How far the smaller model is from the reference at the second size; None where there is no such reference.

    Args:
        analysis: what was cut, analysed at the first sizes.
        plan: what went.
        small: what is left of it.
        settings: tolerance, provider, seed, and the policy of coupling.
        folder: where files may be put.

    Raises:
        ProofFailed: the smaller model does not run there, or has outputs of other names.
    """
    sizes = analysis.shapes.other_inputs
    if sizes == analysis.shapes.inputs:
        return None
    resized = settings.model_copy(update={"input_shapes": sizes, "dims": {}})
    try:
        again = analyse(analysis.model, resized, analysis.coupling.distrusted)
        model, _ = surgery.mask(again.model, cut_of(plan, again))
        feed = Inputs.of_proof(model, again.shapes.of_inputs(model.graph), settings.seed + 1).first
        expected = Answers.of(runnable(model, folder, settings.provider), [feed])
    # Not every plan is one for the model at other sizes, and not every reference runs there.
    except (ModelError, PlanError, RuleFault, UsageError):
        return None
    answers = answers_of(small, [feed])
    return Evidence.of(*with_tolerance(expected, answers, tolerance_of(settings), model))
