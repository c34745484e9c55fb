"""The engine: walks the graph, lets each operator's rule couple labels, until nothing merges any more.

What it leaves is a :class:`Coupling`: the layout of every value, the units, and why units are frozen. It never
changes the graph. The union-find is never reset between passes: a label that was dropped in one pass (a reduction
over a ragged axis, say) can turn into whole rows by a later merge, and the next pass then carries it on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.channels import verify
from compressor.channels.fills import fills
from compressor.channels.labels import FROZEN, Balance, DeferredLabels, Reason, Term, UnitArray, Units
from compressor.channels.labels import Layout as Layout  # noqa: PLC0414 - rules know this module only
from compressor.channels.labels import Unexplained as Unexplained  # noqa: PLC0414
from compressor.channels.node_operands import NodeOperands
from compressor.channels.residual import ResidualBlock
from compressor.channels.rule import Rule
from compressor.channels.vain import NO_AXIS, in_vain
from compressor.channels.verify import Claims, operator_name
from compressor.core.arrays import Array
from compressor.errors import RuleFault
from compressor.graph.ir.captures import captured_values, graphs_of, nodes_inside
from compressor.graph.ir.nodes import record_of
from compressor.graph.ir.opsets import version_of
from compressor.graph.ir.twins import Twins
from compressor.graph.sizes.shapes import Shapes

PASS_LIMIT = 100  # each pass but the last merges something, so passes end by themselves; this bounds a fault
WHOLE_AXIS = "is one unit that fills a whole axis, so it cannot go without emptying the tensor"
ELEMENT_LIMIT = 1 << 22
"""Elements of the largest label array; beyond it (a reshape that mixes many axes) labels are frozen."""


@dataclass(frozen=True)
class Policy:
    """What the user chooses about coupling.

    Attributes:
        heads: attention loses whole heads (True) or inner dimensions of every head (False).
        keep_norm_axes: axes that a normalisation or mean runs over are not pruned.
        free: inputs and outputs of the model, by name, with their axes that may lose channels.
    """

    heads: bool = False
    keep_norm_axes: bool = False
    free: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


class Coupling:
    """Labels of one graph. Rules read shapes and layouts from it and merge, freeze and set layouts through it.

    Attributes:
        graph, shapes, policy: as given; what is labelled, what is known of its values, what may be removed.
        opset: version of the standard operator set.
        units: the union-find that labels are merged in.
        deferred_labels: of initializers and expanded axes, which take on the labels of whoever uses them.
        balances: joint terms whose rows have to keep equal counts.
        node_operands: by node, the operands that its rule combined.
        distrusted: name of a node -> why its rule is not asked; everything that it touches is frozen.
        claims: what the rules read and labelled in the last pass.
        fills: values that hold one number; see :mod:`compressor.channels.fills`.
        opaque: nodes that no rule explains -> why; masks, repairs and constants of their operator do not hold there.
        blocks: residual blocks that may go; they have units of their own, without a place in any tensor.
    """

    def __init__(
        self,
        graph: ir.Graph,
        shapes: Shapes,
        rules: Mapping[tuple[str, str], Rule],
        policy: Policy,
        distrusted: Mapping[str, str] | None = None,
    ) -> None:
        self.graph, self.shapes, self.policy, self.opset = graph, shapes, policy, version_of(graph)
        self.units = Units()
        self.deferred_labels: dict[ir.Value, DeferredLabels] = {}
        self.balances: list[Balance] = []
        self.node_operands: dict[ir.Node, NodeOperands] = {}
        self.distrusted: dict[str, str] = dict(distrusted or {})
        self.claims: dict[ir.Node, Claims] = {}
        self.fills = fills(graph, shapes, rules)
        self.opaque: dict[ir.Node, str] = {}
        self.blocks: tuple[ResidualBlock, ...] = ()
        self._rules, self._claims = rules, Claims()
        self._layouts: dict[ir.Value, Layout] = {}
        self._fresh: dict[tuple[ir.Value, int], UnitArray] = {}
        self._closed: set[tuple[ir.Value, int]] = set()

    def run(self) -> Coupling:
        """Repeats the pass over all nodes until nothing merges and every claim holds; returns self.

        A node whose rule turns out to be wrong is distrusted from then on, so this ends after one round a node at most.
        What brought channels of its own in vain starts anew without any, for good; see :mod:`compressor.channels.vain`.
        """
        while True:
            self._merge()
            wrong = verify.mismatches(self)
            vain = set() if wrong else in_vain(self._fresh, self.units, self._closed)
            if not (wrong or vain):
                return self
            self.distrusted |= wrong
            if vain:
                self._closed |= vain
                self.units, self.deferred_labels, self._fresh = Units(), {}, {}  # merges cannot be undone: all anew

    def needless(self, value: ir.Value) -> bool:
        """Did units inside ``value`` that are no axis of it all turn out to be frozen, so that it need have none?"""
        return (value, NO_AXIS) in self._closed

    def _merge(self) -> None:
        # A weight takes on labels of readers further down, so one pass is not enough; each merges two units at least.
        for _ in range(PASS_LIMIT):
            version = self.units.version
            self._pass()
            if self.units.version == version:
                return
        raise AssertionError("the union-find is monotone, so the passes must end")

    def on(self, graph: ir.Graph) -> Coupling:
        """What a cut asks of this coupling, for ``graph``, a clone that nobody has edited; units are shared."""
        # Not coupled again: a clone has the same nodes, and units of two couplings could not be compared.
        twins = Twins.of(self.graph, graph)
        found = Coupling(graph, self.shapes.on(twins), self._rules, self.policy)
        found.units, found.balances, found.opaque = self.units, self.balances, twins.of_nodes(self.opaque)
        found.deferred_labels, found._layouts = twins.of_values(self.deferred_labels), twins.of_values(self._layouts)
        found.blocks = tuple(block.on(twins) for block in self.blocks)
        return found

    # ---- what rules use -------------------------------------------------------------------------------------

    def shape(self, value: ir.Value | None) -> tuple[int, ...]:
        """The concrete shape of ``value``; raises Unexplained where unknown."""
        found = None if value is None else self.shapes(value)
        if found is None:
            raise Unexplained(f"the shape of {value.name if value is not None else 'an input'} is not known")
        return found

    def const(self, value: ir.Value | None, what: str) -> Array:
        """Static data of ``value``; raises Unexplained where it depends on the input."""
        found = self.shapes.const(value)
        if found is None:
            raise Unexplained(f"{what} is computed at run time")
        return found

    def deferred(self, value: ir.Value) -> DeferredLabels | None:
        """What ``value`` takes on from its users: every initializer has one, expanded values too."""
        self._claims.read.add(value)
        found = self.deferred_labels.get(value)
        if found is None and value.is_initializer():
            shape = self.shapes(value) or ()
            # An axis of size 1 is broadcast by whoever reads it, and has no position to spare.
            still = {a for a, size in enumerate(shape) if size > 1 and (value, a) not in self._closed}
            found = DeferredLabels(open=still, shape=shape)
            self.deferred_labels[value] = found
        return found

    def layout(self, value: ir.Value | None, *, assign_fresh: bool = True) -> Layout:
        """The terms of ``value``, canonical. With ``assign_fresh``, axes still open get units of their own."""
        if value is None:
            return []
        deferred = self.deferred(value)
        if deferred is not None and assign_fresh and deferred.open:
            self.assign_fresh(value, deferred)
        if deferred is not None and value.is_initializer():
            terms = deferred.terms
        else:
            terms = self._layouts.get(value, []) + (deferred.terms if deferred else [])
        return self._canonical(value, terms)

    def stored(self, value: ir.Value) -> Layout:
        """The terms of ``value`` as they were given; what merged since is not seen."""
        deferred = self.deferred_labels.get(value)
        return [*self._layouts.get(value, ()), *(deferred.terms if deferred is not None else ())]

    def ignore(self, value: ir.Value | None) -> None:
        """Says that whatever channels ``value`` has do not matter to the node: it reads its shape or its type alone."""
        if value is not None:
            self._claims.read.add(value)

    def assign_fresh(self, value: ir.Value, deferred: DeferredLabels) -> None:
        """Ends the waiting for a user: a weight gets units of its own on open axes, a broadcast copy none."""
        if not deferred.broadcast:
            for axis in sorted(deferred.open):
                deferred.terms.append(Term((axis,), self.fresh(value, axis)))
                deferred.roles.setdefault(axis, "affine")
        deferred.open = set()

    def fresh(self, value: ir.Value, axis: int) -> UnitArray:
        """Units of an axis of ``value``, the same at every call."""
        key = (value, axis)
        # Were they new in every pass, there would be something to merge in every pass, and no end.
        if key not in self._fresh:
            self._fresh[key] = self.units.fresh(self.shape(value)[axis])
        return self._fresh[key]

    def hidden_units(self, value: ir.Value, count: int) -> UnitArray:
        """Units of something inside ``value`` that is no axis of its own (hidden units), the same at every call."""
        key = (value, NO_AXIS)
        if key not in self._fresh:
            self._fresh[key] = self.units.fresh(count)
        return self._fresh[key]

    def label(self, value: ir.Value | None, terms: Iterable[Term[int]]) -> None:
        """Sets the layout of an output."""
        if value is not None:
            self._claims.labelled.add(value)
            self._layouts[value] = self._canonical(value, terms)

    def reason(self, node: ir.Node, value: ir.Value | None, axes: Iterable[object], text: str) -> Reason:
        """A reason, as the report shows it."""
        return Reason(str(value.name) if value else "", ",".join(map(str, axes)), str(node.name), text)

    def freeze(self, node: ir.Node, value: ir.Value | None, axes: Iterable[int] | None, text: str) -> None:
        """Freezes what varies along ``axes`` of ``value`` (all axes if None)."""
        if value is None:
            return
        deferred = self.deferred(value)
        wanted = range(len(self.shapes(value) or ())) if axes is None else list(axes)
        if deferred is not None:
            deferred.open -= set(wanted)  # else the next user would still label these axes
        for term in self.layout(value, assign_fresh=False):
            if axes is None or set(term.axes) & set(wanted):
                self.units.freeze(term.units, self.reason(node, value, term.axes, text))

    def restrict(self, node: ir.Node, value: ir.Value, fixed: Iterable[int], text: str) -> Layout:
        """The layout of ``value`` after nothing varies along ``fixed`` any more.

        A joint term is merged along the fixed axes; a term on fixed axes alone is frozen.
        """
        taboo = set(fixed)
        deferred = self.deferred(value)
        if deferred is not None:
            deferred.open -= taboo  # else `layout` below would give these axes units of their own
        for term in self.layout(value):
            self.pin(node, value, term, taboo, text)
        return self.layout(value)

    def pin(self, node: ir.Node, value: ir.Value | None, term: Term[Any], taboo: set[Any], text: str) -> bool:
        """Merges ``term`` along the axes in ``taboo``, or freezes it where no other axis is left."""
        hit = [d for d, axis in enumerate(term.axes) if axis in taboo]
        if not hit:
            return False
        why = self.reason(node, value, (term.axes[d] for d in hit), text)
        if len(hit) == len(term.axes):
            return self.units.freeze(term.units, why)
        return self.units.merge_along(term.units, hit, why)

    def balance(self, term: Term[Any], node: ir.Node) -> None:
        """Asks that every row of a joint term keeps the same count."""
        self.balances.append(Balance(term, str(node.name)))

    def broadcast_copy(self, value: ir.Value, axes: set[int]) -> Layout:
        """Declares that ``value`` holds mere copies along ``axes``; returns the labels it took on there."""
        deferred = self.deferred_labels.get(value)
        if deferred is None:
            deferred = self.deferred_labels[value] = DeferredLabels(open=set(axes), broadcast=True)
        return self._canonical(value, deferred.terms)

    def follow_users(self, value: ir.Value) -> None:
        """Labels an output that holds one number: along its static axes it follows whoever uses it."""
        dynamic = self.shapes.dynamic(value)
        self.broadcast_copy(value, {a for a, size in enumerate(self.shape(value)) if size > 1 and not dynamic[a]})
        self.label(value, [])

    def extents(self) -> list[UnitArray]:
        """Sets of units that make up a whole axis of some value, each once: not all of one set may go."""
        sets = (np.unique(term.units) for term in self.terms())
        return list({u.tobytes(): u for u in sets if u[0] != FROZEN}.values())  # a frozen position stays anyway

    def terms(self) -> Iterable[Term[int]]:
        """Every term of some value, each once where values share it."""
        found = {id(t): t for v in (*self._layouts, *self.deferred_labels) for t in self.layout(v, assign_fresh=False)}
        return found.values()

    def joint_terms(self) -> Iterable[tuple[ir.Value, Term[int]]]:
        """Every term over several axes, with a value that carries it."""
        for value in [*self._layouts, *self.deferred_labels]:
            for term in self.layout(value, assign_fresh=False):
                if len(term.axes) > 1:
                    yield value, term

    # ---- the pass -------------------------------------------------------------------------------------------

    def _pass(self) -> None:
        # Given anew in every pass; units and deferred labels stay.
        self._layouts, self.balances, self.node_operands, self.claims, self.opaque = {}, [], {}, {}, {}
        for value in self.graph.inputs:
            # A plan names positions, of which an axis has none whose size the caller chooses.
            open_ = [a for a in self.policy.free.get(str(value.name), ()) if not self.shapes.dynamic(value)[a]]
            self.label(value, [Term((a,), self.fresh(value, a)) for a in open_])
        self._visit_all(self.graph)
        for value in self.graph.outputs:
            self._let_out(value)

    def _let_out(self, value: ir.Value) -> None:
        """Freezes an output, except along axes that may shrink."""
        reason = Reason(str(value.name), "", "", "is an output of the model")
        free = self.policy.free.get(str(value.name))
        if free is None:
            self._freeze_all(value, reason)
            return
        for term in self.layout(value):
            fixed = [d for d, axis in enumerate(term.axes) if axis not in free]
            if len(fixed) == len(term.axes):
                self.units.freeze(term.units, reason)
            else:
                self.units.merge_along(term.units, fixed, reason)

    def follow(self, body: ir.Graph) -> None:
        """Couples the nodes of a body, whose inputs the rule of its node has labelled; that rule asks for it."""
        claims = self._claims
        claims.followed = True
        self._visit_all(body)
        self._claims = claims  # nodes of the body made claims of their own meanwhile

    def _visit_all(self, graph: ir.Graph) -> None:
        for node in graph:
            self._visit(node)

    def _visit(self, node: ir.Node) -> None:
        balances = len(self.balances)
        why = self._couple(node)
        if why is not None:
            del self.balances[balances:]  # what a rule asked for before it gave up is void
            # Nodes inside may have been coupled already, to labels of body inputs that nobody vouches for any more.
            for each in [*nodes_inside(node), node]:
                self.freeze_unexplained(each, why)

    def _couple(self, node: ir.Node) -> str | None:
        """Lets the rule of ``node`` couple it; the sentence that says why it cannot, or is not believed.

        The one place that calls rules for labels: what one raises is its fault, and costs the channels of the node.
        """
        distrusted = self.distrusted.get(str(node.name))
        if distrusted is not None:
            return distrusted
        rule = record_of(node, self._rules)
        if rule is None or not rule.coupled:
            return f"{operator_name(node)} has no rule"
        claims = self.claims[node] = self._claims = Claims()
        try:
            with verify.rule_errors(node):
                if self.fills.moved_by(node):
                    self._move_fill(node)
                else:
                    rule.couple(node, self)
        except Unexplained as gap:
            return f"{node.op_type}: {gap}"
        except RuleFault as fault:
            doubt: str | None = fault.sentence
        else:
            self._claims = Claims()  # what is looked at from here on is no claim of the rule
            doubt = verify.mismatch_of(self, node, claims)
        if doubt is not None:
            self.distrusted[str(node.name)] = doubt  # for all passes to come, too
        return doubt

    def _move_fill(self, node: ir.Node) -> None:
        for value in filter(None, node.inputs):
            self.ignore(value)
            dtype = self.shapes.dtype(value)
            if dtype is not None and dtype.is_integer():  # positions stay, whatever is written there
                self.freeze(node, value, None, f"says where or how {node.op_type} moves one number")
        for value in node.outputs:
            self.follow_users(value)

    def freeze_unexplained(self, node: ir.Node, text: str) -> None:
        """Closed world: freezes everything the node touches, what its bodies capture too; outputs get no labels."""
        self.opaque[node] = text
        self.claims.pop(node, None)
        self.node_operands.pop(node, None)
        made = [*node.outputs, *(v for body in graphs_of(node) for v in body.inputs)]
        for value in [*node.inputs, *captured_values(node), *made]:
            if value is not None:
                self._freeze_all(value, self.reason(node, value, (), text))
        for value in made:
            self._layouts[value] = []

    def _freeze_all(self, value: ir.Value, reason: Reason) -> None:
        if (deferred := self.deferred(value)) is not None:
            deferred.open = set()
        for term in self.layout(value):
            self.units.freeze(term.units, reason)

    def _canonical(self, value: ir.Value, terms: Iterable[Term[int]]) -> Layout:
        found: Layout = []
        for term in terms:
            short = self.units.canonical(term)
            # Merged along all of its axes, it is one unit that holds the whole tensor, of which nothing would be left.
            if short is not None and not short.axes:
                self.units.freeze(short.units, Reason(str(value.name), ",".join(map(str, term.axes)), "", WHOLE_AXIS))
            elif short and all(short.axes != t.axes or not np.array_equal(short.units, t.units) for t in found):
                found.append(short)
        return found
