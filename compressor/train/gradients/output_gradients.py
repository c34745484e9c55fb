"""Values inside a graph and the gradients by them, of a random projection of the outputs."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
import torch

from compressor.core.arrays import Array
from compressor.data import Batch
from compressor.graph.form.normalise import normalise
from compressor.torch_ops.tensors import to_numpy
from compressor.train.gradients.saliency_loss import SaliencyLoss
from compressor.train.module.measuring import measured_inputs, measuring_module

Arrays = dict[str, Array]


class OutputGradients:
    """Runs a model and differentiates ``v'y`` with random signs v, each output by its own size.

    The square of how much a change of an inner value moves ``v'y`` has the mean ``‖∂y‖²`` of that change, sample by
    sample (:mod:`compressor.train.gradients.saliency`).

    Args:
        model: not changed.
        reads: names of values whose numbers are wanted; inputs of the model or values of its nodes.
        gradients: names of values of its nodes by which to differentiate, and of initializers; those that torch does
            not train have no gradient.
        seed: of the signs.

    Raises:
        UnsupportedOperator: a node has no function in torch.
    """

    def __init__(self, model: ir.Model, reads: Sequence[str], gradients: Sequence[str], seed: int) -> None:
        copy = normalise(model.clone())
        # Counted before inner values are added: the projection is of the model's own outputs alone.
        self._own = len(copy.graph.outputs)
        self._loss = SaliencyLoss(copy.graph, seed)
        self._reads, self._gradients = list(reads), list(gradients)
        made = {str(v.name): v for node in copy.graph for v in node.outputs}
        shown = {str(v.name): k for k, v in enumerate(copy.graph.outputs)}
        for name in dict.fromkeys([*reads, *gradients]):
            if name in made and name not in shown:
                shown[name] = len(copy.graph.outputs)
                copy.graph.outputs.append(made[name])
        self._shown = shown
        self._module = measuring_module(copy)

    def __call__(self, batch: Batch) -> tuple[Arrays, Arrays]:
        """Numbers of the values read, and gradients, by name; zeros where no output depends on it.

        Gradients are summed over what a sample's outputs are, not averaged over samples.
        """
        found = self._module(**measured_inputs(self._module, batch.inputs))
        values = found if isinstance(found, tuple) else (found,)
        # Initializers are no outputs of the graph; their tensors are the module's own.
        trained = self._module.tensors()
        by = {n: values[self._shown[n]] if n in self._shown else trained.get(n) for n in self._gradients}
        inner = {name: tensor for name, tensor in by.items() if tensor is not None}
        # A value that no parameter or input with gradient reaches cannot be differentiated by.
        moving = [tensor for tensor in inner.values() if tensor.requires_grad]
        slopes: dict[int, torch.Tensor | None] = {}
        if moving:
            outputs = [y for y in values[: self._own] if isinstance(y, torch.Tensor)]
            # ``probe`` divides by the root of the number of samples; here sums over samples are wanted.
            loss = self._loss.probe(outputs) * len(batch) ** 0.5
            slopes = dict(zip(map(id, moving), torch.autograd.grad(loss, moving, allow_unused=True), strict=True))
        gradients = {name: _or_zero(slopes.get(id(y)), y) for name, y in inner.items()}
        numbers = {n: to_numpy(values[self._shown[n]]) if n in self._shown else batch.inputs[n] for n in self._reads}
        return numbers, gradients


def _or_zero(slope: torch.Tensor | None, value: torch.Tensor) -> Array:
    return to_numpy(torch.zeros_like(value) if slope is None else slope)
