"""A model ready to be cut: normalised, shapes bound, simplified, small constants unshared, channels coupled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import onnx_ir as ir

from compressor.channels.coupling import Coupling, Policy
from compressor.channels.fills import give_each_its_own
from compressor.config import PruneSettings, RunSettings
from compressor.errors import ModelError, RuleFault
from compressor.graph.form import clean
from compressor.graph.form.branches import take_branches
from compressor.graph.form.copies import make_copies_apart
from compressor.graph.form.normalise import normalise, unshare
from compressor.graph.form.plain_sequences import write_plain_sequences
from compressor.graph.form.restore_packed import with_plain_weights
from compressor.graph.form.shuffles import write_shuffles_as_gathers
from compressor.graph.form.slopes import widen_operands
from compressor.graph.ir import exporter_metadata
from compressor.graph.ir.edit import copy_of
from compressor.graph.sizes.shapes import Shapes
from compressor.graph.tensors.weights import seal
from compressor.operators import table
from compressor.operators.table import operator_of
from compressor.pruning.cut.depth import attach_blocks
from compressor.pruning.cut.freed import freed
from compressor.pruning.cut.measured_shapes import shapes_at, shapes_of

Attempted = TypeVar("Attempted")


@dataclass(frozen=True)
class Analysis:
    """What is known of a model before anything is chosen.

    Attributes:
        model: a copy of the user's model in normal form.
        shapes: concrete shapes and static values.
        coupling: which channels live and die together.
        simplify: whether what a cut leaves is simplified, as the model was.
    """

    model: ir.Model
    shapes: Shapes
    coupling: Coupling
    simplify: bool = True


def prepared_model(source: ir.Model, settings: RunSettings) -> tuple[ir.Model, Shapes]:
    """A normalised copy of ``source`` and its shapes; simplified, and without metadata, if the settings say so."""
    model = normalise(copy_of(source))
    # Shapes come first, since folding is allowed for static values only (docs/decisions/0008).
    shapes = shapes_of(model, settings)
    if any([widen_operands(model, shapes), settings.simplify and write_plain_sequences(model, shapes)]):
        shapes = shapes_of(model, settings)
    while settings.simplify and take_branches(model, shapes):
        shapes = shapes_of(model, settings)
    if settings.simplify:
        clean.simplify(model, shapes)
    else:
        clean.remove_dead(model)
    if not settings.keep_metadata:
        exporter_metadata.strip_metadata(model)
    return model, shapes


def _is_one_layer(value: ir.Value) -> bool:
    """Is it the kernel of a layer that is called several times? Copies of it would be weights that the file never had.

    Where all numbers of it are equal, as in kernels that start from zero, it may be several that an exporter merged.
    """
    uses, tensor = value.uses(), value.const_value
    if len(uses) < 2 or tensor is None or len({(node.op_identifier(), index) for node, index in uses}) > 1:
        return False
    if not all(index in operator_of(node).factors and operator_of(node).multiplies for node, index in uses):
        return False
    array = tensor.numpy().ravel()
    return array.size > 0 and bool((array != array[0]).any())


def without_faulty_rules(run: Callable[[Mapping[str, str]], Attempted]) -> Attempted:
    """``run`` with ever fewer rules believed, until none fails on what it cuts.

    Args:
        run: takes the nodes whose rules are not believed, by name, with the reason; hands them to :func:`analyse`, and
            starts from scratch at every call.

    Raises:
        RuleFault: of a rule that was not believed any more, or of no node that could be left alone.
    """
    distrusted: dict[str, str] = {}
    while True:
        try:
            return run(distrusted)
        except RuleFault as fault:
            # A node that is blamed twice was left alone the second time, so distrusting it again would loop for ever.
            if not fault.node or fault.node in distrusted:
                raise
            distrusted[fault.node] = fault.sentence


def audit(analysis: Analysis, small: ir.Model, settings: RunSettings) -> None:
    """Lets the rules read the smaller graph, after a cut that cannot be right: where does one not fit any more?

    Inferred shapes do not show everything: groups of a convolution that do not divide its inputs, say.

    Raises:
        RuleFault: names the first node that a rule explained before the cut and does not explain now.
    """
    # Nodes that had no explained rule before the cut were frozen, and cannot be the cause.
    before = {str(node.name) for node in analysis.coupling.claims}
    try:
        shapes = shapes_at(small, analysis.shapes.of_inputs(small.graph).inputs, settings)
    except ModelError:
        return  # the second walk of the verifier found every shape as planned; there is nobody to blame
    again = Coupling(small.graph, shapes, table.RULES, analysis.coupling.policy).run()
    for node, text in again.opaque.items():
        if str(node.name) in before:
            raise RuleFault(str(node.name), f"its rule does not fit the node after the cut: {text}")


def analyse(source: ir.Model, settings: RunSettings, distrusted: Mapping[str, str] | None = None) -> Analysis:
    """Couples the channels of ``source``, which is not changed.

    Args:
        source: the user's model.
        settings: sizes of inputs, and the policy of coupling.
        distrusted: name of a node -> why its rule is not asked; see :func:`without_faulty_rules`.

    Raises:
        ModelError: shapes do not fit; see :func:`compressor.operators.sizes.infer`.
    """
    # Weights that this tool packed earlier are codes and indices; channels belong to the numbers that they stand for.
    model, shapes = prepared_model(with_plain_weights(source), settings)
    # Here and not in prepared_model, whose other users keep constants shared: only coupling ties channels by them.
    unshare(model, meant=_is_one_layer)
    if settings.simplify:
        make_copies_apart(model, shapes)
        if write_shuffles_as_gathers(model, shapes):
            clean.remove_unused(model)
    # A fill that several nodes share would tie the channels of all of them together in the same way.
    give_each_its_own(model.graph, shapes, table.RULES)
    # The reference and the smaller model are copies of it.
    seal(model.graph)
    policy = Policy()
    if isinstance(settings, PruneSettings):
        # Only pruning may change the size of inputs and outputs; other commands analyse to look or to measure.
        free = freed(model.graph, shapes, settings)
        policy = Policy(settings.attention == "heads", settings.keep_norm_axes, free)
    coupling = Coupling(model.graph, shapes, table.RULES, policy, distrusted).run()
    if isinstance(settings, PruneSettings) and (settings.depth or settings.lossless):
        attach_blocks(coupling, settings)
    return Analysis(model, shapes, coupling, settings.simplify)
