"""Training and fitting change numbers and nothing else: what they leave is the graph that they were given.

Weights that are fitted or trained cannot be held against the original's outputs. What computes with them can: given the
weights of the graph from before, the other one has to give what that gave.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from compressor.config import RunSettings
from compressor.core.scratch import scratch
from compressor.errors import ModelError, ProofFailed, tool_fault
from compressor.graph.ir.captures import nodes_by_name
from compressor.graph.ir.nodes import dims_of, optional_input
from compressor.graph.sizes.shapes import Shapes
from compressor.graph.tensors.weights import all_finite, same_tensors, seal
from compressor.operators import quantization_grid
from compressor.operators.table import adds, operator_of
from compressor.pruning.proofs.graphs.exact import demand_settings
from compressor.pruning.proofs.graphs.wiring import demand_same_wiring
from compressor.pruning.proofs.outputs.evidence import Evidence
from compressor.pruning.proofs.outputs.standard import with_tolerance
from compressor.pruning.proofs.proof import tolerance_of
from compressor.pruning.proofs.routes import ModelPair, prove_routes
from compressor.pruning.proofs.runs.inputs import Inputs
from compressor.pruning.proofs.runs.whole_or_pieces import runnable
from compressor.runtime.stored import Answers, Feed

RECOVERED = "the recovered model"
REMEDY = "recover otherwise with --recover, or not at all with --recover none"


def prove_only_weights(before: ir.Model, after: ir.Model, feeds: Sequence[Feed], settings: RunSettings) -> None:
    """Proves that a model which was fitted or trained computes as the one before does.

    Args:
        before: what was fitted or trained.
        after: the same with other weights, perhaps with biases that it did not have.
        feeds: inputs, as the proof of ``before`` has taken them.
        settings: tolerance and provider.

    Raises:
        ProofFailed: it does not, or holds other constants, or numbers that are not finite.
        ModelError: ``before`` does not run on them.
    """
    seal(after.graph)  # what is written later is what is looked at now
    _demand_weights(before, after)
    demand_settings(before.graph, after.graph, RECOVERED)
    demand_same_wiring(before, after)
    again, tolerance = _with_weights_of(before, after), tolerance_of(settings)
    with scratch() as folder:
        known = Answers.of(runnable(before, folder, settings.provider), feeds)
        try:
            actual = Answers.of(runnable(again, folder, settings.provider), feeds)
        except ModelError as error:
            raise tool_fault(f"{RECOVERED} does not run with the weights from before: {error}") from None
        shown = [Evidence.of(*with_tolerance(known, actual, tolerance, before))]
        # What a branch holds that these inputs do not take.
        shown += prove_routes(ModelPair(before, again), feeds, tolerance, folder, settings.provider).shown
    for told in shown:
        if not told.passed:
            raise tool_fault(
                f"recovery changed more than weights: with those from before, output {told.worst!r} is off by "
                f"{told.max_rel_err:.2g} of its range (tolerance {told.tolerance:g})"
            )


def some_feeds(model: ir.Model, shapes: Shapes, settings: RunSettings) -> Sequence[Feed]:
    """Inputs that a model takes, where no proof has found them before.

    Raises:
        ModelError: it takes none.
    """
    inputs = Inputs.of_proof(model, shapes.of_inputs(model.graph), settings.seed)
    with scratch() as folder:
        stored = runnable(model, folder, settings.provider)
        return Answers.to_some(stored, inputs.both, inputs.instead()).runs.feeds


def _demand_weights(before: ir.Model, after: ir.Model) -> None:
    """Raises ProofFailed where a number changed that is no weight, as indices and bounds are, or is none any more."""
    for name, value in after.graph.initializers.items():
        old, new = before.graph.initializers.get(name), value.const_value
        known = None if old is None else old.const_value
        if new is None or new is known:
            continue
        floats = new.dtype.is_floating_point()
        # Masks of infinities are no weights either.
        if old is not None and known is not None and not (_is_weight(old) and (not floats or all_finite(known))):
            if not same_tensors(known, new):
                raise tool_fault(f"recovery changed {name!r}, which holds no weights")
            continue
        if floats and not all_finite(new):
            raise ProofFailed(f"recovery left numbers in {name!r} that are not finite; nothing was written; {REMEDY}")
        # One more axis would make a bias that fits one batch alone. A number that grows to a vector is a bias still.
        if known is not None and known.size > 1 and tuple(known.shape) != tuple(new.shape):
            raise tool_fault(f"recovery changed the shape of {name!r}")
        if known is None and not all(_biases(*use) for use in value.uses()):
            raise tool_fault(f"recovery put {name!r} where no bias belongs")


def _is_weight(value: ir.Value) -> bool:
    """May a number be fitted? Not a setting, such as a bound; nor a single number of arithmetic, such as an epsilon.

    Of what stands for real numbers both the integers and their scale, and nothing else.
    """
    tensor = value.const_value
    if tensor is not None and not tensor.dtype.is_floating_point():
        return all(operator_of(node).encodes == "reals" and index == 0 for node, index in value.uses())
    if quantization_grid.scales_constants(value):
        return True
    single = tensor is not None and tensor.size <= 1
    for node, index in value.uses():
        operator = operator_of(node)
        setting = index in operator.settings or index in operator.host or operator.clamps
        # A layer of one output has a single number as its bias.
        number = single and operator.arithmetic and not _biases(node, index)
        if not setting and not number:
            return True
    return False


def _biases(node: ir.Node, index: int) -> bool:
    """Is this the bias of a product, in it or added behind it?"""
    operator = operator_of(node)
    return (operator.multiplies and index in (operator.bias, *operator.factors)) or (
        adds(node) and any(_multiplied(other) for k, other in enumerate(node.inputs) if k != index)
    )


def _multiplied(value: ir.Value | None) -> bool:
    producer = None if value is None else value.producer()
    return producer is not None and operator_of(producer).multiplies


def _with_weights_of(before: ir.Model, after: ir.Model) -> ir.Model:
    """The graph of ``after`` with the weights of ``before``; what only it has is without effect."""
    copy = after.clone()
    nodes = nodes_by_name(before.graph)
    for name, value in copy.graph.initializers.items():
        known = before.graph.initializers.get(name)
        tensor = known.const_value if known is not None else _counterpart(value, nodes)
        if tensor is None and value.const_value is not None:
            # A bias where there was none.
            tensor = ir.tensor(np.zeros(dims_of(value.const_value), value.const_value.dtype.numpy()), name=name)
        value.const_value = tensor
    return copy


def _counterpart(value: ir.Value, nodes: dict[str, ir.Node]) -> ir.TensorProtocol | None:
    """What stood in the place of a weight that recovery made: layers that shared one may have got a copy each."""
    for node, index in value.uses():
        twin = nodes.get(str(node.name))
        given = None if twin is None else optional_input(twin, index)
        if given is not None and given.is_initializer():
            return given.const_value
    return None
