"""How far every group goes so that the least is lost within a budget: a knapsack with precedence.

Within a group the least important channels go first, so that what a group can do is a line of widths, each with what
it costs and what it loses; one width is taken from every line. HALP (arXiv 2110.10811) states the problem for latency.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from compressor.core.arrays import Floats

STATES_KEPT = 2048
"""Partial choices that are kept after each group."""


def choose_widths(costs: Sequence[Floats], losses: Sequence[Floats], budget: float) -> list[int] | None:
    """The choice of one width a group that loses least and costs at most ``budget``.

    A partial choice that costs and loses no less than another one cannot become better, so that only undominated
    ones are kept (Nemhauser and Ullmann, Management Science 15, 1969). That is exact as long as no more than
    `STATES_KEPT` of them are left after a group. Where there are more, the range of their costs is divided into as many
    parts and the one of least loss is kept in each: the result still costs at most ``budget``, and loses no more than
    the best choice for a budget that is smaller by one part for every group.

    Args:
        costs: for every group float64[widths], what it costs at each width; neither sorted nor positive.
        losses: in the same order what it loses there.
        budget: what all groups may cost together.

    Returns:
        For every group the position of its width; None where even the cheapest widths cost more.
    """
    # Costs are counted from the cheapest width, so that every partial choice within ``spare`` can be completed.
    cheapest = [float(cost.min()) for cost in costs]
    spare = budget - sum(cheapest)
    if spare < 0:
        return None
    spent, lost = np.zeros(1), np.zeros(1)
    steps: list[tuple[npt.NDArray[np.int64], int]] = []
    for cost, loss, least in zip(costs, losses, cheapest, strict=True):
        sums = (spent[:, None] + (cost - least)).ravel()
        totals = (lost[:, None] + loss).ravel()
        # Positions in the flattened table say both the state before and the width; see _trace.
        kept = _undominated(sums, totals, spare)
        spent, lost = sums[kept], totals[kept]
        steps.append((kept, len(cost)))
    return _trace(steps)


def _undominated(spent: Floats, lost: Floats, spare: float) -> npt.NDArray[np.int64]:
    """Positions in ``spent`` and ``lost`` (float64[states * widths]) of the partial choices that are worth keeping, by
    rising cost and falling loss; at most :data:`STATES_KEPT` of them."""
    # By cost and, of equal costs, by loss: then a state is undominated where the running minimum falls.
    affordable = np.flatnonzero(spent <= spare)
    order: npt.NDArray[np.int64] = affordable[np.lexsort((lost[affordable], spent[affordable]))]
    best = np.minimum.accumulate(lost[order])
    order = order[np.concatenate([[True], best[1:] < best[:-1]])]
    if len(order) > STATES_KEPT:
        # The last state of each part is its dearest and so, since losses fall, the one of least loss.
        part = np.floor(spent[order] * (STATES_KEPT - 1) / spare)
        order = order[np.append(part[1:] != part[:-1], True)]
    return order


def _trace(steps: Sequence[tuple[npt.NDArray[np.int64], int]]) -> list[int]:
    """The widths that lead to the last state, which loses least, one for each group.

    Each of ``steps`` holds the positions that were kept in the table [states before, widths], and the number of widths.
    """
    levels = []
    state = len(steps[-1][0]) - 1 if steps else 0
    for kept, widths in reversed(steps):
        # ``ravel`` of [states, widths] put the width in the remainder.
        state, width = divmod(int(kept[state]), widths)
        levels.append(width)
    return levels[::-1]
