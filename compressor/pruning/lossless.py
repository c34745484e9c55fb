"""Channels that cannot matter: their removal changes no output.

Liveness, as a compiler finds dead code. A channel is alive if something alive reads it: through a weight
other than zero, where the channel itself is not zero whatever the input is; a mean or a norm that counts it;
anything that is not known to leave it alone; and if a number in it or in a weight of it is not finite. What is not
alive goes, all of it together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from compressor.channels.balance import balance
from compressor.channels.coupling import Coupling
from compressor.channels.groups import ChannelGroup, group
from compressor.channels.labels import FROZEN, UnitArray
from compressor.channels.plan import PruningPlan, plan_of
from compressor.channels.verify import rule_errors
from compressor.config import PruneSettings
from compressor.config.target import TargetSection
from compressor.core.arrays import Mask
from compressor.errors import NothingToPrune
from compressor.operators.constants import Constants
from compressor.operators.propagate import contracted
from compressor.operators.table import operator_of
from compressor.pruning.budgets.select import permitted, policy_of
from compressor.pruning.cut.depth import idle_blocks
from compressor.pruning.nonfinite import NONE_SPOILT, in_weights

SUMMING_ERROR = 1e-5
"""Relative difference that summing in another order makes at most; what the proof allows unless set."""


def with_no_loss(settings: PruneSettings) -> PruneSettings:
    """The settings of a lossless run, with the tolerance of rounding alone unless one was given."""
    if settings.lossless and not settings.given("rtol"):
        return settings.resolved(rtol=SUMMING_ERROR)
    return settings


def lossless_plan(
    coupling: Coupling, settings: PruneSettings, matters: UnitArray = NONE_SPOILT
) -> tuple[PruningPlan, list[ChannelGroup]]:
    """Every channel that cannot matter, whatever ``max_ratio`` and ``round_to`` say.

    Args:
        coupling: as run; balancing merges units in it, those that cannot matter with each other.
        settings: ``include``, ``exclude`` and ``min_channels`` hold.
        matters: further units that stay; see :func:`compressor.pruning.nonfinite.in_activations`.

    Raises:
        NothingToPrune: every channel matters, or the globs leave none.
    """
    # Dead units are paired with dead ones of other rows first, or balancing would merge them with live ones and keep
    # both.
    balance(coupling, lambda: alive(coupling, group(coupling), settings, matters).astype(np.float64))
    groups = group(coupling)
    # Asked again, as balancing merged units and changed the groups.
    live = alive(coupling, permitted(coupling, groups, settings), settings, matters)
    removed = {g.name: g.units[~live[g.units]] for g in groups if not live[g.units].all()}
    if not removed:
        held = _defaults(coupling)
        raise NothingToPrune(
            "nothing can be removed without loss: no channel that may go is zero, or read by zeros alone"
            + (f" (weights that callers may replace, such as {str(held[0].name)!r}, keep theirs)" if held else "")
            + "; give --ratio to remove the least important channels instead"
        )
    return plan_of(coupling, groups, removed, policy_of(settings)), groups


def alive(
    coupling: Coupling, groups: Sequence[ChannelGroup], settings: TargetSection, matters: UnitArray = NONE_SPOILT
) -> Mask:
    """Which units matter to an output; bool by unit. Units outside ``groups`` count as if they did, and so do those of
    ``matters``, of weights that are not finite, and of weights that callers may replace."""
    constants = learn_constants(coupling)
    idle = {block.unit for block in idle_blocks(coupling, constants)}
    # Everything is alive but what may go: a unit that no group holds has nobody to remove it.
    live = np.ones(len(coupling.units), np.bool_)
    for member in groups:
        live[member.units] = False
    live[FROZEN] = True
    live[[block.unit for block in coupling.blocks if block.unit not in idle]] = True
    for units in [*constants.stays, in_weights(coupling), _given_by_callers(coupling), matters]:
        live[coupling.units.find(units)] = True
    # A unit that is revived to keep an axis from being emptied makes what it reads alive, so both are repeated.
    while True:
        _spread(constants, live)
        if not _keep_some(coupling, groups, settings.min_channels, live):
            return live


def _given_by_callers(coupling: Coupling) -> UnitArray:
    """Units of weights that are inputs with a default: who gives another one gives it in the shape that is declared."""
    terms = [term for value in _defaults(coupling) for term in coupling.layout(value, assign_fresh=False)]
    # numpy cannot concatenate an empty list.
    return np.concatenate([NONE_SPOILT, *(term.units.ravel() for term in terms)])


def _defaults(coupling: Coupling) -> list[ir.Value]:
    """Weights that are inputs with a default."""
    return [value for value in coupling.graph.inputs if value.is_initializer()]


def learn_constants(coupling: Coupling) -> Constants:
    """What is constant in the graph, and what every node reads."""
    constants = Constants(coupling)
    for node in coupling.graph.all_nodes():
        rule = operator_of(node)
        if not rule.coupled or node in coupling.opaque:
            continue  # the coupling froze all it touches
        with rule_errors(node):
            rule.learn(node, constants)
        # What is summed without a weight (a mean, a norm) counts every channel, zeros too.
        if node not in constants.products:
            for term in contracted(node, constants):
                constants.stay(term.units)
    return constants


def _spread(constants: Constants, live: Mask) -> None:
    """What something alive reads is alive, until nothing changes; from the outputs back to the inputs."""
    changed = True
    while changed:
        changed = False
        # Reads are in the order of the graph, so that backwards one pass is mostly enough.
        for read in reversed(constants.reads):
            if not live[read.term.units].all():
                needed = read.needed(live)
                changed = changed or not live[needed].all()
                live[needed] = True


def _keep_some(coupling: Coupling, groups: Sequence[ChannelGroup], least: int, live: Mask) -> bool:
    """Marks as live, in place, the first units of groups that would keep fewer than ``least`` channels and of axes that
    would keep none; returns whether there were any."""
    before = int(live.sum())
    for member in (each for each in groups if not each.blocks):
        # ``min_channels`` counts channels, of which a unit counts as some.
        short = -(-least // member.counts) - int(live[member.units].sum())
        live[member.units[~live[member.units]][: max(short, 0)]] = True
    # Besides groups: an output of Split may hold a part of a group only, and no axis may end up empty.
    for units in coupling.extents():
        if not live[units].any():
            live[units[:1]] = True
    return int(live.sum()) > before
