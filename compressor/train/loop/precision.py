"""Mixed precision, and the memory layout of images."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from compressor.config.training import TrainingSection


class Precision:
    """In which type products are computed; weights, gradients and the loss stay as they are.

    On CUDA ``auto`` takes bfloat16 where the GPU has it and float16 with a scaled loss where not; on the CPU it
    takes nothing, and bfloat16 when asked.
    """

    def __init__(self, device: torch.device, settings: TrainingSection) -> None:
        cuda = device.type == "cuda"
        self.on = settings.amp == "bf16" or (settings.amp == "auto" and cuda)
        # float16 needs its loss scaled, as small gradients vanish in it; bfloat16 has the exponents of float32.
        wide = settings.amp == "bf16" or not cuda or torch.cuda.is_bf16_supported()
        self._dtype, self._kind = torch.bfloat16 if wide else torch.float16, device.type
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.on and not wide)

    def autocast(self) -> AbstractContextManager[None]:
        """What the forward pass runs in."""
        return torch.autocast(self._kind, self._dtype, enabled=self.on)


def prefers_channels_last(module: torch.nn.Module) -> bool:
    """Are there kernels of two spatial axes, which both oneDNN and cuDNN compute faster with channels last?"""
    # Kernels with one channel on an axis, as depthwise ones have, do not decide for it.
    return any(p.dim() == 4 and min(p.shape[:2]) > 1 for p in module.parameters())


def set_memory_format(module: torch.nn.Module, channels_last: bool) -> None:
    """Stores kernels of two spatial axes with their channels last, or as they were made; shapes stay."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for parameter in module.parameters():
        if parameter.dim() == 4:
            # The data and not the parameter is replaced, so that optimisers and bindings keep the same object.
            parameter.data = parameter.data.contiguous(memory_format=layout)
