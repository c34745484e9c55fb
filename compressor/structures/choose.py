"""One budget for channels and for single layers: which channels go, and which layers become something cheaper.

Both lose in one unit, the mean square of how outputs move, and both save in what the run has a target for. A layer that
is thinned saves less where its channels go, and channels save less where layers are thinned; so costs are taken around
some widths, the knapsack is solved, and again around its answer (:class:`compressor.pruning.budgets.widths.Widths`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compressor.channels.coupling import Coupling
from compressor.channels.groups import ChannelGroup
from compressor.core.arrays import Floats
from compressor.core.compare import at_most
from compressor.errors import TargetOutOfReach
from compressor.pruning.budgets.budget import Goal, Removed, nearest_that_is_met
from compressor.pruning.budgets.parts import OperatorChain
from compressor.pruning.budgets.widths import WidthLine, Widths, units_at
from compressor.pruning.by_loss import CostShares, levels_within
from compressor.structures.layer.change import ChangeLine, LayerChange
from compressor.structures.layer.geometry import Geometry

OUT_OF_REACH = "{what} can go down to no less than {least}, the target is {share}; {remedy}"


@dataclass(frozen=True)
class JointChoice:
    """What a budget was spent on.

    Attributes:
        removed: units that go, by name of their group.
        changes: name of a node -> what it becomes.
        left: the share of the original that is left.
    """

    removed: Removed
    changes: Mapping[str, LayerChange]
    left: float


@dataclass(frozen=True, eq=False)
class _LayerLine:
    """A layer's options in the place of a group's widths."""

    losses: Floats

    def gone(self, level: int) -> float:
        """The number of the option, which is what :class:`_Costs` asks for."""
        return float(level)


class _Costs(CostShares):
    """What parts cost where widths and options are chosen together.

    Options of layers come after the groups in what is gone.
    """

    def __init__(
        self, coupling: Coupling, groups: Sequence[ChannelGroup], goal: Goal, lines: Sequence[ChangeLine]
    ) -> None:
        self._own: dict[OperatorChain, tuple[int, ChangeLine]] = {}
        self._groups = len(groups)
        self._changed: dict[tuple[OperatorChain, tuple[int, ...], int], float] = {}
        super().__init__(coupling, groups, goal)
        holders = {node: part for part in self.parts for node in part.nodes}
        self.holders = [holders[line.layer.view.layer.node] for line in lines]
        for number, (part, line) in enumerate(zip(self.holders, lines, strict=True)):
            # Options stand behind the groups in what is gone, one place for each layer.
            self._own[part] = (self._groups + number, line)

    def share(self, part: OperatorChain, gone: list[float]) -> float:
        """What a part costs where each group has lost this share of its units, and its layer takes its option."""
        widths = gone[: self._groups]
        plain = super().share(part, widths)
        place, line = self._own.get(part, (0, None))
        change = None if line is None else line.options[int(gone[place])]
        if line is None or change is None:
            return plain
        # Costs depend on sizes and option alone, and are asked for very often.
        key = (part, part.sizes(widths), int(gone[place]))
        if key not in self._changed:
            self._changed[key] = self._saved(part, key[1], line, change)
        return plain - self._changed[key]

    def _saved(self, part: OperatorChain, sizes: tuple[int, ...], line: ChangeLine, change: LayerChange) -> float:
        """What an option saves at these sizes; nothing where it costs more than the layer."""
        size = self.geometry(part, sizes, line)
        if size is None:
            return 0.0
        if self.kind == "macs":
            saved = size.macs - change.macs(size)
        elif self.kind == "params":
            saved = size.params - change.params(size)
        else:
            each = self.each(line.layer.view.layer.weight.initializer)
            saved = size.params * each - change.bytes(size, each)
        # An option may cost more than the layer once channels have gone; it then counts as not taken.
        return max(0.0, saved) / max(self.whole, 1.0)

    def geometry(self, part: OperatorChain, sizes: tuple[int, ...], line: ChangeLine) -> Geometry | None:
        """The layer at these sizes."""
        layer = line.layer.view.layer
        values = [*layer.node.inputs, layer.node.outputs[0]]
        shapes = [None if v is None else part.shape(v, sizes) for v in values]
        # A weight that is moved on the way may have no shape in the part.
        shapes[layer.held] = shapes[layer.held] or layer.weight.read().shape
        return Geometry.of(layer.node, layer.held, shapes)

    def pays(self, number: int, gone: list[float]) -> bool:
        """Does the option that layer ``number`` takes save anything?"""
        part = self.holders[number]
        return self.share(part, gone) < super().share(part, gone[: self._groups])


def choose_together(
    coupling: Coupling, lines: Sequence[WidthLine], layers: Sequence[ChangeLine], goal: Goal
) -> JointChoice:
    """What loses least within the goal, or within as much more as it may be missed by, for widths in coarse steps.

    Args:
        coupling: of the graph.
        lines: widths of the groups that may lose channels.
        layers: options of the layers.
        goal: what is counted, and how much of it is to be left.

    Raises:
        TargetOutOfReach: even everything that may go leaves more.
    """
    costs = _Costs(coupling, [line.group for line in lines], goal, layers)
    widths = Widths([*lines, *(_LayerLine(line.losses) for line in layers)], costs.parts, costs.share, costs.holders)
    levels = levels_within(widths, costs.rest, goal, lambda levels: costs.rest + widths.total(levels))
    left = costs.rest + widths.total(levels)
    if not at_most(left, goal.most):
        raise TargetOutOfReach(
            OUT_OF_REACH.format(
                what=goal.what,
                least=goal.told(left),
                share=goal.told(goal.share),
                remedy=nearest_that_is_met(goal, left, ["choose another --structure"]),
            )
        )
    gone, count = widths.gone(levels), len(lines)
    removed = units_at(lines, levels[:count])
    changes: dict[str, LayerChange] = {}
    for number, (line, level) in enumerate(zip(layers, levels[count:], strict=True)):
        option = line.options[level]
        # An option that saves nothing any more is not worth writing.
        if option is not None and costs.pays(number, gone):
            changes[line.layer.name] = option
    return JointChoice(removed, changes, left)
