"""Windows that slide over spatial axes: their paddings and how often they fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from compressor.operators.padding import same_padding
from compressor.torch_ops.site import Site

Ints = list[int]


@dataclass(frozen=True)
class Windows:
    """Attributes of a convolution or pooling node; ``auto`` is ``NOTSET``, ``VALID``, ``SAME_UPPER`` or ``SAME_LOWER``.

    An empty list means the default, which depends on the number of spatial axes.
    """

    strides: Ints
    dilations: Ints
    pads: Ints
    auto: str
    ceil_mode: bool

    @staticmethod
    def of(site: Site) -> Windows:
        """Reads the attributes of a node."""
        return Windows(
            list(site.get("strides", [])),
            list(site.get("dilations", [])),
            list(site.get("pads", [])),
            site.get("auto_pad", "NOTSET") or "NOTSET",
            bool(site.get("ceil_mode", 0)),
        )

    @property
    def symmetric(self) -> bool:
        """Are the paddings known and equal on both sides?"""
        half = len(self.pads) // 2
        return self.auto in ("NOTSET", "VALID") and (self.auto == "VALID" or self.pads[:half] == self.pads[half:])

    @property
    def begin(self) -> Ints:
        """Paddings before, one entry for all axes where none are given."""
        half = len(self.pads) // 2
        return self.pads[:half] if self.auto == "NOTSET" and half else [0]

    def paddings(self, sizes: Sequence[int], kernel: Sequence[int]) -> list[tuple[int, int]]:
        """Padding before and after each axis of these sizes."""
        rank = len(sizes)
        if self.auto == "VALID":
            return [(0, 0)] * rank
        if self.auto == "NOTSET":
            pads = self.pads or [0] * (2 * rank)
            return [(pads[k], pads[k + rank]) for k in range(rank)]
        found = []
        for size, taps, stride, dilation in zip(sizes, kernel, self.steps(rank), self.spread(rank), strict=True):
            # What is missing for the output to have one position for every stride begun.
            missing = (ceil(size / stride) - 1) * stride + dilation * (taps - 1) + 1 - size
            found.append(same_padding(missing, lower=self.auto == "SAME_LOWER"))
        return found

    def steps(self, rank: int) -> Ints:
        """The stride along each axis."""
        return self.strides or [1] * rank

    def spread(self, rank: int) -> Ints:
        """The dilation along each axis."""
        return self.dilations or [1] * rank

    def filled(
        self, sizes: Sequence[int], kernel: Sequence[int], pads: Sequence[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        """Paddings that make every window fit, those which only begin inside of the padded input included.

        Windows that would begin in the padding after the input are left out (ONNX AveragePool-22).
        """
        rank = len(sizes)
        found = []
        for size, taps, (before, after), stride, dilation in zip(
            sizes, kernel, pads, self.steps(rank), self.spread(rank), strict=True
        ):
            extent = dilation * (taps - 1) + 1
            room = size + before + after - extent
            count = (ceil(room / stride) if self.ceil_mode else room // stride) + 1
            if self.ceil_mode and (count - 1) * stride >= size + before:
                count -= 1
            need = (count - 1) * stride + extent
            found.append((before, max(after, need - size - before)))
        return found


def flat(pads: Sequence[tuple[int, int]]) -> Ints:
    """Paddings in the order of ``torch.nn.functional.pad``: the last axis first."""
    return [n for pair in reversed(pads) for n in pair]
