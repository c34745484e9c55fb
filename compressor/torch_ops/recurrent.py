"""Recurrent layers (ONNX LSTM-22, GRU-22, RNN-22): torch's own kernels where they do the same, else step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812 -- the name that torch's own pages use

from compressor.operators.recurrence import GATE_COUNTS, LENGTHS, PEEPHOLE_GATES, PEEPHOLES, backwards
from compressor.torch_ops.site import Function, FunctionMaker, Site

Tensor = torch.Tensor
Activation = Callable[[Tensor], Tensor]
Cell = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]

_DEFAULTS: Mapping[str, list[str]] = MappingProxyType(
    {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
)
_ORDER: Mapping[str, list[int]] = MappingProxyType({"LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2], "RNN": [0]})
"""ONNX's gates in the order of torch."""

_PLAIN: Mapping[str, Activation] = MappingProxyType(
    {
        "relu": torch.relu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "softsign": F.softsign,
        "softplus": F.softplus,
    }
)
_SCALED: Mapping[str, tuple[Callable[[float, float, Tensor], Tensor], tuple[float, ...]]] = MappingProxyType(
    {
        "affine": (lambda a, b, x: a * x + b, (1.0, 0.0)),
        "elu": (lambda a, _, x: F.elu(x, a), (1.0,)),
        "hardsigmoid": (lambda a, b, x: torch.clamp(a * x + b, 0, 1), (0.2, 0.5)),
        "leakyrelu": (lambda a, _, x: F.leaky_relu(x, a), (0.01,)),
        "scaledtanh": (lambda a, b, x: a * torch.tanh(b * x), (1.0, 1.0)),
        "thresholdedrelu": (lambda a, _, x: torch.where(x > a, x, torch.zeros_like(x)), (1.0,)),
    }
)
"""Activations with one number or two, and their defaults."""


def _activations(site: Site) -> list[Activation]:
    """Those of all directions in order; the numbers given are handed out in this order too."""
    alphas, betas = list(site.get("activation_alpha", [])), list(site.get("activation_beta", []))
    found: list[Activation] = []
    for name in site.get("activations") or _DEFAULTS[site.op_type] * len(backwards(site.get("direction"))):
        key = name.lower()
        if key in _PLAIN:
            found.append(_PLAIN[key])
            continue
        if key not in _SCALED:
            raise site.refuse(f"uses activation {name!r}, which the standard does not know")
        function, defaults = _SCALED[key]
        first = alphas.pop(0) if alphas else defaults[0]
        second = 0.0
        if len(defaults) > 1:
            second = betas.pop(0) if betas else defaults[1]
        found.append(partial(function, first, second))
    return found


def _lstm_cell(site: Site, acts: Sequence[Activation], weights: Sequence[Tensor | None]) -> Cell:
    _, r, _, peep = weights
    f, g, h = acts
    limit, coupled = site.get("clip"), site.get("input_forget", 0)
    # ONNX has peepholes in the order input, output, forget, and weights in input, output, forget, cell.
    p_i, p_o, p_f = peep.chunk(PEEPHOLE_GATES) if peep is not None else (None, None, None)

    def step(x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, cell = state
        i, o, forget, c = (x + F.linear(hidden, _given(r))).chunk(GATE_COUNTS["LSTM"], -1)
        if p_i is not None and p_f is not None:
            # These two look at the cell before the step, the output gate at the one after it.
            i, forget = i + p_i * cell, forget + p_f * cell
        i = f(_clip(i, limit))
        forget = 1 - i if coupled else f(_clip(forget, limit))
        cell = forget * cell + i * g(_clip(c, limit))
        o = o if p_o is None else o + p_o * cell
        return f(_clip(o, limit)) * h(cell), cell

    return step


def _gru_cell(site: Site, acts: Sequence[Activation], weights: Sequence[Tensor | None]) -> Cell:
    """Half of the bias belongs to the hidden state, which matters where the reset gate comes after it."""
    _, r, b, _ = weights
    f, g = acts
    limit, late = site.get("clip"), site.get("linear_before_reset", 0)
    size = _given(r).shape[-1]
    r_gates, r_new = _given(r)[: 2 * size], _given(r)[2 * size :]
    # The hidden bias of the new state alone; the others are added with the input.
    b_new = None if b is None else b[5 * size :]

    def step(x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (hidden,) = state
        z, reset = f(_clip(x[..., : 2 * size] + F.linear(hidden, r_gates), limit)).chunk(2, -1)
        new = reset * F.linear(hidden, r_new, b_new) if late else F.linear(reset * hidden, r_new, b_new)
        new = g(_clip(x[..., 2 * size :] + new, limit))
        return ((1 - z) * new + z * hidden,)

    return step


def _rnn_cell(site: Site, acts: Sequence[Activation], weights: Sequence[Tensor | None]) -> Cell:
    _, r, _, _ = weights
    limit = site.get("clip")

    def step(x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (acts[0](_clip(x + F.linear(state[0], _given(r)), limit)),)

    return step


_CELLS = MappingProxyType({"LSTM": _lstm_cell, "GRU": _gru_cell, "RNN": _rnn_cell})


def _given(value: Tensor | None) -> Tensor:
    assert value is not None
    return value


def _clip(x: Tensor, limit: float | None) -> Tensor:
    return x if limit is None else x.clamp(-limit, limit)


def _projected(kind: str, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """The input's share of all gates, for all steps at once, with every bias that needs no hidden state."""
    if b is None:
        return F.linear(x, w)
    half = b.shape[0] // 2
    hidden = b[half:]
    if kind == "GRU":
        size = half // GATE_COUNTS[kind]
        # This part must stay inside the product with the reset gate.
        hidden = torch.cat([hidden[: 2 * size], torch.zeros_like(hidden[2 * size :])])
    return F.linear(x, w, b[:half] + hidden)


def _backwards(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Steps in reverse; a shorter sequence turns around at its own end."""
    if lengths is None:
        return x.flip(0)
    step = torch.arange(x.shape[0], device=x.device)[:, None]
    places = torch.where(step < lengths, lengths - 1 - step, step)
    return x[places, torch.arange(x.shape[1], device=x.device)]


def _one_way(
    cell: Cell, x: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """All steps of one direction; behind the end of a sequence the output is zero and the state stays."""
    made = []
    for t in range(x.shape[0]):
        new = cell(x[t], state)
        if lengths is not None:
            inside = (t < lengths)[:, None]
            made.append(torch.where(inside, new[0], torch.zeros_like(new[0])))
            state = tuple(torch.where(inside, a, b) for a, b in zip(new, state, strict=True))
        else:
            made.append(new[0])
            state = new
    return torch.stack(made), state


def _by_kernel(site: Site) -> Function | None:
    """Torch's kernel, where activations and biases are as it has them; None where they are not."""
    kind = site.op_type
    names = [n.lower() for n in site.get("activations") or []]
    ways = backwards(site.get("direction"))
    standard = [n.lower() for n in _DEFAULTS[kind]] * len(ways)
    relu = kind == "RNN" and bool(names) and set(names) == {"relu"}
    if (names and names != standard and not relu) or site.get("clip") or site.get("input_forget"):
        return None
    # The kernel knows neither lengths nor peepholes, and has the GRU's reset after the product only.
    if site.has(LENGTHS) or site.has(PEEPHOLES) or (kind == "GRU" and not site.get("linear_before_reset", 0)):
        return None
    name = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn_relu" if relu else "rnn_tanh"}[kind]
    kernel = getattr(torch, name)

    def run(x: Tensor, weights: Sequence[Tensor | None], state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # The last are peepholes, for which this kernel is not taken.
        w, r, b, _ = weights
        flat: list[Tensor] = []
        for d in range(_given(w).shape[0]):
            flat += [_reordered(kind, _given(w)[d]), _reordered(kind, _given(r)[d])]
            flat += [] if b is None else [_reordered(kind, part) for part in b[d].chunk(2)]
        source = x.flip(0) if ways == (True,) else x
        start = state if kind == "LSTM" else state[0]
        y, *last = kernel(source, start, flat, b is not None, 1, 0.0, False, len(ways) == 2, False)
        # Torch puts both directions side by side on the last axis, ONNX on an axis of their own.
        y = y.reshape(*y.shape[:2], len(state[0]), -1).transpose(1, 2)
        return (y.flip(0) if ways == (True,) else y, *last)

    return run


def _reordered(kind: str, x: Tensor) -> Tensor:
    if kind == "RNN":
        return x
    parts = x.chunk(GATE_COUNTS[kind])
    return torch.cat([parts[k] for k in _ORDER[kind]])


def _step_by_step(site: Site) -> Function:
    kind, ways = site.op_type, backwards(site.get("direction"))
    acts = _activations(site)

    def run(
        x: Tensor, weights: Sequence[Tensor | None], state: tuple[Tensor, ...], lengths: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        outputs, ends = [], []
        for d, back in enumerate(ways):
            own = [None if v is None else v[d] for v in weights]
            # Activations of the second direction follow those of the first.
            share = len(acts) // len(state[0])
            cell = _CELLS[kind](site, acts[d * share : (d + 1) * share], own)
            source = _projected(kind, _backwards(x, lengths) if back else x, _given(own[0]), own[2])
            y, end = _one_way(cell, source, tuple(s[d] for s in state), lengths)
            outputs.append(_backwards(y, lengths) if back else y)
            ends.append(end)
        return (torch.stack(outputs, 1), *(torch.stack(parts) for parts in zip(*ends, strict=True)))

    return run


def _recurrent(site: Site) -> Function:
    """Inputs: X, W, R, B, sequence_lens, initial_h, initial_c, P; outputs: Y, Y_h, Y_c."""
    states = 2 if site.op_type == "LSTM" else 1
    batch_first = bool(site.get("layout", 0))
    steps = _step_by_step(site)
    kernel = _by_kernel(site)

    def run(x: Tensor, w: Tensor, r: Tensor, *rest: Tensor | None) -> tuple[Tensor, ...]:
        b, lengths, *given, peepholes = (*rest, None, None, None, None, None)[:5]
        x = x.transpose(0, 1) if batch_first else x
        state = []
        for start in given[:states]:
            if start is None:
                state.append(x.new_zeros(w.shape[0], x.shape[1], r.shape[-1]))
            else:
                state.append(start.transpose(0, 1).contiguous() if batch_first else start)
                # Torch's kernels do not look, and write beyond the state's memory.
                if tuple(state[-1].shape) != (wanted := (w.shape[0], x.shape[1], r.shape[-1])):
                    raise ValueError(f"an initial state has shape {tuple(state[-1].shape)} where {wanted} is needed")
        weights = (w, r, b, peepholes)
        if kernel is not None:
            y, *ends = kernel(x, weights, tuple(state))
        else:
            y, *ends = steps(x, weights, tuple(state), lengths)
        if batch_first:
            return (y.permute(2, 0, 1, 3), *(end.transpose(0, 1) for end in ends))
        return (y, *ends)

    return run


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType({"GRU": _recurrent, "LSTM": _recurrent, "RNN": _recurrent})
