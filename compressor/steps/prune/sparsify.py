"""Training before a cut: what is tried first, and what is cut afterwards."""

from __future__ import annotations

from dataclasses import replace

from compressor.config.choices import REGULARIZERS
from compressor.errors import UsageError
from compressor.pruning.budgets.select import Choice
from compressor.pruning.cut.analysis import Analysis
from compressor.pruning.cut.apply import apply_plan
from compressor.steps.prune.choose import replayed_choice
from compressor.steps.prune.run import PruningRun
from compressor.steps.prune.trainer import TrainedTowards


def train_towards(run: PruningRun, analysis: Analysis, choice: Choice, cuts: int) -> TrainedTowards | None:
    """The model after training towards a cut, where the settings ask for that.

    The cut is tried before, so that no rule of a node fails on it only after hours of training.

    Args:
        run: what trains.
        analysis: the analysed model; not changed.
        choice: what would be cut now.
        cuts: how many came before.

    Raises:
        UsageError: a plan is given, and the method decides otherwise what goes.
        RuleFault: a rule does not fit a node.
    """
    name = run.settings.sparsify
    if name is None or not choice.plan.removals:
        return None  # a step of several may find nothing to take
    if run.plan is not None and REGULARIZERS[name].decides != "before":
        others = " or ".join(other for other, method in REGULARIZERS.items() if method.decides == "before")
        raise UsageError(
            f"a plan already says what goes, and --sparsify {name} decides that while it trains; choose --sparsify "
            f"{others}, or leave --plan out"
        )
    # The result is thrown away: what counts is that no rule raises.
    apply_plan(analysis, choice.plan)
    return None if run.samples is None else run.trainer.towards(analysis, choice, run.samples, cuts)


def choice_after(trained: TrainedTowards, analysis: Analysis, choice: Choice) -> Choice | None:
    """What goes from the trained model; None where its weights are to decide.

    Args:
        trained: what training made.
        analysis: of the same.
        choice: from before training, whose amounts are shares of the same.
    """
    return None if trained.plan is None else replace(replayed_choice(trained.plan, analysis), origin=choice.origin)
