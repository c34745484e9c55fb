"""How well gradients pass through a network: singular values of the Jacobian of its outputs by its inputs.

Where their mean is near one the network is trainable; pruning lowers it, and a higher learning rate or more steps make
up for that (dynamical isometry, arXiv 2105.05916).

With ``y`` the outputs and ``x`` the inputs of one sample, flattened, ``J = dy/dx [K, D]`` has ``r = min(K, D)``
singular values. Up to LIMIT outputs all rows are computed, one backward pass each.

Beyond, they are estimated from one random direction ``u`` for each sample, in outputs or in inputs, whichever are
fewer. Golub-Kahan bidiagonalisation makes of it, in STEPS passes back and as many forth, a matrix ``B`` with
``u' f(JJ') u = |u|^2 e' f(BB') e`` for polynomials f up to degree ``2 * STEPS - 1`` (stochastic Lanczos quadrature;
Ubaru, Chen and Saad, SIAM J. Matrix Anal. Appl. 38, 2017). As directions are uniform, f the identity gives in
expectation the mean square of the singular values, and f the square root their mean, but for what the root differs
from a polynomial: it comes out slightly too large. The condition number is that of ``B``, a lower bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import torch

from compressor.core.compare import TINY
from compressor.data import Batch
from compressor.errors import ModelError, UsageError
from compressor.torch_ops.tensors import to_torch

LIMIT = 64
"""Outputs of one sample up to which the Jacobian is computed whole."""
LANCZOS_STEPS = 8
"""Steps of the bidiagonalisation, each a pass back and one forth (which is two)."""

Tensor = torch.Tensor
Pass = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Trainability:
    """Singular values of the Jacobian, over samples.

    Attributes:
        mean: mean singular value.
        std: standard deviation of the singular values of one sample; the mean over samples.
        condition: largest over smallest singular value of one sample; the median over samples, infinite where the
            Jacobian is singular.
        samples: how many.
        exact: False where it is estimated.
    """

    mean: float
    std: float
    condition: float
    samples: int
    exact: bool


def trainability(
    module: torch.nn.Module, batches: Iterable[Batch], *, limit: int = LIMIT, steps: int = LANCZOS_STEPS, seed: int = 0
) -> Trainability:
    """Measures a module in evaluation mode; about 20 batches are enough.

    One batch's graph is held at a time, and of its Jacobian ``limit`` rows or ``2 * steps`` vectors for each sample.

    Args:
        module: its samples do not mix; takes inputs by name. Not changed.
        batches: of a size that the module takes; inputs that are no real numbers are held fixed.
        limit: outputs of one sample up to which the result is exact.
        steps: of the estimate beyond.
        seed: of its directions.

    Raises:
        ModelError: no output depends on a real input, or outputs have no axis for the samples.
        UsageError: there are no samples.
    """
    rows: list[tuple[float, float, float]] = []
    exact = True
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    # Parameters ask for no gradient meanwhile, so that autograd keeps nothing for them.
    with _evaluating(module):
        for batch in batches:
            jacobian = Jacobian(module, {k: to_torch(v).to(device) for k, v in batch.inputs.items()})
            whole = jacobian.rows <= limit
            exact = exact and whole
            rows += _exact(jacobian) if whole else _estimated(jacobian, steps, generator)
    if not rows:
        raise UsageError("there are no samples to measure trainability on; give data")
    means, stds, conditions = zip(*rows, strict=True)
    count = len(rows)
    return Trainability(sum(means) / count, sum(stds) / count, median(conditions), count, exact)


class Jacobian:
    """Products with the Jacobians of all samples of a batch at once.

    Attributes:
        samples: n.
        rows: K, outputs of one sample.
        columns: D, inputs of one sample.
    """

    def __init__(self, module: torch.nn.Module, inputs: dict[str, Tensor]) -> None:
        self._inputs = [v.detach().requires_grad_() for v in inputs.values() if v.is_floating_point()]
        real = iter(self._inputs)
        given = {k: next(real) if v.is_floating_point() else v for k, v in inputs.items()}
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # others have no second derivative
            found = module(**given)
        outputs = found if isinstance(found, tuple) else (found,)
        self._outputs = [y for y in outputs if isinstance(y, Tensor) and y.requires_grad]
        if not self._outputs:
            raise ModelError(
                "no output depends on an input of real numbers, so that there is no Jacobian; leave --trainability out"
            )
        self.samples = len(self._inputs[0])
        for tensor in (*self._inputs, *self._outputs):
            if tensor.dim() == 0 or len(tensor) != self.samples:
                raise ModelError(
                    f"an input or output has shape {list(tensor.shape)}, and there are {self.samples} samples; "
                    "trainability needs the samples on the first axis of all"
                )
        self.rows = sum(y[0].numel() for y in self._outputs)
        self.columns = sum(x[0].numel() for x in self._inputs)
        self._weights: list[Tensor] = []
        self._slopes: list[Tensor] = []

    def back(self, u: Tensor) -> Tensor:
        """Vector-Jacobian products ``J' u``: float[n, K] of outputs -> float[n, D] of inputs."""
        found = torch.autograd.grad(
            self._outputs, self._inputs, _split(u, self._outputs), retain_graph=True, allow_unused=True
        )
        return _joined(found, self._inputs)

    def forth(self, v: Tensor) -> Tensor:
        """``J v``: [n, D] -> [n, K]; the derivative of ``J' u``, which is linear in u, by u."""
        # Made once and kept: products with J share the one graph of ``J' u``, where u does not matter as it is
        # linear.
        if not self._weights:
            self._weights = [torch.zeros_like(y, requires_grad=True) for y in self._outputs]
            found = torch.autograd.grad(
                self._outputs, self._inputs, self._weights, create_graph=True, allow_unused=True
            )
            self._slopes = [torch.zeros_like(x) if g is None else g for x, g in zip(self._inputs, found, strict=True)]
        # A slope that does not depend on u is zero, and autograd refuses to differentiate it.
        pairs = [(g, w) for g, w in zip(self._slopes, _split(v, self._inputs), strict=True) if g.requires_grad]
        slopes, directions = zip(*pairs, strict=True)
        back = torch.autograd.grad(slopes, self._weights, directions, retain_graph=True, allow_unused=True)
        return _joined(back, self._weights)


def _exact(jacobian: Jacobian) -> list[tuple[float, float, float]]:
    """Mean, standard deviation and condition number for each sample, from all rows."""
    basis = torch.eye(jacobian.rows)
    rows = [jacobian.back(e.expand(jacobian.samples, -1)).double().cpu() for e in basis]
    values = torch.linalg.svdvals(torch.stack(rows, 1))
    spread, largest, smallest = values.std(1, correction=0), values[:, 0], values[:, -1]
    return _listed(values.mean(1), spread, _condition(largest, smallest))


def _estimated(jacobian: Jacobian, steps: int, generator: torch.Generator) -> list[tuple[float, float, float]]:
    """The same by quadrature, from one direction for each sample."""
    # On the side with fewer directions: there the Gram matrix has no zeros that would count as singular values.
    wide = jacobian.rows <= jacobian.columns
    rank = jacobian.rows if wide else jacobian.columns
    there, again = (jacobian.back, jacobian.forth) if wide else (jacobian.forth, jacobian.back)
    # A normal vector, scaled to length one later, has a uniform direction.
    start = torch.randn(jacobian.samples, rank, generator=generator, dtype=torch.float64)
    # The squares of the first row of singular vectors are the weights of the quadrature.
    left, values, _ = torch.linalg.svd(_bidiagonal(there, again, start, min(steps, rank)))
    shares = left[:, 0, :].square()
    mean = (shares * values).sum(1)
    square = (shares * values.square()).sum(1)
    # Rounding, and the quadrature of the root, can make the difference slightly negative.
    spread = (square - mean.square()).clamp(min=0).sqrt()
    return _listed(mean, spread, _condition(values[:, 0], values[:, -1]))


def _bidiagonal(there: Pass, again: Pass, start: Tensor, steps: int) -> Tensor:
    """Lower bidiagonal matrices [n, steps, steps] (Golub and Kahan 1965), fully reorthogonalised, in float64.

    ``there`` takes vectors of the side of ``start`` to the other side, ``again`` takes them back.
    """
    found = torch.zeros(len(start), steps, steps, dtype=torch.float64)
    u, _ = _unit(start)
    us, vs = [u], list[Tensor]()
    for k in range(steps):
        v, found[:, k, k] = _unit(_without(there(us[-1]).double().cpu(), vs))
        vs.append(v)
        if k + 1 < steps:
            u, found[:, k + 1, k] = _unit(_without(again(v).double().cpu(), us))
            us.append(u)
    return found


def _unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors of length one, zero where they vanish, and their lengths."""
    length = vectors.norm(dim=1)
    # A vector that vanishes (the space is exhausted) stays zero instead of becoming NaN.
    return vectors / length.clamp(min=TINY)[:, None], length


def _without(vectors: Tensor, basis: list[Tensor]) -> Tensor:
    """Minus what lies in the span of orthonormal vectors; twice, as once leaves rounding."""
    if basis:
        columns = torch.stack(basis, 2)
        for _ in range(2):
            vectors = vectors - (columns @ (columns.mT @ vectors[..., None]))[..., 0]
    return vectors


def _condition(largest: Tensor, smallest: Tensor) -> Tensor:
    """Infinite where the smallest is lost in rounding."""
    # Below the rounding of float32, in which the passes run, the number is noise.
    lost = smallest <= largest * 1e-6
    return torch.where(lost, torch.inf, largest / smallest)


def _listed(*columns: Tensor) -> list[tuple[float, float, float]]:
    return [(float(a), float(b), float(c)) for a, b, c in zip(*columns, strict=True)]


def _split(rows: Tensor, like: list[Tensor]) -> list[Tensor]:
    """[n, total] as tensors shaped as ``like``."""
    parts = torch.split(rows, [t[0].numel() for t in like], 1)
    return [p.to(t.device, t.dtype).reshape(t.shape) for p, t in zip(parts, like, strict=True)]


def _joined(parts: Iterable[Tensor | None], like: list[Tensor]) -> Tensor:
    """The inverse of :func:`_split`; zeros for what is missing."""
    full = [torch.zeros_like(t) if p is None else p for p, t in zip(parts, like, strict=True)]
    return torch.cat([p.flatten(1) for p in full], 1)


@contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """In evaluation mode, with parameters that ask for no gradients."""
    training, asking = module.training, [p for p in module.parameters() if p.requires_grad]
    module.eval()
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        module.train(training)
        for parameter in asking:
            parameter.requires_grad_(True)
