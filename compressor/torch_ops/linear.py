"""Matrix products (ONNX MatMul-13, Gemm-13, Einsum-12 and the integer forms)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812 -- the name that torch's own pages use

from compressor.torch_ops.quant import requantise
from compressor.torch_ops.site import Function, FunctionMaker, Site, plain

Tensor = torch.Tensor


def _gemm(site: Site) -> Function:
    """Where the weight is transposed and nothing is scaled this is a linear layer in torch's own layout."""
    alpha, beta = site.get("alpha", 1.0), site.get("beta", 1.0)
    flip_a, flip_b = bool(site.get("transA", 0)), bool(site.get("transB", 0))
    general = partial(_general, _Gemm(alpha, beta, flip_a, flip_b))
    if alpha != 1 or beta != 1 or flip_a or not flip_b:
        return general

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        # The kernel takes a bias of one number an output only; Gemm's may be anything that broadcasts.
        if c is None or (c.dim() == 1 and c.shape[0] == b.shape[0] and a.is_floating_point()):
            return F.linear(a, b, c)
        return general(a, b, c)

    return run


@dataclass(frozen=True)
class _Gemm:
    """Attributes of a Gemm: factors of the product and of what is added, and which operands are turned."""

    alpha: float
    beta: float
    flip_a: bool
    flip_b: bool


def _general(gemm: _Gemm, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    # Torch refuses fractional factors for integers.
    whole = not a.is_floating_point()
    alpha, beta = (int(gemm.alpha), int(gemm.beta)) if whole else (gemm.alpha, gemm.beta)
    a, b = a.t() if gemm.flip_a else a, b.t() if gemm.flip_b else b
    if c is None:
        product = a @ b
        return product if alpha == 1 else product * alpha
    if a.is_floating_point() and c.dtype == a.dtype:
        return torch.addmm(c, a, b, beta=beta, alpha=alpha)
    return (a @ b) * alpha + c * beta


def _einsum(site: Site) -> Function:
    equation = site.get("equation").replace(" ", "")
    return lambda *operands: torch.einsum(equation, *operands)


def _zero_point(zero: Tensor | None, rows: bool) -> Tensor | int:
    """A zero point as a number to subtract: one for all, one a row of A, or one a column of B."""
    if zero is None:
        return 0
    wide = zero.to(torch.int32)
    # A zero point for each row of A needs an axis for the columns behind it.
    return wide[..., None] if rows and zero.dim() == 1 and zero.numel() > 1 else wide


def _product(a: Tensor, b: Tensor) -> Tensor:
    """An exact product of 32-bit integers, which a GPU has no kernel for: by way of float64."""
    if a.device.type == "cpu":
        return torch.matmul(a, b)
    return torch.matmul(a.double(), b.double()).to(torch.int32)


def _matmul_integer(a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None) -> Tensor:
    left = a.to(torch.int32) - _zero_point(a_zero, rows=True)
    return _product(left, b.to(torch.int32) - _zero_point(b_zero, rows=False))


def _qlinear_matmul(*given: Tensor) -> Tensor:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = given
    total = _matmul_integer(a, b, a_zero, b_zero)
    scale = a_scale.double() * b_scale.double() / y_scale.double()
    return requantise(total * scale, y_zero)


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType(
    {
        "Det": plain(torch.linalg.det),
        "Einsum": _einsum,
        "Gemm": _gemm,
        "MatMul": plain(torch.matmul),
        "MatMulInteger": plain(_matmul_integer),
        "QLinearMatMul": plain(_qlinear_matmul),
    }
)
