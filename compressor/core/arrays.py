"""Types of arrays, for annotations."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
"""Of any elements that numpy knows."""
Floats = npt.NDArray[np.float64]
"""Of real numbers, which are computed with in double precision."""
