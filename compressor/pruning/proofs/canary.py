"""Would a wrong cut have been noticed? One is made on purpose, and held against the same standard.

The kept positions of a group are shifted by one in one of its weights, as a slice does that is off by one. Where
that moves no output, outputs say nothing about the group: they are saturated, dead, or drowned in the rounding that
was allowed. Then values inside are compared, at the positions that stay. What moves nothing there either is not
proved, and is said so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.groups import ChannelGroup, Slot
from compressor.channels.residual import DEPTH
from compressor.core.arrays import Array
from compressor.core.compare import Tolerance, same_bits
from compressor.errors import ModelError, tool_fault
from compressor.graph.ir.nodes import dims_of
from compressor.graph.tensors.weights import DerivedTensor
from compressor.pruning.budgets.cost import graph_macs
from compressor.pruning.cut.depth import heard
from compressor.pruning.cut.surgery import compact
from compressor.pruning.proofs.outputs.evidence import Noticed, NotProved
from compressor.pruning.proofs.outputs.standard import Standard, finite_everywhere, moved_runs, noise_of
from compressor.pruning.proofs.routes import Route, on_route
from compressor.pruning.proofs.runs.piecewise import runnable
from compressor.runtime.outputs import giving
from compressor.runtime.stored import Answers, Feed, Runs

WrongKind = TypeVar("WrongKind")

EFFORT = 2 * 10**9
"""Multiply-accumulates, or what takes as long, that may be spent on wrong cuts: about two tenths of a second."""
BLIND_ALONE = 8
"""Groups whose wrong cut no output shows that are tried inside one by one, whatever that takes."""
NODE_EFFORT, PARAMETER_EFFORT = 5 * 10**6, 30
"""What a node costs when a session is made, and a parameter that is written and read, in multiply-accumulates."""
ALIKE = "every channel of its weights is the same, so that a wrong cut makes no difference"
UNHEARD = "no output moves when the residual blocks that went are there"
BLIND = "neither an output nor a value inside is seen to move when the kept channels are shifted by one"


@dataclass(frozen=True)
class Case:
    """What is needed to make a wrong cut and to see whether it is noticed.

    Attributes:
        cut: what went, of the model that was analysed.
        small: what is left of it.
        reference: the graph in which what went does not count.
        standard: the standard that the smaller model met.
        folder: where files may be put.
        provider: where they are run.
        routes: ways through control flow, with the standard that it met on each.
        masked: the reference differs from the original by masks; not where what goes is without effect anyway.
    """

    cut: ChannelMask
    small: ir.Model
    reference: ir.Model
    standard: Standard
    folder: Path
    provider: str
    routes: Sequence[tuple[Route, Standard]] = ()
    masked: bool = True

    def try_wrong_cuts(self, groups: Sequence[ChannelGroup]) -> Noticed:
        """Cuts each group wrongly, and says of which that was noticed.

        Raises:
            ProofFailed: values inside differ, where outputs are blind.
        """
        # Of residual blocks the wrong cut is another one, further down.
        groups = [group for group in groups if not group.blocks]
        wrong = self._wrong_cuts(groups)
        noticed = tried_in_parts(
            self._parts([g for g in groups if g.name in wrong], wrong),
            lambda part: self._noticed([wrong[member.name] for member in part]),
        )
        # Values inside are compared last, since exposing them means more sessions.
        try:
            dead, unsure = self._blind_inside(noticed.blind, wrong) if noticed.blind else ([], [])
        except ModelError:
            # Models with values exposed, and cut wrongly, are ours: where one does not run, nothing is seen inside.
            dead, unsure = noticed.blind, []
        missing = [NotProved(g.name, ALIKE) for g in groups if g.name not in wrong and self._can_be_wrong(g)]
        missing += [NotProved(member.name, BLIND) for member in dead]
        count = noticed.count + len(noticed.blind) - len(dead)
        if self.cut.blocks and self.masked:
            # Would it show if the branches that went still counted?
            seen = is_noticed(heard(self.reference, self.cut.blocks), self.standard, self.folder, self.provider)
            count += seen
            missing += [] if seen else [NotProved(DEPTH, UNHEARD)]
        return Noticed(count, missing, [member.name for member in (*noticed.together, *unsure)])

    def _parts(
        self, groups: Sequence[ChannelGroup], wrong: Mapping[str, tuple[str, ir.TensorProtocol]], least: int = 0
    ) -> Iterator[Sequence[ChannelGroup]]:
        """Groups that are shifted together: each alone as far as effort goes, ``least`` anyway, and the rest at once.

        Groups in one weight are never together, as one would take back what the other shifted.
        """
        macs = graph_macs(self.cut.coupling.graph, self.cut.coupling.shapes)
        alone = max(least, affordable(len(groups), self.small.graph, macs))
        yield from ([member] for member in groups[:alone])
        part: dict[str, ChannelGroup] = {}
        for member in groups[alone:]:
            name = wrong[member.name][0]
            # Its weight is in this part already, so a new part begins.
            if name in part:
                yield list(part.values())
                part = {}
            part[name] = member
        if part:
            yield list(part.values())

    # ---- a wrong cut ----------------------------------------------------------------------------------------

    def _can_be_wrong(self, member: ChannelGroup) -> bool:
        """Does some of it go and some of it stay?"""
        kept = self.cut.keeps_units(member.units)
        return bool(kept.any() and not kept.all())

    def _wrong_cuts(self, groups: Sequence[ChannelGroup]) -> dict[str, tuple[str, ir.TensorProtocol]]:
        """By group, a weight of the smaller model and what a slice that is off by one leaves of it.

        A weight that no other group was given is taken where there is one. A group is left out where no weight of
        it differs.
        """
        cuts: dict[str, tuple[str, ir.TensorProtocol]] = {}
        taken: set[str] = set()
        for member in groups:
            spare: tuple[str, ir.TensorProtocol] | None = None
            # Lazily: a wrong slice of a large weight costs as much as a cut, and mostly the first will do.
            for name, tensor in self._wrong(member):
                spare = spare or (name, tensor)
                if name not in taken:
                    spare = (name, tensor)
                    break
            if spare is not None:
                cuts[member.name] = spare
                taken.add(spare[0])
        return cuts

    def _wrong(self, member: ChannelGroup) -> Iterator[tuple[str, ir.TensorProtocol]]:
        """Weights of the smaller model that hold the group, each as a slice that is off by one would leave it."""
        # Small kernels first, as shifting takes time; a bias may move an output by little.
        slots = sorted(
            member.slots,
            key=lambda s: (
                len(s.value.shape or ()) < 2,
                s.value.const_value.size if s.value.const_value is not None else 0,
            ),
        )
        for slot in slots if self._can_be_wrong(member) else ():
            name, tensor = str(slot.value.name), slot.value.const_value
            left = self.small.graph.initializers.get(name)
            if tensor is None or left is None or left.const_value is None:
                continue
            array = tensor.numpy()
            right, wrong = compact(array, self.cut, slot.value), self._shifted(array, slot, member)
            # Other shapes mean that surgery did more than slice here (a repaired table, say), so that shifting means
            # nothing.
            same = wrong.shape == right.shape == dims_of(left.const_value)
            if same and not same_bits(wrong, right):
                # Making it now would hold a large weight in memory for every group.
                if isinstance(left.const_value, DerivedTensor):  # a weight that is made when it is read
                    yield name, self._made_again(tensor, slot, member, left.const_value)
                else:
                    yield name, ir.tensor(wrong, name=name)

    def _made_again(
        self, tensor: ir.TensorProtocol, slot: Slot, member: ChannelGroup, like: ir.TensorProtocol
    ) -> ir.LazyTensor:
        def shifted() -> ir.TensorProtocol:
            return ir.tensor(self._shifted(tensor.numpy(), slot, member), name=like.name)

        return ir.LazyTensor(shifted, like.dtype, ir.Shape(dims_of(like)), name=like.name)

    def _shifted(self, array: Array, slot: Slot, member: ChannelGroup) -> Array:
        """``compact`` of data in which one group is shifted by one along the slot's last axis."""
        units, axes = self.cut.coupling.units.find(slot.term.units), slot.term.axes
        # Other groups on the same axes stay right, so that what is noticed is the fault of this group.
        own = np.isin(units, member.units).transpose(np.argsort(axes))
        own = np.expand_dims(own, tuple(axis for axis in range(array.ndim) if axis not in axes))
        # Data that moves under the right cut is what a cut that moves over the data gives: one function slices. The
        # last position wraps around to the first, so that as many are read as before.
        return compact(np.where(own, np.roll(array, -1, axes[-1]), array), self.cut, slot.value)

    def _cut_wrongly(self, weights: Sequence[tuple[str, ir.TensorProtocol]]) -> ir.Model:
        model = self.small.clone()
        for name, tensor in weights:
            model.graph.initializers[name].const_value = tensor
        return model

    # ---- is it noticed? -------------------------------------------------------------------------------------

    def _noticed(self, weights: Sequence[tuple[str, ir.TensorProtocol]]) -> bool:
        """At an output, on the inputs of the proof or on those of a route."""
        seen = partial(is_noticed, whole=not any(tensor.dtype.is_floating_point() for _, tensor in weights))
        if seen(self._cut_wrongly(weights), self.standard, self.folder, self.provider):
            return True
        return any(
            seen(on_route(self._cut_wrongly(weights), route)[0], standard, self.folder, self.provider)
            for route, standard in self.routes
        )

    def _blind_inside(
        self, blind: Sequence[ChannelGroup], wrong: Mapping[str, tuple[str, ir.TensorProtocol]]
    ) -> tuple[list[ChannelGroup], list[ChannelGroup]]:
        """Those of these groups whose wrong cut does not show in what their weights make, at positions that stay, and
        those of which it showed when several were cut wrongly at once.
        """
        inside = {member.name: self._inside(member) for member in blind}
        names = list(dict.fromkeys(chain.from_iterable(inside.values())))
        if not names:
            return list(blind), []
        feeds = self.standard.runs.feeds[:1]
        values = partial(values_inside, feeds=feeds, folder=self.folder, provider=self.provider)
        # Values inside have their own rounding, so noise is measured on them and not taken over from the outputs.
        whole = values(self.reference, names)
        expected, moved = self._kept(whole.runs), [self._kept(runs) for runs in moved_runs(whole, feeds)]
        standard = Standard(expected, Tolerance(self.standard.tolerance.rtol), noise_of([(expected, moved)]))

        def fails(model: ir.Model, own: Sequence[str]) -> set[str]:
            part = standard.of_outputs(own)
            gaps = part.distances(values(model, own).runs)[0]
            return {name for name, gap in zip(own, gaps, strict=True) if not gap.passed}

        right = fails(self.small, names)
        for member in blind:
            own = inside[member.name]
            # A kernel of zeros times infinity is no zero, so that masking says nothing where values inside overflow.
            if right.intersection(own) and finite_everywhere(standard.of_outputs(own).runs):
                raise tool_fault(f"no output shows it, but values inside differ behind {member.name!r}")
        dead = [m for m in blind if not inside[m.name] or right.intersection(inside[m.name])]
        unsure = []
        for part in self._parts([m for m in blind if m not in dead], wrong, BLIND_ALONE):
            own = list(dict.fromkeys(chain.from_iterable(inside[m.name] for m in part)))
            shown = fails(self._cut_wrongly([wrong[m.name] for m in part]), own)
            dead += [m for m in part if not shown.intersection(inside[m.name])]
            unsure += [m for m in part if shown.intersection(inside[m.name]) and len(part) > 1]
        return dead, unsure

    def _inside(self, member: ChannelGroup) -> list[str]:
        """Values that nodes with a weight of the group make, in both models."""
        computed = [{str(v.name) for n in m.graph for v in n.outputs} for m in (self.small, self.reference)]
        known = {str(v.name): v for n in self.cut.coupling.graph for v in n.outputs}
        users = [n for slot in member.slots for n, _ in slot.value.uses()]
        # Surgery may have replaced or fused a node, so only names that both models make can be compared.
        names = dict.fromkeys(str(v.name) for n in users for v in n.outputs if v.name)
        dtypes = {name: self.cut.coupling.shapes.dtype(known[name]) for name in names if name in known}
        return [
            name
            for name, dtype in dtypes.items()
            if name in computed[0] & computed[1] and dtype is not None and dtype.is_floating_point()
        ]

    def _kept(self, runs: Runs) -> Runs:
        """What stays of the reference's values, in the shapes of the smaller model's."""
        known = {str(v.name): v for n in self.cut.coupling.graph for v in n.outputs}
        values = [known[name] for name in runs.names]
        rows = [[self.cut.taken(*pair) for pair in zip(values, row, strict=True)] for row in runs.outputs]
        return Runs(runs.names, runs.feeds, rows)


@dataclass(frozen=True)
class Parted(Generic[WrongKind]):
    """What outputs show of wrong groups, or layers, that were tried in parts.

    Attributes:
        count: of wrong models that were noticed.
        together: what was noticed along with others, and not by itself.
        blind: what no output shows.
    """

    count: int
    together: list[WrongKind]
    blind: list[WrongKind]


def tried_in_parts(
    parts: Iterable[Sequence[WrongKind]], seen: Callable[[Sequence[WrongKind]], bool]
) -> Parted[WrongKind]:
    """Makes each part wrong as a whole, and its members one by one where that is not ``seen``."""
    count, together, blind = 0, list[WrongKind](), list[WrongKind]()
    for part in parts:
        if seen(part):
            count += 1
            # Which of them was noticed is not known: one may hide others, so that none is claimed to be.
            together += part if len(part) > 1 else []
            continue
        for member in part:
            if len(part) > 1 and seen([member]):
                count += 1
            else:
                blind.append(member)
    return Parted(count, together, blind)


def is_noticed(wrong: ir.Model, standard: Standard, folder: Path, provider: str, *, whole: bool = False) -> bool:
    """Does a wrong model fail at an output?

    Args:
        wrong: the model.
        standard: what it would have to give.
        folder: where files may be put.
        provider: where it is run.
        whole: only whole numbers were made wrong, such as positions, so that a model that does not run shows it. Other
            floats are none that a runtime refuses: where the model does not run then, nothing is seen.
    """
    try:
        return _differs(wrong, standard, folder, provider)
    except ModelError:
        return whole


def _differs(model: ir.Model, standard: Standard, folder: Path, provider: str) -> bool:
    live, feeds = runnable(model, folder, provider).open(), standard.runs.feeds
    # Most faults show at once, so the cheapest inputs come first.
    order = sorted(range(len(feeds)), key=lambda k: sum(array.size for array in feeds[k].values()))
    return any(not standard.only(k).met_by(live.run([feeds[k]])) for k in order)


def affordable(count: int, graph: ir.Graph, macs: int = 0) -> int:
    """Of how many, out of ``count``, each is cut wrongly in a run of its own; one more run is for all others at once.

    Halving those that were noticed together would take more runs to come to the same: each by itself.

    Args:
        count: groups or layers.
        graph: what is run, for its nodes and weights.
        macs: what one run takes besides.
    """
    # Effort is estimated beforehand: in a large model a session for each group would take longer than the whole run.
    tensors = [v.const_value for v in graph.initializers.values() if v.const_value is not None]
    effort = NODE_EFFORT * graph.num_nodes() + PARAMETER_EFFORT * sum(int(t.size) for t in tensors) + macs
    runs = EFFORT // max(1, effort)
    return count if count <= runs else max(0, runs - 1)


def values_inside(model: ir.Model, names: Sequence[str], feeds: Sequence[Feed], folder: Path, provider: str) -> Answers:
    """The values of these names that the model computes inside, for each feed; files are put in ``folder``.

    Unlike :func:`compressor.runtime.taps.tap` it runs a model that does not fit, piece by piece.
    """
    return Answers.of(runnable(giving(model, names), folder, provider), feeds)
