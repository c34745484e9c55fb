"""Fourier transforms, each channel by itself (ONNX DFT-20, DFT-17, STFT-17)."""

from __future__ import annotations

from compressor.graph.ir.nodes import optional_input
from compressor.graph.ir.opsets import dft_axis
from compressor.operators.operator import Operator
from compressor.operators.signature import Call


def _transformed(call: Call) -> str:
    """The axis that is transformed and the last one, of real and imaginary part, stay; all others run along."""
    rank = len(call.shape(0))
    if optional_input(call.node, 2) is not None:
        axis = int(call.const(2, "the axis").ravel()[0])
    else:
        axis = call.attribute("axis", -2 if call.coupling is None else dft_axis(call.coupling.opset))
    names = [f"a{a}" for a in range(rank - 1)]
    before, after = list(names), list(names)
    before[axis % rank], after[axis % rank] = "[t]", "[f]"
    return f"{' '.join(before)} [r] -> {' '.join(after)} [q]"


OPERATORS = (
    Operator("DFT", signature=_transformed, host=(1, 2), spectral=True),
    # Its only axes are the batch, time, and real and imaginary part.
    Operator("STFT", host=(1, 3), settings=(2,), spectral=True),
)
