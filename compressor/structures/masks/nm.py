"""N of every M input channels in a row are kept, for each filter and tap: the pattern of sparse tensor cores.

Standard ONNX has no operator for it, so zeros stay in the file, and save time where a runtime looks for the pattern.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from compressor.structures.masks.maker import Energy
from compressor.structures.masks.pieces import Mask

ROW = 4
"""M."""


class NofM:
    """Masks of 3, 2 and 1 of 4; layers whose channels are no multiple of 4 have none."""

    def masks(self, energy: Energy, seed: int) -> Iterator[tuple[str, Mask]]:  # noqa: ARG002 - nothing is drawn
        """Masks that keep 3, 2 and 1 of every four, the densest first; none for channels no multiple of four."""
        out, channels = energy.shape[:2]
        # Sparse cores read whole rows of four.
        if channels % ROW:
            return
        rows = energy.reshape(out, channels // ROW, ROW, -1)
        order = np.argsort(-rows, axis=2, kind="stable")
        for kept in range(ROW - 1, 0, -1):
            mask = np.zeros(rows.shape, np.bool_)
            np.put_along_axis(mask, order[:, :, :kept], True, axis=2)
            yield f"{kept} of {ROW}", mask.reshape(energy.shape)
