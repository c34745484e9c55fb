"""Fourier transforms and what is needed around them (ONNX DFT-20, STFT-17, HannWindow-17, MelWeightMatrix-17)."""

from __future__ import annotations

from collections.abc import Mapping
from math import log, pi
from types import MappingProxyType

import numpy as np
import onnx_ir as ir
import torch
import torch.nn.functional as F  # noqa: N812 -- the name that torch's own pages use

from compressor.graph.ir.opsets import dft_axis
from compressor.torch_ops.site import Function, FunctionMaker, Site, Told, positive
from compressor.torch_ops.tensors import torch_dtype

Tensor = torch.Tensor


def _dft(site: Site) -> Function:
    """The last axis holds real and imaginary part, or the real one alone."""
    inverse, half = bool(site.get("inverse", 0)), bool(site.get("onesided", 0))
    length, along = site.reader(1), site.reader(2, "axis")

    def run(x: Tensor, size: Tensor | None = None, axis: Tensor | None = None) -> Tensor:
        dim: int = positive((along(axis) or [dft_axis(site.opset)])[0], x.dim())
        count: int | None = (length(size) or [None])[0]
        # Torch views pairs as complex numbers in contiguous memory only.
        signal = torch.view_as_complex(x.contiguous()) if x.shape[-1] == 2 else x.squeeze(-1)
        if inverse and half:
            real: Tensor = torch.fft.irfft(signal, count, dim)
            return real.unsqueeze(-1)
        if inverse:
            return torch.view_as_real(torch.fft.ifft(signal, count, dim))
        if half and not signal.is_complex():
            return torch.view_as_real(torch.fft.rfft(signal, count, dim))
        found = torch.fft.fft(signal, count, dim)
        return torch.view_as_real(found.narrow(dim, 0, found.shape[dim] // 2 + 1) if half else found)

    return run


def _stft(site: Site) -> Function:
    """Frames that fit whole, each times the window, transformed."""
    half = bool(site.get("onesided", 1))
    step_of, length_of = site.reader(1), site.reader(3)

    def run(x: Tensor, step: Tensor | None, window: Tensor | None = None, length: Tensor | None = None) -> Tensor:
        if x.dim() == 2:
            x = x.unsqueeze(-1)
        size = (length_of(length) or [None])[0] or (window.shape[0] if window is not None else x.shape[1])
        signal = torch.view_as_complex(x.contiguous()) if x.shape[-1] == 2 else x.squeeze(-1)
        frames = signal.unfold(1, size, (step_of(step) or [1])[0])
        if window is not None:
            # A window shorter than the frame is filled up with zeros at its end.
            frames = frames * F.pad(window, [0, size - window.shape[0]])
        if half and not frames.is_complex():
            return torch.view_as_real(torch.fft.rfft(frames))
        return torch.view_as_real(torch.fft.fft(frames))

    return run


def _window(*shares: float) -> FunctionMaker:
    """A sum of cosines, a period of which is the window."""

    def make(site: Site) -> Function:
        dtype = torch_dtype(ir.DataType(site.get("output_datatype", 1)))
        periodic, read = bool(site.get("periodic", 1)), site.reader(0)

        def run(device: torch.device, size: Tensor | None) -> Tensor:
            count = (read(size) or [0])[0]
            # In float64, and cast once at the end.
            turn = torch.arange(count, dtype=torch.float64) * (2 * pi / max(count - (not periodic), 1))
            total = sum((share * torch.cos(k * turn) for k, share in enumerate(shares)), torch.zeros(count))
            return total.to(device, dtype)

        return run

    return make


def _mel(site: Site) -> Function:
    """Triangles over the bins of a spectrum, spaced evenly in mel."""
    dtype = torch_dtype(ir.DataType(site.get("output_datatype", 1)))
    readers = [site.reader(k) for k in range(5)]

    def run(device: torch.device, *given: Tensor | None) -> Tensor:
        count, size, rate, low, high = ((read(t) or [0])[0] for read, t in zip(readers, given, strict=True))
        ends = [2595 * np.log1p(edge / 700) / log(10) for edge in (low, high)]
        mel = ends[0] + np.arange(count + 2) * (ends[1] - ends[0]) / (count + 2)
        bins = ((size + 1) * (700 * np.expm1(mel / 2595 * log(10))) // rate).astype(np.int64)
        table = np.zeros((size // 2 + 1, count))
        for k in range(count):
            left, middle, right = bins[k : k + 3]
            # A triangle without a width still has its peak.
            if left == middle:
                table[middle, k] = 1
            for j in range(left, middle + 1 if left < middle else left):
                table[j, k] = (j - left) / (middle - left)
            for j in range(middle, right):
                table[j, k] = (right - j) / (right - middle)
        return torch.from_numpy(table).to(device, dtype)

    return run


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType(
    {
        "BlackmanWindow": Told(_window(0.42, -0.5, 0.08)),
        "DFT": _dft,
        "HammingWindow": Told(_window(25 / 46, -21 / 46)),
        "HannWindow": Told(_window(0.5, -0.5)),
        "MelWeightMatrix": Told(_mel),
        "STFT": _stft,
    }
)
