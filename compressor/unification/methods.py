"""How training brings weights to their blocks: a maker for every method of ``compressor.config.choices.METHODS``.

A maker takes the settings and the set of every weight by the name of its initializer, and returns what takes part in
training. What the method does, and where it comes from, is said where it is built.
"""

from __future__ import annotations

from compressor.config import UnifySettings
from compressor.errors import UsageError
from compressor.train.constraints.admm import Admm, AdmmSchedule
from compressor.train.constraints.admm_straight_through import AdmmStraightThrough
from compressor.train.constraints.constrained import Approach
from compressor.train.constraints.envelope import EnvelopeTraining
from compressor.train.constraints.soft_shrinkage import SoftShrinkage
from compressor.train.constraints.straight_through import StraightThrough
from compressor.unification.envelope import Envelope
from compressor.unification.projections import Mixed
from compressor.unification.subspace import Targets


def schedule_of(settings: UnifySettings) -> AdmmSchedule:
    """When ADMM refreshes, and how strongly it pulls."""
    return AdmmSchedule(settings.refreshes, settings.rho, settings.rho_growth, settings.dual_step)


def admm(settings: UnifySettings, targets: Targets) -> Approach:
    """Alternating direction method of multipliers, and straight-through training from there."""
    schedule = schedule_of(settings)
    if settings.admm_share == 1:
        # It ends as soon as weights are on the set, which latent ones never are.
        return Admm(targets, schedule)
    return AdmmStraightThrough(targets, schedule, settings.admm_share)


def iss(_: UnifySettings, targets: Targets) -> Approach:
    """Iterative soft shrinkage."""
    return SoftShrinkage(targets)


def envelope(_: UnifySettings, targets: Targets) -> Approach:
    """Proximal steps of the group envelope."""
    # A codebook has no free blocks to be fewer of.
    blocks = {name: target for name, target in targets.items() if isinstance(target, Mixed)}
    if len(blocks) < len(targets):
        raise UsageError("--method envelope is for blocks of one absolute value; train codebooks with another --method")
    return EnvelopeTraining({name: Envelope(target) for name, target in blocks.items()})


def ste(_: UnifySettings, targets: Targets) -> Approach:
    """Straight through the projection."""
    return StraightThrough(targets)
