"""Budgets of bytes: they are of the file that will be written, and not of the one that was read.

What exporters wrote beside the graph goes, nodes vanish with a cut, recovery may add biases, and the file says where it
comes from. So what is no weight is counted on the graph that each choice leaves, and the choice is made again with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from compressor.channels.plan import units_of
from compressor.config import PruneSettings
from compressor.config.target import MOST_STEPS
from compressor.core.default_metric import DEFAULT_METRIC
from compressor.errors import NothingToPrune, TargetOutOfReach
from compressor.graph.disk.files import layout_of
from compressor.graph.disk.joined import split
from compressor.graph.disk.provenance import stamp_provenance, text_digest
from compressor.pruning.budgets.budget import goal_of, too_coarse
from compressor.pruning.budgets.cost import CostModel
from compressor.pruning.budgets.select import Choice, Ranking
from compressor.pruning.cut.analysis import Analysis
from compressor.pruning.cut.apply import apply_cut, cut_of
from compressor.results import ProofResult
from compressor.steps.provenance import accuracy_fact, distance_on_samples, proof_fact
from compressor.steps.run_samples import reads_samples

TRIES = 5
"""How often a choice is made for a target of bytes; the second one fits as a rule."""
DIGEST = text_digest("")
"""As long as those that the file will say."""
SCORE, MOVED, SAMPLES, SIZES = 1e7, 10.0, 1_000_000, 99
"""Numbers that take as many digits as any that the file will say: of a metric, of a distance, of samples, and of input
sizes that a proof ran at."""
SMALL_ALREADY = (
    "without what exporters wrote beside the graph the file comes to {left}, and --target-size allows "
    "{share}; give a smaller size, or use clean"
)
ABOVE = "the file would have {size:,} bytes, and --target-size allows {most:,}; give a smaller size"


@dataclass(frozen=True)
class WrittenFile:
    """The file that a run will write.

    Attributes:
        asked: settings as they were given, which the file names.
        settings: with every default resolved.
        spare: bytes that are kept free, as an earlier try was larger by so much.
    """

    asked: PruneSettings
    settings: PruneSettings
    spare: int = 0

    def size(self, model: ir.Model) -> int:
        """Bytes of the files of a model that is written as it is."""
        return sum(layout_of(part, "model.onnx", self.settings.external_data).total for part in split(model))

    def expected(self, model: ir.Model) -> int:
        """The same, at most, once it says where it comes from."""
        stamped = model.clone()
        # What fits is not to depend on the digits of a number of steps.
        asked = self.asked.model_copy(update={"steps": MOST_STEPS})
        stamp_provenance(stamped, "prune", asked, None, self._longest_facts())
        return self.size(stamped)

    def rest(self, analysis: Analysis) -> float:
        """Bytes of the file that are no weights, counted before anything goes."""
        return max(
            0.0,
            self.spare
            + self.expected(analysis.model)
            - CostModel(analysis.coupling).bytes_after(np.zeros(0, np.int64)),
        )

    def choose(
        self, analysis: Analysis, step: PruneSettings, ranking: Ranking, choose: Callable[[Ranking], Choice]
    ) -> Choice:
        """A choice with which the file has the bytes that a target asks for; any choice for another target.

        Args:
            analysis: the analysed model.
            step: settings of the step.
            ranking: its groups.
            choose: makes a choice, with the bytes that are no weights in the ranking's origin.

        Raises:
            TargetOutOfReach: no choice comes within
                :data:`~compressor.pruning.budgets.budget.TARGET_TOLERANCE`, or below a number of bytes.
        """
        if step.target_size is None:
            return choose(ranking)
        self._demand_larger(analysis, step, ranking)
        cost, rest, best = CostModel(analysis.coupling), self.rest(analysis), None
        for _ in range(TRIES):
            origin = replace(ranking.origin, rest=rest)
            goal = goal_of(cost, step, origin)
            try:
                choice = choose(replace(ranking, origin=origin))
            except TargetOutOfReach:
                if best is None:
                    raise
                break
            size = self._after(analysis, choice)
            left = size / goal.whole
            if abs(left - goal.share) <= goal.slack and left <= goal.most:
                return choice
            if left <= goal.most and (best is None or left > best[0]):
                best = left, choice
            # Made again with what was counted; a choice that comes again says that there is none between.
            right = size - cost.bytes_after(units_of(choice.plan, analysis.coupling))
            if right == rest:
                break
            rest = right
        if best is not None and goal.met(best[0]):
            return best[1]
        raise TargetOutOfReach(too_coarse(goal, left))

    def _after(self, analysis: Analysis, choice: Choice) -> int:
        """Bytes of the file, at most, that a choice leaves."""
        cut = cut_of(choice.plan, analysis)
        small = apply_cut(analysis, cut)
        if self.settings.recover != "none":
            from compressor.reconstruct.biases import add_biases

            add_biases(small, analysis.model, cut)
        return self.expected(small)

    def _demand_larger(self, analysis: Analysis, step: PruneSettings, ranking: Ranking) -> None:
        """Raises NothingToPrune where the file is small enough with every channel in it."""
        cost, origin = CostModel(analysis.coupling), replace(ranking.origin, rest=self.rest(analysis))
        goal = goal_of(cost, step, origin)
        # Earlier steps may have met the target, and what is fixed goes in any case.
        if goal.left([]) <= goal.most and ranking.untouched and not step.layer_ratio:
            raise NothingToPrune(SMALL_ALREADY.format(left=goal.told(goal.left([])), share=goal.told(goal.share)))

    def above(self, model: ir.Model) -> int:
        """Bytes by which the file is larger than it may be; 0 where it is not."""
        most = self.asked.target_size
        return 0 if most is None or most <= 1 else max(0, self.size(model) - int(most))

    def demand(self, model: ir.Model) -> list[str]:
        """Holds the result against a target of bytes; what the report has to say of it, where layers were trained.

        Raises:
            TargetOutOfReach: the file would be larger.
        """
        if not self.above(model):
            return []
        told = ABOVE.format(size=self.size(model), most=int(self.asked.target_size or 0))
        # How much less it should have been is known only after hours of training.
        if self.settings.changes_layers and self.settings.trains:
            return [told]
        raise TargetOutOfReach(told)

    def _longest_facts(self) -> dict[str, str | None]:
        """What the file will say of the run, at its longest."""
        settings = self.settings
        proof = ProofResult(
            max_rel_err=0.0,
            max_abs_err=0.0,
            tolerance=1.23e-05,
            passed=True,
            provider=settings.provider,
            inputs=[{}] * SIZES,
            masked_statistics=False,
            level=settings.verify,
        )
        read = settings.data is not None or settings.val_data is not None or settings.eval is not None
        return {
            "input_sha256": DIGEST,
            "plan_sha256": DIGEST,
            "proof": proof_fact(proof if settings.proves else None),
            "distance": distance_on_samples(MOVED, SAMPLES, made_up=True) if read or reads_samples(settings) else None,
            "accuracy": accuracy_fact(settings.eval or DEFAULT_METRIC, SCORE, SCORE, SAMPLES) if read else None,
        }
