"""Recovery changes numbers and nothing else: what is written is the graph that was proved, with other weights.

Weights that are fitted or trained cannot be held against the original's outputs. What computes with them can: given the
weights that were proved, the recovered graph has to give what was proved.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compressor.config import RunSettings
from compressor.core.scratch import scratch
from compressor.errors import PLEASE, ModelError, ProofFailed
from compressor.graph.known import dims_of
from compressor.graph.normalise import normalise
from compressor.graph.shapes import infer
from compressor.pruning.evidence import Evidence, demand_proof
from compressor.pruning.inputs import Inputs
from compressor.pruning.piecewise import runnable
from compressor.pruning.proof import same_outputs, tolerance_of
from compressor.pruning.routes import prove_routes
from compressor.pruning.standard import with_tolerance
from compressor.runtime.stored import Answers

REMEDY = "recover otherwise with --recover, or not at all with --recover none"


def prove_recovered(proved: ir.Model, recovered: ir.Model, evidence: Evidence, settings: RunSettings) -> None:
    """Proves that a model which was recovered computes as the one that was proved does.

    Args:
        proved: the smaller model, before recovery.
        recovered: the same with other weights, perhaps with biases that it did not have.
        evidence: what was proved, with its runs.
        settings: tolerance and provider.

    Raises:
        ProofFailed: it does not.
    """
    _demand_weights(proved, recovered)
    runs = evidence.runs
    if runs is None or not runs.outputs:
        return
    again, tolerance = _with_weights_of(proved, recovered), tolerance_of(settings)
    with scratch() as folder:
        try:
            known = Answers.of(runnable(proved, folder, settings.provider), runs.feeds)
            found = Answers.of(runnable(again, folder, settings.provider), runs.feeds)
        except ModelError as error:
            why = f"the recovered model does not run with the weights of the cut: {error}"
            raise ProofFailed(f"{why}; {PLEASE}") from None
        shown = [Evidence.of(*with_tolerance(known, found, tolerance))]
        # What a branch holds that these inputs do not take.
        shown += prove_routes((proved, again), runs.feeds, tolerance, folder, settings.provider).shown
    for told in shown:
        if not told.passed:
            raise ProofFailed(
                f"recovery changed more than weights: with those of the cut, output {told.worst!r} is off by "
                f"{told.max_rel_err:.2g} of its range (tolerance {told.tolerance:g}); {PLEASE}"
            )


def _demand_weights(proved: ir.Model, recovered: ir.Model) -> None:
    """Raises ProofFailed where recovery changed a whole number, as indices and shapes are, or left one that is none."""
    for name, value in recovered.graph.initializers.items():
        old, new = proved.graph.initializers.get(name), value.const_value
        before = None if old is None else old.const_value
        if before is None or new is None or new is before:
            continue
        if not new.dtype.is_floating_point():
            if new.tobytes() != before.tobytes():
                raise ProofFailed(f"recovery changed {name!r}, which holds no weights; {PLEASE}")
        elif _finite(before) and not _finite(new):
            raise ProofFailed(f"recovery left numbers in {name!r} that are not finite; nothing was written; {REMEDY}")


def _finite(tensor: ir.TensorProtocol) -> bool:
    return bool(np.isfinite(tensor.numpy().astype(np.float64)).all())


def _with_weights_of(proved: ir.Model, recovered: ir.Model) -> ir.Model:
    """The graph of ``recovered`` with the weights of ``proved``; what only it has is without effect."""
    found = recovered.clone()
    nodes = {str(node.name): node for node in proved.graph.all_nodes()}
    for name, value in found.graph.initializers.items():
        known = proved.graph.initializers.get(name)
        tensor = known.const_value if known is not None else _counterpart(value, nodes)
        if tensor is None and value.const_value is not None:
            # A bias where there was none.
            tensor = ir.tensor(np.zeros(dims_of(value.const_value), value.const_value.dtype.numpy()), name=name)
        value.const_value = tensor
    return found


def _counterpart(value: ir.Value, nodes: dict[str, ir.Node]) -> ir.TensorProtocol | None:
    """What stood in the place of a weight that recovery made: layers that shared one may have got a copy each."""
    for node, index in value.uses():
        twin = nodes.get(str(node.name))
        given = twin.inputs[index] if twin is not None and index < len(twin.inputs) else None
        if given is not None and given.is_initializer():
            return given.const_value
    return None


def prove_with_functions(plain: ir.Model, kept: ir.Model, settings: RunSettings) -> None:
    """Proves that a model gives the same once calls of local functions are back in it.

    Args:
        plain: without them.
        kept: with them.
        settings: tolerance, provider and sizes.

    Raises:
        ProofFailed: it does not.
    """
    graph = normalise(plain.clone())
    inputs = Inputs.of_proof(graph, infer(graph, settings.input_shapes, settings.dims), settings.seed)
    demand_proof(same_outputs(plain, kept, inputs.both, settings, inputs.instead()))
