"""Training that makes channels small before they are cut: with BatchNormalization put back, and folded away after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from compressor.channels.groups import ChannelGroup, group
from compressor.channels.plan import PruningPlan, plan_of
from compressor.config import PruneSettings, SparsifySettings, TuneSettings
from compressor.config.choices import REGULARIZERS
from compressor.config.selection import CRITERION
from compressor.config.training import TOWARDS_A_SET
from compressor.data import augmentation, open_parts
from compressor.errors import NothingToPrune, UsageError
from compressor.pruning.budgets.select import Choice, by_weights, choose_channels, permitted, policy_of, scored_groups
from compressor.pruning.cut.analysis import Analysis, analyse
from compressor.pruning.cut.apply import cut_of
from compressor.train import training_options
from compressor.train.defaults import training_defaults
from compressor.train.finetune import TuneResult, finetune
from compressor.train.loop.fit import Observer
from compressor.train.loop.history import History
from compressor.train.loop.split import Splits, aside_of
from compressor.train.regularizers.coupled_channels import CoupledChannels, couple
from compressor.train.regularizers.decay import is_exact
from compressor.train.regularizers.regularizer import (
    ChosenRegularizer,
    Flags,
    Regularizer,
    RegularizerRow,
    TrainedChannels,
)

PLAIN = MappingProxyType({**TOWARDS_A_SET, "expand": 0.0})
"""What cannot be had meanwhile; a product has no weight to look at."""
LATER: Mapping[str, object] = MappingProxyType({"recover": "finetune", "criterion": CRITERION, "scope": "local"})
"""How it is decided what a cut that is made later would take, where a method has to know."""

BEFORE_A_CUT = Flags("--sparsify", "--sparsify-strength", "--sparsify-epochs", "--ratio")
"""Of ``prune``, which cuts afterwards."""
ALONE = Flags("--regularizer", "--regularizer-strength", "--epochs", "--sparsity")
"""Of ``finetune``, which leaves the cut to a later run."""


@dataclass(frozen=True)
class TrainingMeans:
    """What is trained with.

    Attributes:
        teacher: the original, which losses may imitate.
        parts: samples to train on and to judge on.
        observe: receives progress.
    """

    teacher: ir.Model
    parts: Splits
    observe: Observer | None = None


@dataclass(frozen=True)
class Sparsified:
    """What training made.

    Attributes:
        model: with the nodes and names of the one that came in; layers without a bias may have one now.
        plan: what goes: the one that came in, or one of as many channels of every group, as the method chose them;
            None where the trained weights are to decide.
        tuned: what the loop has to report.
        exact: is it known that the cut changes no output?
    """

    model: ir.Model
    plan: PruningPlan | None
    tuned: TuneResult
    exact: bool

    @property
    def history(self) -> History:
        """What each epoch of the loop came to."""
        return self.tuned.history

    @property
    def warnings(self) -> list[str]:
        """What the user should know."""
        return self.tuned.warnings


def sparsify(
    analysis: Analysis, choice: Choice, asked: ChosenRegularizer, settings: PruneSettings, means: TrainingMeans
) -> Sparsified:
    """Trains an analysed model towards a cut.

    Args:
        analysis: the model; not changed.
        choice: what would be cut now, on ``analysis``: how many channels of every group go, and for methods that do not
            choose themselves which.
        asked: how it is trained.
        settings: of the training, with its number of epochs, and of what hangs together.
        means: teacher and samples.

    Raises:
        UsageError: the graph has nothing that the method acts on, or the settings contradict it.
        CompressorError: as :func:`compressor.train.finetune.finetune`.
    """
    method: RegularizerRow = REGULARIZERS.find(asked.name)
    chosen = training_defaults(settings, analysis.model).model_copy(update=PLAIN)
    # Penalties move weights by the rate; one that falls to nothing would end their work early.
    if method.decides == "after" and not settings.given("final_rate"):
        chosen = chosen.model_copy(update={"final_rate": 1.0})
    model = analysis.model
    if chosen.insert_bn:
        model = training_options.with_batchnorm(model, chosen, means.parts.train).model
    plain = chosen.model_copy(update={"insert_bn": False, "train_bn": chosen.insert_bn or chosen.train_bn})
    # The graph is simplified already, and has to keep the names that the plan speaks of.
    again = analyse(model, settings.model_copy(update={"simplify": False}), analysis.coupling.distrusted)
    groups = _groups(again, settings, balanced=method.decides != "before")
    channels = _channels(again, groups, method, choice, analysis)
    if not channels.gone.any():
        raise UsageError(
            f"no channel goes by these settings, so that there is nothing to train towards; raise {asked.flags.amount}"
        )
    subject = TrainedChannels(again, channels, cut_of(choice.plan, again), asked)
    regularizer: Regularizer = method.make(subject)
    done = finetune(
        again.model,
        plain,
        teacher=means.teacher,
        data=means.parts,
        extensions=[regularizer],
        observe=means.observe,
    )
    trained = done.model
    if chosen.insert_bn:
        trained = training_options.without_batchnorm(trained, chosen, means.parts.train)
    plan = _plan(method, regularizer, again, groups, choice, settings)
    # Asked of the model without BatchNormalization, as it is what will be cut.
    exact = method.fades and plan is not None and is_exact(cut_of(plan, analysis), analysis.model)
    return Sparsified(trained, plan, replace(done, warnings=[*done.warnings, *regularizer.notes]), exact)


def regularized(
    model: ir.Model,
    settings: SparsifySettings,
    *,
    teacher: ir.Model | None = None,
    observe: Observer | None = None,
) -> TuneResult:
    """Trains a model towards a cut that is made later, of the share ``settings.sparsity`` of every group.

    Args:
        model: not changed; what is returned is simplified as a pruning run would.
        settings: how.
        teacher: what losses imitate; the model itself where there is none.
        observe: receives progress.

    Raises:
        UsageError: no method is named, nothing goes, or settings contradict the method.
        CompressorError: as :func:`sparsify`.
    """
    if settings.regularizer is None:
        raise UsageError("training towards a cut needs a method; give --regularizer")
    if settings.expand:
        raise UsageError("--regularizer looks at the weights, which --expand makes products of; leave one of them out")
    # Only what was set, so that defaults of training are still chosen by the network.
    given = settings.model_dump(exclude_unset=True, include=set(TuneSettings.model_fields))
    later = PruneSettings.model_validate({**given, **LATER, "ratio": settings.sparsity})
    analysis = analyse(model, later)
    asked = ChosenRegularizer(settings.regularizer, ALONE, settings.regularizer_strength)
    try:
        choice = choose_channels(analysis.coupling, later, 1)
    # Its remedies are flags of pruning.
    except NothingToPrune as nothing:
        raise NothingToPrune(f"{str(nothing).partition(';')[0]}; raise {ALONE.amount}") from None
    train, valid = open_parts(settings, model)
    parts = Splits(
        train, valid if len(valid) else None, lambda epoch: augmentation(settings, model, epoch), aside_of(settings)
    )
    means = TrainingMeans(teacher or model, parts, observe)
    done = sparsify(analysis, choice, asked, later, means)
    return replace(done.tuned, model=done.model)


def _groups(analysis: Analysis, settings: PruneSettings, *, balanced: bool) -> list[ChannelGroup]:
    """Groups that may lose channels; balanced, their units can go one by one."""
    if balanced:
        # Scores only pair rows of joint axes, for which nothing has to be measured.
        return list(scored_groups(analysis.coupling, by_weights(settings))[1])
    return permitted(analysis.coupling, group(analysis.coupling), settings)


def _channels(
    again: Analysis, groups: list[ChannelGroup], method: RegularizerRow, choice: Choice, analysis: Analysis
) -> CoupledChannels:
    """The units of the model that is trained, with those that the plan removes."""
    gone: dict[str, npt.NDArray[np.bool_]] = {}
    # Decided before: the plan is by names, which BatchNormalization that was put in does not change.
    if method.decides == "before":
        cut = cut_of(choice.plan, again)
        gone = {g.name: ~cut.keeps_units(g.units) for g in groups}
    else:
        cut = cut_of(choice.plan, analysis)
        sizes: Mapping[str, int] = {g.name: len(g.units) for g in groups}
        # Only numbers are taken over, and those by group: a group that the balanced view splits otherwise has none.
        gone = {g.name: ~cut.keeps_units(g.units) for g in choice.groups if sizes.get(g.name) == len(g.units)}
    return couple(again.coupling, groups, gone, again.model)


def _plan(
    method: RegularizerRow,
    regularizer: Regularizer,
    again: Analysis,
    groups: list[ChannelGroup],
    choice: Choice,
    settings: PruneSettings,
) -> PruningPlan | None:
    if method.decides == "after":
        return None
    chosen = regularizer.chosen()
    if method.decides == "before" or chosen is None:
        return choice.plan
    # Units of all groups are numbered one group after the other, as :func:`couple` does.
    starts = np.cumsum([0, *(len(g.units) for g in groups)])
    gone: torch.Tensor = chosen.cpu()
    removed = {g.name: g.units[gone[a : a + len(g.units)].numpy()] for a, g in zip(starts, groups, strict=False)}
    return plan_of(again.coupling, groups, removed, policy_of(settings))
