"""The proximal map of the envelope of "at most k groups are not zero" (arXiv 2212.12921), for numpy and torch alike.

``s_k(d) = min 1/2 Σ ‖d_g‖² / u_g`` over ``0 <= u <= 1, Σ u <= k`` is the convex envelope of ``1/2 ‖d‖²`` where at most
k of the groups ``d_g`` are not zero. Its proximal map of strength h leaves ``u_g / (h + u_g)`` of each, with
``u_g = clip(t ‖d_g‖ - h, 0, 1)`` and t such that ``Σ u = k``: those up to ``h / t`` vanish, the largest stay but for
``1 / (1 + h)``.
"""

from __future__ import annotations

from typing import Any

_HALVINGS = 60


def remaining(norms: Any, strength: float, allowed: float) -> Any:
    """The share of each group that the proximal map leaves, ``[groups]``, when so many may differ from zero.

    Args:
        norms: of the groups, of numpy or torch, ``[groups]``.
        strength: h above; the larger, the more groups vanish, until as many as are allowed are left.
        allowed: k above, not necessarily whole.
    """
    if allowed <= 0:
        return norms * 0
    low, high = 0.0, 1.0
    # Groups of zero never count, however large the factor, so no more are demanded than differ from zero.
    while float(_chosen(norms, high, strength).sum()) < min(allowed, int((norms > 0).sum())) and high < 1e30:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if float(_chosen(norms, middle, strength).sum()) < allowed else (low, middle)
    chosen = _chosen(norms, high, strength)
    # The last term keeps 0 / 0 away where the strength is zero; what is chosen not at all stays 0.
    return chosen / (strength + chosen + (chosen == 0))


def _chosen(norms: Any, factor: float, strength: float) -> Any:
    return (norms * factor - strength).clip(0.0, 1.0)
