"""A graph is checked against what is claimed of it: labels against inferred shapes, rules against their nodes.

A rule is code, and code is wrong now and then. What it claims is therefore never taken on trust: after every node, once
more over the whole coupled graph, and again after the cut, where the shapes that ONNX infers have to be those that the
mask plans. A claim that does not hold freezes the node, with the reason, and never becomes a crash or a wrong file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, get_args

import onnx_ir as ir

from compressor.channels.labels import Role, Unexplained
from compressor.errors import CompressorError, ModelError, PlanError, RuleFault
from compressor.graph.ir.captures import captured_values, graphs_of, nodes_inside
from compressor.graph.ir.nodes import is_standard
from compressor.graph.sizes.binding import Shape
from compressor.graph.sizes.dims import Misfit
from compressor.graph.sizes.inference import Walker, start_walker

if TYPE_CHECKING:
    from compressor.channels.coupling import Coupling


@dataclass
class Claims:
    """What a rule did at one node.

    Attributes:
        read: values whose labels it asked for, or froze.
        labelled: values whose labels it set.
        followed: it had the nodes of its bodies coupled, each by a rule of its own.
    """

    read: set[ir.Value] = field(default_factory=set)
    labelled: set[ir.Value] = field(default_factory=set)
    followed: bool = False


def operator_name(node: ir.Node) -> str:
    """The operator, with its domain unless that is ONNX's own."""
    return node.op_type if is_standard(node) else f"{node.domain}::{node.op_type}"


@contextmanager
def rule_errors(node: ir.Node) -> Iterator[None]:
    """Whatever goes wrong inside is a fault of the rule for ``node``.

    Raises:
        RuleFault: names the node, the rule and the exception. Running out of memory is nobody's fault and passes,
            and so does every error on purpose except a plan that cannot be carried out.
    """
    # The order of the clauses matters: PlanError and RuleFault are errors on purpose as well.
    try:
        yield
    except (MemoryError, RuleFault, Unexplained):
        raise
    except PlanError as error:
        raise RuleFault(
            str(node.name), f"the rule for {operator_name(node)} cannot carry the cut out: {error}"
        ) from error
    except CompressorError:
        raise
    except Exception as error:
        fact = f"{type(error).__name__}: {error}"
        raise RuleFault(str(node.name), f"the rule for {operator_name(node)} failed on this node: {fact}") from error


def mismatches(coupling: Coupling) -> dict[str, str]:
    """Every node whose claims do not hold -> the sentence that says why.

    Rules are held against the labels as they are at the end: an input that a rule left out may have got its labels
    from another node later.
    """
    found = {}
    for node in coupling.graph.all_nodes():
        claims = coupling.claims.get(node)
        doubt = mismatch_of(coupling, node, claims) if claims is not None else None
        if doubt is not None:
            found[str(node.name)] = doubt
    return found


def mismatch_of(coupling: Coupling, node: ir.Node, claims: Claims) -> str | None:
    """What is wrong with the claims of a rule at ``node``; None where they hold."""
    doubts = chain(
        (_unsigned_output(node, v, claims) for v in node.outputs),
        (_unsigned_input(coupling, node, v, claims) for v in _inputs(node, claims)),
        (_misfit(coupling, v) for v in [*node.outputs, *_handed_in(node), *_constants(node)]),
        (_stranger(node, v) for v in claims.labelled),
    )
    return next((d for d in doubts if d is not None), None)


def _inputs(node: ir.Node, claims: Claims) -> list[ir.Value]:
    """What a rule has to speak for; what followed bodies capture is read by their nodes, which have rules too."""
    inner = [v for body in graphs_of(node) for v in body.outputs] if claims.followed else captured_values(node)
    return [v for v in dict.fromkeys([*node.inputs, *inner]) if v is not None]


def _handed_in(node: ir.Node) -> list[ir.Value]:
    """What the bodies of a node get from it."""
    return [v for body in graphs_of(node) for v in body.inputs]


def _constants(node: ir.Node) -> list[ir.Value]:
    """Inputs that no node makes, so that their labels are checked where they are used."""
    return [v for v in node.inputs if v is not None and v.producer() is None]


def _unsigned_output(node: ir.Node, value: ir.Value, claims: Claims) -> str | None:
    needed = bool(value.name) and (bool(value.uses()) or value.is_graph_output())
    if not needed or value in claims.labelled:
        return None
    return f"the rule for {operator_name(node)} says nothing of its output {value.name}, which is used"


def _unsigned_input(coupling: Coupling, node: ir.Node, value: ir.Value, claims: Claims) -> str | None:
    if value in claims.read or not coupling.layout(value, assign_fresh=False):
        return None
    return f"the rule for {operator_name(node)} says nothing of its input {value.name}, which has channels"


def _stranger(node: ir.Node, value: ir.Value) -> str | None:
    if value in node.outputs or value in _handed_in(node):
        return None
    return f"the rule for {operator_name(node)} labels {value.name}, which is no output of it"


def _misfit(coupling: Coupling, value: ir.Value) -> str | None:
    """Labels that do not fit the shape of ``value``, or an axis with a role that none has."""
    # As they were given: a canonical term may have lost the very axis that does not fit.
    terms = coupling.stored(value)
    deferred = coupling.deferred_labels.get(value)
    if not terms and deferred is None:
        return None
    # A weight may be cut already, and its labels are those of the original.
    shape = deferred.shape if deferred is not None and value.is_initializer() else coupling.shapes(value)
    if shape is None:
        return f"{value.name} would have channels, but its shape is not known" if terms else None
    for term in terms:
        axes = [a for a in term.axes if not 0 <= a < len(shape)]
        if axes or len(set(term.axes)) < len(term.axes):
            return f"labels of {value.name} name axes {list(term.axes)}, its shape is {list(shape)}"
        sizes = tuple(shape[a] for a in term.axes)
        if term.units.shape != sizes:
            given = f"sizes {list(term.units.shape)} of axes {list(term.axes)}"
            return f"labels of {value.name} are for {given}, its shape is {list(shape)}"
    if deferred is not None:
        roles = {a: r for a, r in deferred.roles.items() if not 0 <= a < len(shape) or r not in get_args(Role)}
        if roles or not all(0 <= a < len(shape) for a in deferred.open):
            return f"axes of {value.name} have roles {roles} that its shape {list(shape)} has no place for"
    return None


def recheck(model: ir.Model, coupling: Coupling, planned: Mapping[ir.Value, Shape], nodes: Collection[ir.Node]) -> None:
    """Infers the shapes of the cut ``model`` again and holds them against what was planned.

    Args:
        model: after surgery, before anything is tidied up.
        coupling: of the same graph; gives the shapes of what was not cut.
        planned: shapes of every value that loses something.
        nodes: those that were there before surgery.

    Raises:
        RuleFault: names the first node whose result has another shape, or whose inputs do not belong together.
            Where that is a node which a repair put in, the node that it was put in for.
    """
    pending = ""
    inputs = coupling.shapes.of_inputs(model.graph).inputs
    # What only a run can show is taken as planned; the proof, which runs the model, has the last word.
    measured = {v: (planned.get(v, shape), dtype) for v, (shape, dtype) in coupling.shapes.measured.items()}
    walker = start_walker(model, inputs, coupling.shapes.records, symbolic=False, measured=measured)
    # Nodes that a repair put in are none of `nodes`: what is wrong at one of them waits for the next that was there
    # before, which is the one it was put in for.
    for node in model.graph:
        try:
            walker.visit(node)
        except (Misfit, ModelError) as misfit:
            pending = pending or str(misfit)
        for each in [*nodes_inside(node), node]:
            pending = pending or _unfit(each, walker, coupling) or _off_plan(each, walker, coupling, planned)
            if pending and each in nodes:
                text = f"the rule for {operator_name(each)} does not fit this node: after the cut, {pending}"
                raise RuleFault(str(each.name), text)
    # What stands behind the last old node has no node to blame.
    if pending:
        raise RuleFault("", f"after the cut, {pending}")


def _unfit(node: ir.Node, walker: Walker, coupling: Coupling) -> str:
    """Why a node of a body does not run, if it did before."""
    # Only what ran before the cut has to run after it; some nodes of bodies are never followed.
    ran = all(coupling.shapes(v) is not None for v in node.outputs if v.name)
    return walker.misfits.get(node, "") if ran else ""


def _off_plan(node: ir.Node, walker: Walker, coupling: Coupling, planned: Mapping[ir.Value, Shape]) -> str:
    for value in [v for v in node.outputs if v.name]:
        shape, wanted = walker.known.shapes.get(value), planned.get(value, coupling.shapes(value))
        if shape is not None and wanted is not None and shape != wanted:
            return f"{value.name} has shape {list(shape)}, not {list(wanted)} as planned"
    return ""
