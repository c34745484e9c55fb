"""How much ``auto_pad`` adds before and after an axis (ONNX Conv-22)."""

from __future__ import annotations


def same_padding(missing: int, *, lower: bool) -> tuple[int, int]:
    """Padding before and after an axis for SAME_UPPER and SAME_LOWER; negative where the input begins later.

    The ONNX text does not say what happens where windows leave more out between them than they need at the ends. ONNX
    Runtime begins later in the input then, as if one more were missing; the numbers here are what it does. What is
    left over behind the last window is not read, and not counted.

    Args:
        missing: entries that windows, one for every stride begun, need beyond those of the axis; negative for spare
            ones.
        lower: of an odd number, the larger part comes first.
    """
    counted = missing if missing >= 0 else missing + 1
    half = abs(counted + lower) // 2
    before = half if missing >= 0 else -half
    return before, max(missing - before, 0)
