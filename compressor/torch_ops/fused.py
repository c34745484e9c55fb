"""What exporters take apart and torch has one kernel for; :mod:`compressor.graph.form.fuse` finds the places."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812 -- the name that torch's own pages use

from compressor.torch_ops.site import Function, FunctionMaker, Site, plain

Tensor = torch.Tensor


def _linear(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """A product with a matrix in ONNX's layout, and a bias."""
    # The graph has [in, out], torch's kernel wants [out, in]; the transpose is a view.
    return F.linear(x, w.t(), b)


def _attention(site: Site) -> Function:
    """Softmax(q @ kt * scale + mask) @ v, in one kernel where the operands are plain batches of heads."""
    scale = site.get("scale")

    def run(q: Tensor, kt: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        if _is_batch_of_heads(q, kt, v, mask):
            whole = q.dim() == 4
            operands = (q, kt.mT, v) if whole else (q[None], kt.mT[None], v[None])
            y = F.scaled_dot_product_attention(*operands, mask, scale=scale)
            return y if whole else y[0]
        scores = q @ kt * scale
        scores = scores if mask is None else scores + mask
        return torch.softmax(scores, -1) @ v

    return run


def _is_batch_of_heads(q: Tensor, kt: Tensor, v: Tensor, mask: Tensor | None) -> bool:
    heads = q.shape[:-2]
    if q.dim() not in (3, 4) or kt.shape[:-2] != heads or v.shape[:-2] != heads:
        return False
    if mask is None:
        return True
    scores = (*heads, q.shape[-2], kt.shape[-1])
    # The kernel reads a boolean mask as which keys may be seen, and refuses other types than that of q.
    if mask.dtype != q.dtype or mask.dim() > len(scores):
        return False
    return all(a in (1, b) for a, b in zip(reversed(mask.shape), reversed(scores), strict=False))


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType({"Attention": _attention, "Linear": plain(_linear)})
