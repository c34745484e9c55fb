"""The look-up table: measured times of operators at some widths, and what they say of the widths between."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from compressor.core.arrays import Floats
from compressor.evaluate.attribution import attributed
from compressor.pruning.budgets.parts import OperatorChain, Sizes, operators_by_name

TABLE_SCHEMA = 1
NEAR_SIZES = 1e-2
"""Distance in the logarithm of the sizes up to which measurements are taken for one."""


class Table:
    """Times by operator and by the sizes that it had, as shares of a run of the whole original.

    Shares, because they were measured in turns with the original: they hold when the machine runs faster or slower.
    """

    def __init__(self, points: Mapping[str, Iterable[tuple[Sizes, float]]] | None = None) -> None:
        self._points = {name: list(found) for name, found in (points or {}).items()}
        self._known: dict[tuple[str, Sizes], float] = {}
        self._rates: dict[str, tuple[Floats, Floats]] = {}

    def learn(self, parts: Iterable[OperatorChain], gone: list[float], times: Mapping[str, float]) -> None:
        """Takes up the times of one run.

        Args:
            parts: the operators of the graph.
            gone: the share of its units that each group had lost.
            times: share by the name of what ran, in the order in which it ran.
        """
        parts = list(parts)
        shares = attributed(times, operators_by_name(parts))
        for part in parts:
            self._points.setdefault(part.name, []).append((part.sizes(gone), shares.get(part.name, 0.0)))
        # Every time in between depends on all points of its operator.
        self._known.clear()
        self._rates.clear()

    def holds(self, parts: Iterable[OperatorChain], gone: list[float]) -> bool:
        """Was every operator timed at these very sizes?"""
        return all(any(sizes == part.sizes(gone) for sizes, _ in self._points.get(part.name, ())) for part in parts)

    def share(self, part: OperatorChain, gone: list[float]) -> float:
        """The time of an operator, as a share of a run of the original.

        Time per work varies little between neighbouring sizes, so that it is averaged over what was measured, the
        nearest counting most (Shepard 1968), and multiplied by the work; distance is that of the logarithms.
        """
        sizes = part.sizes(gone)
        if (part.name, sizes) not in self._known:
            self._known[part.name, sizes] = self._interpolated(part, sizes)
        return self._known[part.name, sizes]

    def _interpolated(self, part: OperatorChain, sizes: Sizes) -> float:
        if part.name not in self._rates:
            points = self._points[part.name]
            # Time for each unit of work varies slowly, while time itself varies with the product of the widths.
            rates = np.asarray([share / max(part.work(at), 1.0) for at, share in points])
            logs = np.log(np.asarray([at for at, _ in points], np.float64).reshape(len(points), -1))
            self._rates[part.name] = logs, rates
        logs, rates = self._rates[part.name]
        # NEAR keeps the weight finite at a measured point, and averages points that are nearly the same.
        weights = (((logs - np.log(sizes)) ** 2).sum(axis=1) + NEAR_SIZES**2) ** -2.0
        return float(weights @ rates / weights.sum()) * part.work(sizes)

    def to_json(self, made_for: Mapping[str, Any]) -> str:
        """The table as JSON text, with what it holds for."""
        points = {name: [[list(sizes), share] for sizes, share in found] for name, found in self._points.items()}
        return json.dumps({"schema": TABLE_SCHEMA, "made_for": dict(made_for), "points": points}) + "\n"

    @staticmethod
    def from_json(text: str, made_for: Mapping[str, Any]) -> Table:
        """Reads :meth:`to_json`; raises ValueError where the text is no table, or one for something else."""
        try:
            data = json.loads(text)
            if data["schema"] != TABLE_SCHEMA or data["made_for"] != dict(made_for):
                raise ValueError("a table for something else")
            points = {
                str(name): [(tuple(int(n) for n in sizes), float(share)) for sizes, share in found]
                for name, found in data["points"].items()
            }
        except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise ValueError(f"no table: {error}") from None
        # The file may have been edited; a NaN, which compares as false, is refused here too.
        if any(not 0 <= share < np.inf for found in points.values() for _, share in found):
            raise ValueError("a table with times that cannot be")
        return Table(points)
