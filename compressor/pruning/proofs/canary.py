"""Would a wrong cut have been noticed? One is made on purpose, and held against the same standard.

The kept positions of a group are shifted by one in one of its weights, as a slice does that is off by one. Where
that moves no output, outputs say nothing about the group: they are saturated, dead, or drowned in the rounding that
was allowed. Then values inside are compared, at the positions that stay. What moves nothing there either is not
proved, and is said so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path

import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.groups import ChannelGroup
from compressor.channels.residual import DEPTH
from compressor.core.compare import Tolerance
from compressor.errors import ModelError, tool_fault
from compressor.operators.table import operator_of
from compressor.pruning.budgets.cost import graph_macs
from compressor.pruning.cut.depth import heard
from compressor.pruning.proofs.graphs.exact import touched
from compressor.pruning.proofs.outputs.evidence import Noticed, NotProved
from compressor.pruning.proofs.outputs.standard import (
    Standard,
    finite_everywhere,
    moved_runs,
    noise_of,
    runs_of_moved_weights,
)
from compressor.pruning.proofs.routes import Route, on_route
from compressor.pruning.proofs.versions import Versions
from compressor.pruning.proofs.wrong_cuts import WrongCuts, WrongWeight
from compressor.pruning.proofs.wrong_models import in_parts, is_noticed, sharing, tried_in_parts, values_inside
from compressor.runtime.outputs import giving
from compressor.runtime.stored import Runs

BLIND_ALONE = 8
"""Groups whose wrong cut no output shows that are tried inside one by one, whatever that takes."""
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
        wrong = self._maker.choose(groups)
        can_be = [group for group in groups if group.name in wrong]
        runs = _WrongRuns(self, [name for name, _ in wrong.values()])
        noticed = tried_in_parts(
            in_parts(can_be, lambda member: wrong[member.name][0], runs.alone),
            lambda part: runs.noticed([wrong[member.name] for member in part]),
        )
        # Values inside are compared last, since exposing them means more sessions.
        try:
            dead, unsure = self._blind_inside(noticed.blind, wrong) if noticed.blind else ([], [])
        except ModelError:
            # Models with values exposed, and cut wrongly, are ours: where one does not run, nothing is seen inside.
            dead, unsure = noticed.blind, []
        missing = [NotProved(g.name, ALIKE) for g in groups if g.name not in wrong and self._maker.can_be_wrong(g)]
        missing += [NotProved(member.name, BLIND) for member in dead]
        count = noticed.count + len(noticed.blind) - len(dead)
        if self.cut.blocks and self.masked:
            # Would it show if the branches that went still counted?
            whole = Versions(heard(self.reference, self.cut.blocks), self.folder, self.provider)
            seen = is_noticed(partial(whole.open, {}), self.standard)
            count += seen
            missing += [] if seen else [NotProved(DEPTH, UNHEARD)]
        return Noticed(count, missing, [member.name for member in (*noticed.together, *unsure)])

    @property
    def _maker(self) -> WrongCuts:
        return WrongCuts(self.cut, self.small)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a run, at most: those of what the cut was made of."""
        return graph_macs(self.cut.coupling.graph, self.cut.coupling.shapes)

    def _blind_inside(
        self, blind: Sequence[ChannelGroup], wrong: Mapping[str, WrongWeight]
    ) -> tuple[list[ChannelGroup], list[ChannelGroup]]:
        """Those of these groups whose wrong cut does not show in what their weights make, at positions that stay, and
        those of which it showed when several were cut wrongly at once.
        """
        inside = {member.name: self._inside(member) for member in blind}
        moved = self._moved()
        names = list(dict.fromkeys(chain(*inside.values(), moved)))
        if not any(inside.values()):
            return list(blind), []
        versions = Versions(giving(self.small, names), self.folder, self.provider)
        found = versions.open({}).run(self.standard.runs.feeds[:1])
        standard = self._standard_inside(names, found)
        known = set(standard.runs.names)
        inside = {name: [own for own in values if own in known] for name, values in inside.items()}
        moved = [name for name in moved if name in known]
        unlike = _failing(standard, found)
        odd = [name for name in moved if name in unlike]
        if odd and finite_everywhere(standard.of_outputs(odd).runs):
            raise tool_fault(f"no output shows it, but what is moved to {odd[0]!r} differs")
        for member in blind:
            own = inside[member.name]
            # A kernel of zeros times infinity is no zero, so that masking says nothing where values inside overflow.
            if unlike.intersection(own) and finite_everywhere(standard.of_outputs(own).runs):
                raise tool_fault(f"no output shows it, but values inside differ behind {member.name!r}")
        alike = {name: own for name, own in inside.items() if own and not unlike.intersection(own)}
        left = [m for m in blind if m.name in alike]
        versions = sharing(versions, [wrong[m.name][0] for m in left], standard, self.macs)
        alone = max(BLIND_ALONE, versions.count_alone(len(left), self.macs))
        dead, unsure = [m for m in blind if m.name not in alike], list[ChannelGroup]()
        for part in in_parts(left, lambda m: wrong[m.name][0], alone):
            runs = versions.open(dict(wrong[m.name] for m in part)).run(standard.runs.feeds)
            shown = _failing(standard, runs.of_outputs(list(chain.from_iterable(alike[m.name] for m in part))))
            dead += [m for m in part if not shown.intersection(alike[m.name])]
            unsure += [m for m in part if shown.intersection(alike[m.name]) and len(part) > 1]
        return dead, unsure

    def _standard_inside(self, names: Sequence[str], found: Runs) -> Standard:
        """What values inside have to be; where what was ``found`` is not, with the noise of their own.

        Values that have other sizes in this run than the cut was planned for are left out.
        """
        feeds = self.standard.runs.feeds[:1]
        whole = values_inside(self.reference, names, feeds, self.folder, self.provider)
        arrays = zip(whole.runs.names, whole.runs.outputs[0], strict=True)
        fitting = [name for name, array in arrays if self.cut.fits(self._floats_of_both[name], array)]
        expected = self._kept(whole.runs.of_outputs(fitting))
        standard = Standard(expected, Tolerance(self.standard.tolerance.rtol))
        found, moved = found.of_outputs(fitting), list[Runs]()
        # Values inside have their own rounding, so noise is measured on them and not taken over from the outputs. Last,
        # weights that move stand for rounding at every node, as of a mean over one channel that stays.
        for move in (moved_runs, runs_of_moved_weights):
            if not fitting or standard.met_by(found):
                break
            moved += [self._kept(runs.of_outputs(fitting)) for runs in move(whole, feeds)]
            standard = replace(standard, noise=noise_of([(expected, moved)]))
        return standard

    def _inside(self, member: ChannelGroup) -> list[str]:
        """Values that nodes with a weight of the group make, in both models."""
        return self._comparable(n for slot in member.slots for n, _ in slot.value.uses())

    def _moved(self) -> list[str]:
        """Values with channels that nodes only move, so that no weight of a group says whether they are right."""
        movers = (n for n in self.cut.coupling.graph if operator_of(n).movement is not None)
        return self._comparable(n for n in movers if touched(self.cut, n))

    def _comparable(self, nodes: Iterable[ir.Node]) -> list[str]:
        """Names of floats that these nodes make, in both models."""
        names = dict.fromkeys(str(v.name) for n in nodes for v in n.outputs)
        return [name for name in names if name in self._floats_of_both]

    @cached_property
    def _floats_of_both(self) -> dict[str, ir.Value]:
        """Floats that nodes of both models make, by name, as values of the model that was cut."""
        # Surgery may have replaced or fused a node, so only names that both models make can be compared.
        graphs = self.small.graph, self.reference.graph, self.cut.coupling.graph
        small, reference, whole = ({str(v.name): v for n in graph for v in n.outputs} for graph in graphs)
        both, dtypes = small.keys() & reference, self.cut.coupling.shapes.dtype
        floats = {k: v for k, v in whole.items() if k in both and (dtype := dtypes(v)) and dtype.is_floating_point()}
        # Of what holds one number everywhere the smaller model may make more than it reads, such as a first state.
        return {name: value for name, value in floats.items() if value not in self.cut.coupling.fills}

    def _kept(self, runs: Runs) -> Runs:
        """What stays of the reference's values, in the shapes of the smaller model's."""
        values = [self._floats_of_both[name] for name in runs.names]
        rows = [[self.cut.taken(*pair) for pair in zip(values, row, strict=True)] for row in runs.outputs]
        return Runs(runs.names, runs.feeds, rows)


@dataclass(frozen=True)
class _WrongRuns:
    """Runs of the smaller model with wrong weights, on the inputs of the proof and on each route.

    Attributes:
        case: the proof.
        names: of the weights, one for each group.
    """

    case: Case
    names: Sequence[str]

    @property
    def alone(self) -> int:
        """How many groups are cut wrongly by themselves."""
        return self._plain.count_alone(len(self.names), self.case.macs)

    def noticed(self, weights: Sequence[WrongWeight]) -> bool:
        """At an output, on the inputs of the proof or on those of a route."""
        whole = not any(tensor.dtype.is_floating_point() for _, tensor in weights)
        return any(
            is_noticed(partial(versions.open, dict(weights)), standard, whole=whole)
            for versions, standard in self._ways()
        )

    def _ways(self) -> Iterator[tuple[Versions, Standard]]:
        yield self._plain, self.case.standard
        yield from self._routed

    @cached_property
    def _plain(self) -> Versions:
        return self._versions(self.case.small, self.case.standard)

    @cached_property
    def _routed(self) -> list[tuple[Versions, Standard]]:
        models = [on_route(self.case.small, route)[0] for route, _ in self.case.routes]
        standards = [standard for _, standard in self.case.routes]
        return [(self._versions(*pair), pair[1]) for pair in zip(models, standards, strict=True)]

    def _versions(self, model: ir.Model, standard: Standard) -> Versions:
        found = Versions(model, self.case.folder, self.case.provider)
        return sharing(found, self.names, standard, self.case.macs)


def _failing(standard: Standard, runs: Runs) -> set[str]:
    """Names of the values that the standard does not let pass, of those that it knows."""
    names = [name for name in runs.names if name in standard.runs.names]
    gaps = standard.of_outputs(names).distances(runs.of_outputs(names))[0]
    return {name for name, gap in zip(names, gaps, strict=True) if not gap.passed}
