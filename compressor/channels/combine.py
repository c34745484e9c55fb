"""One driver for every operator that is a signature: operands and outputs in a joint space of named axes.

Terms of all operands are lifted to named axes, made to agree, and lowered to the outputs. Einsum, MatMul, Conv,
normalisations, broadcasting arithmetic and recurrent layers all are this one function with different names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import Coupling, Unexplained
from compressor.channels.labels import DeferredLabels, Reason, Term, UnitArray, ordered
from compressor.channels.lifted import Content, Named, Side, are_rows, clash, term_content
from compressor.channels.node_operands import NamedOperand, NodeOperands
from compressor.channels.operands import AxisNames, Operand, Space

Owned = tuple[Side, Named]
"""A term and an operand that has it."""


def combine(
    node: ir.Node, coupling: Coupling, operands: Sequence[Operand], outputs: Sequence[Operand], space: Space
) -> None:
    """Couples ``operands`` at ``node`` and sets the layouts of ``outputs``."""
    _Combine(node, coupling, operands, outputs, space).run()


class _Combine:
    def __init__(
        self,
        node: ir.Node,
        coupling: Coupling,
        operands: Sequence[Operand],
        outputs: Sequence[Operand],
        space: Space,
    ) -> None:
        self.node, self.coupling, self.space = node, coupling, space
        self.units = coupling.units
        self.outputs = outputs
        self.sides = [self._side(o) for o in operands]
        # By axes of an operand and number of a term, which is held so that the number stays its own.
        self._lowered: dict[tuple[AxisNames, int], tuple[Named, int, Term[int]]] = {}
        self._raised: dict[tuple[AxisNames, int], tuple[Term[int], Named]] = {}
        self._spanning: dict[str, list[Side]] = {}
        self._reading: dict[ir.Value, list[Side]] = {}
        for side in self.sides:
            self._reading.setdefault(side.operand.value, []).append(side)
            for name in side.names:
                self._spanning.setdefault(name, []).append(side)
        # Names of size 1 are in no space: along them an operand is broadcast, and nothing can be removed.
        self.out_names = {n for o in outputs for n in o.names if n in space.sizes}

    def run(self) -> None:
        # Operands agree first, so that constants adopt what is settled; contraction comes after adoption, since it
        # merges labels that weights may have brought.
        self._agree()
        self._adopt_all()
        self._contract()
        for output in self.outputs:
            self._lower_output(output)
        if self.outputs:
            self.coupling.node_operands[self.node] = self._node_operands()

    def _node_operands(self) -> NodeOperands:
        parts = [
            NamedOperand(s.operand.value, tuple(n for n in s.operand.names if n in s.names), tuple(s.terms))
            for s in self.sides
        ]
        return NodeOperands(tuple(parts), self.space.sizes, frozenset(self.out_names), frozenset(self.space.in_order))

    # ---- lifting --------------------------------------------------------------------------------------------

    def _side(self, operand: Operand) -> Side:
        deferred = self.coupling.deferred(operand.value)
        shape = self.coupling.shape(operand.value)
        if len(shape) != len(operand.axes):
            raise Unexplained(f"{operand.value.name} has {len(shape)} axes, its signature {len(operand.axes)}")
        for size, group in zip(shape, operand.axes, strict=True):
            # A signature that does not fit would fail in a reshape below; given up here, it freezes the node with a
            # reason.
            if group and prod(self.space.sizes.get(n, 1) for n in group) != size:
                # Of nothing there is nothing to divide.
                why = "is empty at the sizes that were run; give larger ones with --dim or --input-shape"
                why = why if 0 in shape else "does not fit the signature"
                raise Unexplained(f"{operand.value.name} of shape {list(shape)} {why}")
        names = frozenset(n for n in operand.names if n in self.space.sizes)
        side = Side(operand, deferred, names)
        if deferred is not None:
            side.open = {n for a in deferred.open for n in operand.axes[a] if n in self.space.sizes}
        return side

    def _fresh(self, side: Side) -> list[Named]:
        """The terms of ``side`` on named axes, made anew if anything merged since they were made last."""
        if side.version != self.units.version:
            self._lift(side)
        return side.terms

    def _lift(self, side: Side) -> None:
        side.terms, side.version = [], self.units.version
        for term in self.coupling.layout(side.operand.value, assign_fresh=False):
            lifted = self._lifted(side.operand, term)
            if lifted is None:
                continue
            if not lifted.axes:
                why = self.coupling.reason(self.node, side.operand.value, term.axes, "would be removed as a whole")
                self.units.freeze(lifted.units, why)
                continue
            # An axis that the signature splits has to be rectangular after the cut too: every row keeps the same count.
            if any(len(side.operand.axes[a]) > 1 for a in term.axes) and len(lifted.axes) > 1:
                self.coupling.balance(lifted, self.node)
            side.terms.append(lifted)

    def _lifted(self, operand: Operand, term: Term[int]) -> Named | None:
        """A term of a value on the names of its axes, canonical; equal operands that share it share that too."""
        key = operand.axes, id(term)
        if key not in self._raised:
            names = tuple(n for axis in term.axes for n in operand.axes[axis])
            sizes = [self.space.sizes.get(n, 1) for n in names]
            self._raised[key] = term, Term(names, term.units.reshape(sizes))
        return self.units.canonical(self._raised[key][1])

    # ---- agreement ------------------------------------------------------------------------------------------

    def _agree(self) -> None:
        """Holds every term against every operand until nothing merges.

        A pass carries on after a merge, with the operands that it meets next lifted anew, and a label that many
        operands carry is held against the others once: what a node costs grows as the number of its operands.
        """
        version = -1
        while version != self.units.version:
            version = self.units.version
            held: set[Content] = set()
            for side in self.sides:
                while self._match_side(side, held):
                    pass

    def _match_side(self, side: Side, held: set[Content]) -> bool:
        """Holds the terms of ``side`` against all operands; returns whether one was merged into another form."""
        text = f"{self.node.op_type} works along this axis as a whole"
        for place, term in enumerate(self._fresh(side)):
            if term_content(term) in held:
                continue
            # Rows that lose different positions would leave different gaps.
            fixed = {*self.space.fixed, *(self.space.in_order if len(term.axes) > 1 else ())}
            if self.coupling.pin(self.node, side.operand.value, term, fixed, text):
                return True
            met = term
            for other in self._meeting_sides(term):
                self._fresh(other)
                while self._match_pair(side, met, other):
                    now = self._fresh(side)
                    self._fresh(other)
                    # The merge took away a term or an axis, so that places no longer say which term is which.
                    if len(now) <= place or now[place].axes != term.axes:
                        return True
                    met = now[place]
            held.add(term_content(met))
        return False

    def _meeting_sides(self, term: Named) -> list[Side]:
        """Operands along an axis of ``term``, in order."""
        if len(term.axes) == 1:
            return self._spanning[term.axes[0]]
        return [s for s in self.sides if not s.names.isdisjoint(term.axes)]

    def _match_pair(self, side: Side, term: Named, other: Side) -> bool:
        """Makes ``term`` and the terms of ``other`` agree; returns whether that merged anything.

        Two terms whose common axes are rows of both (grouped convolution: inputs and filters of each group) do
        not restrict each other, because both keep their rows balanced.
        """
        shared = [a for a in term.axes if a in other.spans()]
        followed = other is side
        for partner in other.terms:
            if partner is term:
                followed = True
                continue
            common = tuple(a for a in term.axes if a in partner.axes)
            if not common:
                continue
            rows_of_term, rows_of_partner = (are_rows(common, t.axes) for t in (term, partner))
            if rows_of_term and rows_of_partner:
                continue
            # A term cannot vary along what its partner knows nothing of, so the one with more axes is merged along
            # them.
            if len(common) < len(term.axes):
                return self._collapse(side, term, common, None if len(common) < len(partner.axes) else partner)
            if len(common) < len(partner.axes):
                return self._collapse(other, partner, common, term)
            followed = True
            why = self._why(side, term, "is coupled with something frozen")
            if self.units.union(term.units, ordered(self.units, partner, term.axes, why).units, why):
                return True
        if followed or not shared or are_rows(tuple(shared), term.axes):
            return False
        # The other operand varies along the shared axes and labels nothing there, so it could not follow a removal.
        if len(shared) < len(term.axes):
            return self._collapse(side, term, [a for a in term.axes if a not in shared])
        text = f"{other.operand.value.name} meets it in {self.node.op_type} and has nothing to remove there"
        return self.units.freeze(term.units, replace(self._why(side, term, text), unmatched=True))

    def _collapse(self, side: Side, term: Named, keep: Collection[str], by: Named | None = None) -> bool:
        """Merges ``term`` along what is not in ``keep``, where that is so ``by`` another term's doing."""
        drop = [d for d, a in enumerate(term.axes) if a not in keep]
        why = self._why(side, term, "is merged with something frozen")
        return self.units.merge_along(term.units, drop, why, None if by is None else by.units)

    def _why(self, side: Side, term: Named, text: str) -> Reason:
        axes = [a for a, group in enumerate(side.operand.axes) if set(group) & set(term.axes)]
        return self.coupling.reason(self.node, side.operand.value, axes, text)

    # ---- operands of deferred labels --------------------------------------------------------------------------

    def _adopt_all(self) -> None:
        """Larger constants first: a weight brings the filters that its bias then follows. Mere copies last."""
        known: dict[tuple[str, ...], Owned] | None = None
        for side in sorted(self.sides, key=lambda s: (s.deferred is not None and s.deferred.broadcast, -len(s.names))):
            if side.open and side.deferred is not None:
                known = self._owned() if known is None else known
                version = self.units.version
                self._adopt(side, side.deferred, [term for _, term in known.values()])
                if self.units.version != version or not self._agrees(side, known):
                    self._agree()
                    known = None

    def _agrees(self, side: Side, known: Mapping[tuple[str, ...], Owned]) -> bool:
        """Does an operand that just took on its labels agree with all others, which agree with each other?

        It does if it brings nothing new, and nothing that is ``known`` merges with it. So a node of many constants need
        not hold all of them against each other after each.
        """
        # Another operand with the same value has just taken on these labels too, under names of its own.
        if len(self._reading[side.operand.value]) > 1:
            return False
        for term in side.terms:
            _, same = known.get(term.axes, (side, None))
            if same is not term and (same is None or not np.array_equal(same.units, term.units)):
                return False
        return not any(self._match_pair(owner, term, side) for owner, term in known.values())

    def _adopt(self, side: Side, deferred: DeferredLabels, known: Sequence[Named]) -> None:
        taken: list[Named] = []
        waits: set[str] = set()
        for term in known:
            met = [a for a in term.axes if a in side.open]
            if met and not self._follows(side, term, met):
                waits.update(met)
            elif met:
                short = self.units.canonical(term)
                if short is not None and short.axes:
                    taken.append(short)
        for term in taken:
            self._take(side, deferred, self._lower(side.operand, term))
        if not deferred.broadcast:
            self._give_fresh(side, deferred, taken)
        # What met rows alone follows them once the rest of the term is merged along, in a later pass: a scale of each
        # channel behind a view that makes channels of features, and a convolution after it.
        # Copies and what meets them alone wait too: another call of a layer that reads a first state knows more.
        waits |= {name for name in side.open if self._copies_alone(name)}
        deferred.open = {a for a in deferred.open if waits & set(side.operand.axes[a])} - set(deferred.roles)
        side.open &= waits
        for each in self._reading[side.operand.value]:
            self._lift(each)

    def _follows(self, side: Side, term: Named, met: list[str]) -> bool:
        """Whether an operand with deferred labels that spans part of a joint term follows it, or else stays whole."""
        if set(term.axes) <= side.names:
            return True
        rows = are_rows(tuple(met), term.axes)
        summed = not set(met) & self.out_names and set(term.axes) - set(met) <= self.out_names
        # Rows keep equal counts, so an operand along rows alone stays as it is, unless the rest of the term is summed
        # away.
        if rows and not self.space.rows and not summed:
            return False
        follows = (rows and summed) or rows == self.space.rows
        self._collapse(side, term, met if follows else [a for a in term.axes if a not in met])
        return follows

    def _take(self, side: Side, deferred: DeferredLabels, term: Term[int]) -> None:
        deferred.terms.append(term)
        kernel = bool(side.names - self.out_names)
        for axis in term.axes:
            contracted = not set(side.operand.axes[axis]) & self.out_names
            deferred.roles.setdefault(axis, "in" if contracted else "out" if kernel else "affine")

    def _give_fresh(self, side: Side, deferred: DeferredLabels, taken: list[Named]) -> None:
        """Axes that nobody else spans hold filters: they get units of their own."""
        for axis in sorted(deferred.open):
            group = {n for n in side.operand.axes[axis] if n in self.space.sizes}
            alone = {n for n in group if not self._spans_elsewhere(n, side)}
            # What already follows another operand along this axis has no units of its own there.
            led = any(set(t.axes) <= group for t in taken)
            if alone and alone <= self.out_names and not alone & {*self.space.fixed, *self.space.in_order} and not led:
                deferred.terms.append(Term((axis,), self.coupling.fresh(side.operand.value, axis)))
                deferred.roles[axis] = "out"

    def _copies_alone(self, name: str) -> bool:
        """Do several operands lie along an axis, all of which wait for labels, and all but one of which hold copies?"""
        sides = self._spanning[name]
        weights = [s for s in sides if s.deferred is None or not s.deferred.broadcast]
        return len(sides) > 1 and len(weights) <= 1 and all(name in s.open for s in sides)

    def _spans_elsewhere(self, name: str, side: Side) -> bool:
        return any(s is not side and name not in s.open for s in self._spanning[name])

    # ---- contraction and outputs ----------------------------------------------------------------------------

    def _owned(self) -> dict[tuple[str, ...], Owned]:
        """The first term over each set of axes, with the operand that has it."""
        found: dict[tuple[str, ...], Owned] = {}
        for side in self.sides:
            for term in side.terms:
                found.setdefault(term.axes, (side, term))
        return found

    def _contract(self) -> None:
        """A joint term of which the output sees only a part varies along that part alone; where rows are left, they may
        also be balanced, and have no label."""
        while True:
            for side in self.sides:
                if any(self._contract_term(side, term) for term in side.terms):
                    break
            else:
                return
            self._agree()

    def _contract_term(self, side: Side, term: Named) -> bool:
        kept = [a for a in term.axes if a in self.out_names]
        if not kept or len(kept) == len(term.axes):
            return False
        if are_rows(tuple(kept), term.axes) and not self.space.rows:
            return False
        return self._collapse(side, term, kept)

    def _lower_output(self, output: Operand) -> None:
        names = {n for n in output.names if n in self.space.sizes}
        terms: list[Term[int]] = []
        for _, term in self._owned().values():
            if not set(term.axes) <= names:
                seen = tuple(a for a in term.axes if a in names)
                # Rows alone are balanced and need no label; any other part of the term would say how many are kept and
                # not which.
                if seen and not are_rows(seen, term.axes):
                    self.units.freeze(term.units, self.coupling.reason(self.node, output.value, (), "is cut apart"))
                continue
            lowered = self._lower(output, term)
            if any(clash(lowered.axes, t.axes) for t in terms):
                text = "shares an axis with another independent choice"
                self.units.freeze(lowered.units, self.coupling.reason(self.node, output.value, lowered.axes, text))
                continue
            terms.append(lowered)
        self.coupling.label(output.value, terms)

    def _lower(self, operand: Operand, term: Named) -> Term[int]:
        """``term`` on the physical axes of ``operand``: spread over the other names of each axis it touches.

        Operands of equal axes share it, so that a node of many constants has one term for all of them.
        """
        key = operand.axes, id(term)
        known = self._lowered.get(key)
        if known is None or known[1] != self.units.version:
            made = self._lower_anew(operand, term)
            known = self._lowered[key] = term, self.units.version, made
        return known[2]

    def _lower_anew(self, operand: Operand, term: Named) -> Term[int]:
        axes = [a for a, group in enumerate(operand.axes) if set(group) & set(term.axes)]
        names = [n for a in axes for n in operand.axes[a] if n in self.space.sizes]
        why = self.coupling.reason(self.node, operand.value, axes, "the order of a joint axis changes")
        turned = ordered(self.units, term, names, why)
        index = tuple(slice(None) if n in turned.axes else None for n in names)
        # Along names that the term does not have, its units repeat: all those positions live and die with them.
        full = np.broadcast_to(turned.units[index], [self.space.sizes[n] for n in names])
        shape = [prod(self.space.sizes.get(n, 1) for n in operand.axes[a]) for a in axes]
        units: UnitArray = full.reshape(shape)
        # Two names in one axis are rows of it, and rows have to stay equally wide to fit into one axis again.
        if len(names) > len(axes) and len(turned.axes) > 1:
            self.coupling.balance(turned, self.node)
        return Term(tuple(axes), units)
