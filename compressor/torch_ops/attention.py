"""Attention and what goes with it (ONNX Attention-25, RotaryEmbedding-23, LinearAttention-27)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import onnx_ir as ir
import torch
import torch.nn.functional as F  # noqa: N812 -- the name that torch's own pages use

from compressor.torch_ops.site import Function, FunctionMaker, Site
from compressor.torch_ops.tensors import torch_dtype

Tensor = torch.Tensor


def _heads(x: Tensor, count: int) -> Tensor:
    """(batch, length, heads * size) as (batch, heads, length, size)."""
    return x.reshape(x.shape[0], x.shape[1], count, -1).transpose(1, 2)


@dataclass(frozen=True)
class _Mask:
    """Which keys a query may see, by position."""

    causal: bool
    left: int
    right: int

    def allowed(self, query: Tensor, keys: int, past: int, lengths: Tensor | None) -> Tensor | None:
        """bool[(batch, 1,) queries, keys], or None where everything is allowed."""
        device = query.device
        # Queries come after the keys of the past.
        positions = torch.arange(query.shape[2], device=device)[:, None] + past
        places = torch.arange(keys, device=device)
        found: Tensor | None = None
        if lengths is not None:
            count = lengths.reshape(-1, 1, 1, 1)
            found = places < count
            # Of a padded cache the queries are the last of the keys that count.
            positions = positions - past + count - query.shape[2]
        for used, seen in (
            (self.causal, places <= positions),
            (self.left >= 0, places >= positions - self.left),
            (self.right >= 0, places <= positions + self.right),
        ):
            if used:
                found = seen if found is None else found & seen
        return found


def _bias(mask: Tensor | None, allowed: Tensor | None, keys: int, dtype: torch.dtype) -> Tensor | None:
    """What is added to the scores: minus infinity where a key must not be seen."""
    if mask is not None:
        if mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, float("-inf"))
        # The standard lets a mask be shorter than the keys; what it does not name is not seen.
        if mask.shape[-1] < keys:
            mask = F.pad(mask, [0, keys - mask.shape[-1]], value=float("-inf"))
    if allowed is None:
        return mask
    closed = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(~allowed, float("-inf"))
    return closed if mask is None else mask + closed


def _attention(site: Site) -> Function:
    shape = _Mask(bool(site.get("is_causal", 0)), site.get("left_window_size", -1), site.get("right_window_size", -1))
    heads, softcap, scale = (
        (site.get("q_num_heads"), site.get("kv_num_heads")),
        site.get("softcap", 0.0),
        site.get("scale"),
    )
    precision = site.get("softmax_precision")
    precise = torch_dtype(ir.DataType(precision)) if precision else None
    # The kernel knows neither a cap nor the scores that an output may ask for.
    fused = not softcap and not site.wants(3)

    def run(q: Tensor, k: Tensor, v: Tensor, *rest: Tensor | None) -> object:
        mask, past_k, past_v, lengths = (*rest, None, None, None, None)[:4]
        flat = q.dim() == 3
        if flat:
            q, k, v = _heads(q, heads[0]), _heads(k, heads[1]), _heads(v, heads[1])
        past = 0
        if past_k is not None and past_v is not None:
            past = past_k.shape[2]
            # The past comes first, and both together are handed out as the new past.
            k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
        bias = _bias(mask, shape.allowed(q, k.shape[2], past, lengths), k.shape[2], q.dtype)
        shared = q.shape[1] != k.shape[1]
        scores: object = None
        if fused:
            y = F.scaled_dot_product_attention(q, k, v, bias, scale=scale, enable_gqa=shared)
        else:
            y, scores = _spelled_out(site, q, k, v, bias, precise)
        y = y.transpose(1, 2).flatten(2) if flat else y
        return (y, k, v, scores) if any(site.wanted[1:]) else y

    return run


def _spelled_out(
    site: Site, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, precise: torch.dtype | None
) -> tuple[Tensor, Tensor]:
    """Attention in steps, with the scores of the step that ``qk_matmul_output_mode`` names."""
    softcap, mode = site.get("softcap", 0.0), site.get("qk_matmul_output_mode", 0)
    if q.shape[1] != k.shape[1]:
        k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    # Half of the scale on each side, as the standard has it: the product of large numbers could overflow in 16 bits.
    root = (site.get("scale") or q.shape[-1] ** -0.5) ** 0.5
    scores = (q * root) @ (k * root).transpose(2, 3)
    # In the order of ``qk_matmul_output_mode``: plain, capped, masked, as shares.
    steps = [scores]
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    steps.append(scores)
    if bias is not None:
        scores = scores + bias
    steps.append(scores)
    shares = torch.softmax(scores, -1, dtype=precise).to(q.dtype)
    if bias is not None:
        # Softmax over nothing but minus infinity is NaN; a query that sees nothing gets zeros.
        blind = (bias == float("-inf")).all(-1, keepdim=True)
        shares = torch.where(blind, torch.zeros_like(shares), shares)
    steps.append(shares)
    return shares @ v, steps[mode]


def _rotary(site: Site) -> Function:
    heads, part, woven = site.get("num_heads", 0), site.get("rotary_embedding_dim", 0), site.get("interleaved", 0)

    def run(x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None) -> Tensor:
        whole = x if x.dim() == 4 else _heads(x, heads)
        size = part or whole.shape[-1]
        if positions is not None:
            cos, sin = cos[positions], sin[positions]
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        turned, rest = whole[..., :size], whole[..., size:]
        a, b = (turned[..., 0::2], turned[..., 1::2]) if woven else turned.chunk(2, -1)
        real, imaginary = cos * a - sin * b, sin * a + cos * b
        made = torch.stack([real, imaginary], -1).flatten(-2) if woven else torch.cat([real, imaginary], -1)
        made = torch.cat([made, rest], -1) if rest.shape[-1] else made
        return made if x.dim() == 4 else made.transpose(1, 2).flatten(2)

    return run


def _linear_attention(site: Site) -> Function:
    """A state that each token writes to and reads from; see the standard's page for the four rules."""
    heads, kv_heads = site.get("q_num_heads"), site.get("kv_num_heads")
    rule = site.get("update_rule", "gated_delta")

    def run(q: Tensor, k: Tensor, v: Tensor, *rest: Tensor | None) -> tuple[Tensor, Tensor]:
        past, decay, beta = (*rest, None, None, None)[:3]
        # The state adds up over all tokens, for which 16 bits are too few.
        kind, wide = q.dtype, torch.float64 if q.dtype == torch.float64 else torch.float32
        q, k, v = (_heads(x, n).to(wide) for x, n in ((q, heads), (k, kv_heads), (v, kv_heads)))
        scale = site.get("scale", 0.0) or q.shape[-1] ** -0.5
        state = past.to(wide) if past is not None else q.new_zeros(*k.shape[:2], k.shape[-1], v.shape[-1])
        fades = None if decay is None else _heads(decay, kv_heads).to(wide).exp()
        rates = None if beta is None else beta.transpose(1, 2).unsqueeze(-1).to(wide)
        made = []
        for t in range(q.shape[2]):
            state = _write(
                rule,
                state,
                _Token(
                    k[:, :, t],
                    v[:, :, t],
                    None if fades is None else fades[:, :, t],
                    None if rates is None else rates[:, :, t],
                ),
            )
            read = state.repeat_interleave(heads // kv_heads, 1)
            made.append(torch.einsum("bhk,bhkv->bhv", q[:, :, t], read) * scale)
        y = torch.stack(made, 1).flatten(2).to(kind)
        return y, state.to(past.dtype if past is not None else kind)

    return run


@dataclass(frozen=True)
class _Token:
    """What one token writes: a key and a value, how much of the state stays, and how much of the value is new."""

    key: Tensor
    value: Tensor
    fade: Tensor | None
    rate: Tensor | None


def _at(rates: Tensor | None, token: int) -> Tensor | None:
    return None if rates is None else rates[:, :, token]


def _write(rule: str, state: Tensor, token: _Token) -> Tensor:
    """State of linear attention after one token: what was in it, decayed, plus the token's key times its value."""
    key, value = token.key, token.value
    if token.fade is not None and rule.startswith("gated"):
        state = state * token.fade.unsqueeze(-1)
    if token.rate is not None and rule.endswith("delta"):
        value = token.rate * (value - torch.einsum("bhkv,bhk->bhv", state, key))
    return state + key.unsqueeze(-1) * value.unsqueeze(-2)


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType(
    {
        "Attention": _attention,
        "LinearAttention": _linear_attention,
        "RotaryEmbedding": _rotary,
    }
)
