"""Linear over-parameterisation: a weight is trained as a product of three, and merged afterwards (arXiv 2204.11444).

A kernel ``W [o, i, *k]`` is trained as ``B [o, p] M [p, q, *k] A [q, i]`` with ``p >= o`` and ``q >= i``: a
convolution of 1, one of k and one of 1 with nothing in between, of which only the product is computed. The start is
equivalent: ``A`` has random orthonormal columns, ``B`` random orthonormal rows, so that ``M = B' W A'`` gives
``B M A = W``. Groups have products of their own. What is trained has the initializer's name and a part of it:
``conv.weight.left``, ``conv.weight.middle``, ``conv.weight.right``.

A gradient step moves all three at once. With gradient ``G`` of the weight, the middle one alone moves it as plain
training does, ``-rate G``; the outer two add about as much each where singular values of ``W`` are about one. So
:class:`Damping` divides the learning rate of the factors by three.

Not together with anything that looks for the weight itself while it is trained: masks, decay, unification.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil, prod

import onnx_ir as ir
import torch

from compressor.errors import UsageError
from compressor.graph.form.normalise import normalise
from compressor.graph.ir.movement import Movement
from compressor.operators.table import operator_of
from compressor.train.loop.extension import Extension
from compressor.train.loop.optimizer import set_apart
from compressor.train.module.graph_module import GraphModule
from compressor.train.module.scalable_layers import is_matrix
from compressor.train.module.trainable import parameters

FACTORS = 3
"""Of one weight; each moves it about as far as plain training would, see above."""


class WeightProduct(torch.nn.Module):
    """A weight as a product.

    Args:
        weight: [groups * rows, columns, *taps]; the kernel or matrix, not changed.
        groups: blocks of rows that have factors of their own.
        expansion: channels between the factors, as a multiple of those outside.
        generator: of the random directions.
    """

    left: torch.nn.Parameter
    middle: torch.nn.Parameter
    right: torch.nn.Parameter

    def __init__(self, weight: torch.Tensor, groups: int, expansion: float, generator: torch.Generator) -> None:
        super().__init__()
        self._shape, self._groups = tuple(weight.shape), groups
        rows, columns, taps = weight.shape[0] // groups, weight.shape[1], prod(weight.shape[2:])
        # In float64, so that the product of the factors gives the weight back to rounding.
        wide = weight.detach().cpu().double().reshape(groups, rows, columns, taps)
        left = _orthonormal(groups, ceil(expansion * rows), rows, generator).mT
        right = _orthonormal(groups, ceil(expansion * columns), columns, generator)
        middle = torch.einsum("gop,goit,gqi->gpqt", left, wide, right).flatten(2)
        for name, factor in (("left", left), ("middle", middle), ("right", right)):
            like = factor.to(weight.dtype).to(weight.device).contiguous()
            self.register_parameter(name, torch.nn.Parameter(like))

    def forward(self) -> torch.Tensor:
        """The weight, in its own shape."""
        # Products of factors in 16 bits would round away what a small step changes.
        with torch.autocast(self.middle.device.type, enabled=False):
            return self._product(self.left, self.middle, self.right)

    def merged(self) -> torch.Tensor:
        """The weight, multiplied in float64, in the type of the factors."""
        with torch.no_grad():
            return self._product(self.left.double(), self.middle.double(), self.right.double()).to(self.left.dtype)

    def _product(self, left: torch.Tensor, middle: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        inner = left @ middle
        inner = inner.reshape(*inner.shape[:2], right.shape[1], -1)
        found = torch.einsum("goqt,gqi->goit", inner, right)
        return found.reshape(self._shape)


def _orthonormal(count: int, rows: int, columns: int, generator: torch.Generator) -> torch.Tensor:
    """``count`` matrices with orthonormal columns."""
    # The Q of a normal matrix is a random orthonormal one, without a preferred direction.
    normal = torch.randn(count, rows, columns, generator=generator, dtype=torch.float64)
    basis: torch.Tensor = torch.linalg.qr(normal).Q
    return basis


class _Source:
    """Stands where a module keeps a parameter, and gives the product."""

    def __init__(self, product: WeightProduct) -> None:
        self.product = product

    def __getitem__(self, _: str) -> torch.Tensor:
        found: torch.Tensor = self.product()
        return found


@dataclass(frozen=True)
class ModuleExpansion:
    """What was done to a module.

    Attributes:
        names: weights that are products now.
        skipped: weights of linear layers that are not, and why.
    """

    names: tuple[str, ...]
    skipped: Mapping[str, str]


def overparameterise(
    module: GraphModule,
    model: ir.Model,
    *,
    expansion: float = 2.0,
    seed: int = 0,
) -> ModuleExpansion:
    """Turns weights of convolutions and matrix products into products, in place; :func:`merge` takes it back.

    Args:
        module: made of ``model``.
        model: shows which weights are kernels, and of how many groups.
        expansion: channels between the factors, as a multiple of those outside; at least 1.
        seed: of the random directions; the same gives the same, so that a run can be resumed.

    Raises:
        UsageError: the expansion is smaller than 1.
    """
    if expansion < 1:
        raise UsageError(f"expansion {expansion:g} would lose rank; give 1 or more")
    groups, skipped = _groups(normalise(model.clone()).graph)
    generator = torch.Generator().manual_seed(seed)
    # In a fixed order, as all products draw from one generator.
    for name, count in groups.items():
        _replace(module, name, WeightProduct(module.tensors()[name], count, expansion, generator))
    return ModuleExpansion(tuple(groups), skipped)


def merge(module: GraphModule) -> None:
    """Multiplies the factors into parameters of the old names and shapes, in place."""
    for name, index in module._order.items():
        source, last = module._bound[index]
        if isinstance(source, _Source):
            # Under the old name again, so that everything that knows the weight finds it.
            holder = _holder(module, name)
            del holder._modules[last]
            holder._parameters[last] = torch.nn.Parameter(source.product.merged())
            module._bound[index] = (holder._parameters, last)


class Damping(Extension):
    """Divides the learning rate of factors by their number."""

    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:  # noqa: ARG002
        """Gives the factors groups of their own in the optimiser."""
        factors = {p for m in module.modules() if isinstance(m, WeightProduct) for p in m.parameters()}
        set_apart(optimiser, factors, 1 / FACTORS)


# ---- which weights --------------------------------------------------------------------------------------------


def _groups(graph: ir.Graph) -> tuple[dict[str, int], dict[str, str]]:
    """Groups of each weight that can be a product, and why others cannot."""
    found: dict[str, int] = {}
    skipped: dict[str, str] = {}
    trained = parameters(graph)
    for value in graph.initializers.values():
        name, tensor = str(value.name), value.const_value
        if value not in trained or tensor is None:
            continue
        uses = list(_uses(value))
        if not any(_is_weight(node, index) for node, index in uses):
            continue
        shape = [int(n) for n in tensor.shape.numpy()]
        counts = {node.attributes.get_int("group", 1) for node, _ in uses}
        if not all(_is_weight(node, index) for node, index in uses) or len(counts) > 1:
            skipped[name] = f"its readers use it differently ({', '.join(sorted({node.op_type for node, _ in uses}))})"
        elif len(shape) < 2 or (len(shape) > 2 and all(is_matrix(node) for node, _ in uses)):
            skipped[name] = "it is no matrix"
        elif min(shape[0] // max(counts), shape[1]) < 2:
            skipped[name] = "it has one channel on a side, which leaves nothing to expand"
        else:
            found[name] = max(counts)
    return found, skipped


def _uses(value: ir.Value) -> Iterable[tuple[ir.Node, int]]:
    """What reads the value, as it is or with its axes in another order."""
    for node, index in value.uses():
        if operator_of(node).movement in (Movement.COPY, Movement.AXES):
            yield from _uses(node.outputs[0])
        else:
            yield node, index


def _is_weight(node: ir.Node, index: int) -> bool:
    return operator_of(node).has_kernel and (index == 1 or (index == 0 and is_matrix(node)))


# ---- its place in the module ----------------------------------------------------------------------------------


def _replace(module: GraphModule, name: str, product: WeightProduct) -> None:
    """Puts the product where the parameter was; the key of the parameter stays, empty, so that the order does."""
    holder, index = _holder(module, name), module._order[name]
    last = name.rpartition(".")[2]
    if last in holder._modules:
        raise UsageError(f"weight {name!r} cannot be a product: other names begin with it; rename it")
    holder._parameters[last] = None
    holder._modules[last] = product
    module._bound[index] = (_Source(product), last)  # type: ignore[assignment]


def _holder(module: torch.nn.Module, name: str) -> torch.nn.Module:
    """The module that keeps a parameter, as :class:`GraphModule` nests them."""
    for part in name.split(".")[:-1]:
        inner = module._modules[part]
        assert inner is not None
        module = inner
    return module
