"""The losses that measurements differentiate, with labels or without; why they are these: saliency.py."""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch.nn.functional import cross_entropy, mse_loss

from compressor.data import Batch
from compressor.data.output_units import OutputUnits
from compressor.errors import ModelError, UsageError
from compressor.operators.table import operator_of
from compressor.torch_ops.tensors import log_clamped, to_numpy, to_torch
from compressor.train.module.graph_module import GraphModule
from compressor.train.module.measuring import measured_inputs

COOL = 200.0
"""What GraSP divides logits by, so that no softmax is saturated (code of arXiv 2002.07376)."""

Tensors = list[torch.Tensor]


def outputs_of(module: GraphModule, batch: Batch) -> Tensors:
    """The outputs that are tensors, computed where the parameters are."""
    found = module(**measured_inputs(module, batch.inputs))
    return [y for y in (found if isinstance(found, tuple) else (found,)) if isinstance(y, torch.Tensor)]


class SaliencyLoss:
    """Losses of the outputs of one graph.

    Args:
        graph: shows which outputs are probabilities already; of these the logarithm is taken.
        seed: of the random signs.
    """

    def __init__(self, graph: ir.Graph, seed: int) -> None:
        # On the CPU, so that a seed gives the same signs on every device.
        self._signs = torch.Generator().manual_seed(seed)
        self._scales: Tensors = []
        # Probabilities have vanishing gradients where a class is sure; their logarithm is what the loss is of.
        makers = [v.producer() for v in graph.outputs]
        self._probabilities = [m is not None and operator_of(m).probabilities for m in makers]

    def squared(self, outputs: Tensors, batch: Batch) -> torch.Tensor:
        """For a gradient that is squared: cross-entropy with labels, else a random projection of the outputs."""
        return self.probe(outputs) if batch.labels is None else self._labelled(outputs, batch, 1.0)

    def plain(self, outputs: Tensors, batch: Batch) -> torch.Tensor:
        """For a gradient that is used as it is: cross-entropy with labels, else the energy of the outputs."""
        return self._energy(outputs) if batch.labels is None else self._labelled(outputs, batch, 1.0)

    def cool(self, outputs: Tensors, batch: Batch) -> torch.Tensor:
        """:meth:`plain` with logits divided by COOL."""
        return self._energy(outputs) if batch.labels is None else self._labelled(outputs, batch, COOL)

    def probe(self, outputs: Tensors) -> torch.Tensor:
        """``v'y / √n`` with random signs v, each output by its own size: the square of its gradient has the mean
        ``E[J'J]`` per sample."""
        parts = []
        for y in self._scaled(outputs):
            signs = torch.randint(0, 2, y.shape, generator=self._signs).to(y) * 2 - 1
            # By the root of n, because what is squared afterwards grows with n.
            parts.append((signs * y).sum() / max(len(y) if y.ndim else 1, 1) ** 0.5)
        return torch.stack(parts).sum()

    def _energy(self, outputs: Tensors) -> torch.Tensor:
        return torch.stack([(y * y).sum() / 2 for y in self._scaled(outputs)]).sum()

    def _real(self, outputs: Tensors) -> Tensors:
        pairs = zip(outputs, self._probabilities, strict=False)
        found = [log_clamped(y) if p else y for y, p in pairs if y.is_floating_point()]
        if not found:
            raise ModelError(
                "no output of the model is a real number, so nothing has a gradient; choose a --criterion of "
                "weights, such as l2"
            )
        return [y if y.dtype == torch.float64 else y.float() for y in found]

    def _scaled(self, outputs: Tensors) -> Tensors:
        """Each output divided by its size in the first batch, so that none drowns another."""
        real = self._real(outputs)
        # Of the first batch, and then fixed: a scale of each batch would make the batches incomparable.
        if not self._scales:
            self._scales = [_root_mean_square(y.detach()) for y in real]
        return [y / s.to(y) for y, s in zip(real, self._scales, strict=True)]

    def _labelled(self, outputs: Tensors, batch: Batch, temperature: float) -> torch.Tensor:
        real = self._real(outputs)
        assert batch.labels is not None
        labels = to_torch(batch.labels).to(real[0].device)
        for y in real:
            loss = _fitting(y, labels, temperature)
            if loss is not None:
                return loss
        shapes = ", ".join(str(list(y.shape)) for y in real)
        raise UsageError(
            f"labels of shape {list(labels.shape)} fit no output of the model (shapes {shapes}); give one class "
            "number a sample, or data without labels"
        )


def _root_mean_square(y: torch.Tensor) -> torch.Tensor:
    """Root mean square of an output, or of each part that is in units of its own, in a shape that it divides."""
    units = OutputUnits.of(to_numpy(y))
    sizes = y.square().mean().sqrt()
    if units.starts:
        parts = torch.tensor_split(y, units.starts, units.axis)
        each = [part.square().mean().sqrt().expand(part.shape[units.axis]) for part in parts]
        # Batches that follow may have other numbers of samples and places.
        sizes = torch.cat(each).reshape([-1 if axis == units.axis else 1 for axis in range(y.ndim)])
    # An output of zeros stays as it is.
    return torch.where((sizes > 0) & sizes.isfinite(), sizes, torch.ones_like(sizes))


def _fitting(y: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor | None:
    """The loss of an output that the labels fit: squared error of real numbers, cross-entropy of classes."""
    if labels.is_floating_point():
        return mse_loss(y, labels.to(y)) if y.shape == labels.shape else None
    if y.ndim != labels.ndim + 1:
        return None
    # Classes on axis 1 go before classes on the last axis where the shape allows both.
    if y.shape[:1] + y.shape[2:] == labels.shape:
        return _entropy(y / temperature, labels)
    return _entropy(y.movedim(-1, 1) / temperature, labels) if y.shape[:-1] == labels.shape else None


def _entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    classes, low, high = logits.shape[1], int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise UsageError(f"labels run from {low} to {high}, but the output has {classes} classes; number them from 0")
    return cross_entropy(logits, labels.long())
