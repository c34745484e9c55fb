"""Channels as nodes of a regular graph: a node's filters read the channels of its neighbours (arXiv 2110.15192).

One connected graph in which every node has d neighbours, itself among them, which suits weights that are there
already (the paper's graphs have no loops, and are trained from scratch). Edges are rewired while the mean path between
two nodes does not grow. Channels are given to nodes so that the most energy stays.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from compressor.structures.layer.geometry import maskable
from compressor.structures.masks.maker import WeightEnergy, balanced, even
from compressor.structures.masks.pieces import WeightMask
from compressor.structures.masks.structure import Structure

SIZE = 8
"""Channels of a node, at least: convolutions of fewer cost more time than they save."""
NODES = 8
"""Nodes, at most."""
GRAPH_ROUNDS = 4
"""Turns of outputs and channels; each keeps as much energy or more, and later ones hardly any more."""

Adjacency = npt.NDArray[np.bool_]


class Graph:
    """Masks of regular graphs, the densest first."""

    def masks(self, energy: WeightEnergy, seed: int) -> Iterator[tuple[str, WeightMask]]:
        """One mask for each number of neighbours, the densest first; nodes hold at least :data:`SIZE` channels."""
        profile = energy.reshape(*energy.shape[:2], -1).sum(axis=2)
        nodes = min(NODES, *(size // SIZE for size in profile.shape))
        # With one neighbour, itself, more than two nodes would not be connected.
        for degree in range(nodes - 1, 1, -1) if nodes > 2 else range(nodes - 1, 0, -1):
            adjacency = regular(nodes, degree, seed)
            kept = _assigned(profile, adjacency)
            mask = np.broadcast_to(kept.reshape(*profile.shape, *(1,) * (energy.ndim - 2)), energy.shape)
            yield f"graph of {nodes} nodes, {degree} neighbours each", mask.copy()


def regular(nodes: int, degree: int, seed: int) -> Adjacency:
    """bool[nodes, nodes]: every node has ``degree`` neighbours, itself among them; connected from degree 2 on.

    It starts as a ring of nearest neighbours, of which pairs are swapped while the mean path does not grow.
    """
    found = np.zeros((nodes, nodes), np.bool_)
    for step in range(degree):
        # Itself and the next ones on the ring.
        found[np.arange(nodes), (np.arange(nodes) + step) % nodes] = True
    rng = np.random.default_rng(seed)
    path = mean_path(found)
    for _ in range(nodes * (nodes - 1)):
        a, b = rng.integers(nodes, size=2)
        one, two = (rng.choice(np.flatnonzero(found[row])) for row in (a, b))
        # A swap must neither touch a loop nor double an edge.
        if a == b or one in (two, a) or two == b or found[a, two] or found[b, one]:
            continue
        trial = found.copy()
        # Two edges change their ends, so that every node keeps its degree.
        trial[a, one] = trial[b, two] = False
        trial[a, two] = trial[b, one] = True
        length = mean_path(trial)
        if length <= path:
            found, path = trial, length
    return found


def mean_path(adjacency: Adjacency) -> float:
    """Mean number of steps from a node to another; infinite where one cannot be reached."""
    nodes = len(adjacency)
    steps = np.where(np.eye(nodes, dtype=np.bool_), 0.0, np.inf)
    reached = np.eye(nodes, dtype=np.bool_)
    # A path has at most as many steps as there are other nodes.
    for step in range(1, nodes):
        new = (reached @ adjacency) & np.isinf(steps)
        if not new.any():
            break
        steps[new] = step
        reached = ~np.isinf(steps)
    return float(steps.sum()) / max(nodes * (nodes - 1), 1)


def _assigned(profile: npt.NDArray[np.float64], adjacency: Adjacency) -> WeightMask:
    """bool[out, channels]: nodes for outputs and for channels, in turns, so that energy stays."""
    nodes = len(adjacency)
    outs, ins = (np.repeat(np.arange(nodes), even(size, nodes)) for size in profile.shape)
    # Outputs and channels depend on each other, so both are given out in turns.
    for _ in range(GRAPH_ROUNDS):
        by_node = np.stack([profile[:, ins == k].sum(axis=1) for k in range(nodes)], axis=1)
        outs = balanced(by_node @ adjacency.T.astype(np.float64), even(len(profile), nodes))
        by_node = np.stack([profile[outs == k].sum(axis=0) for k in range(nodes)], axis=1)
        ins = balanced(by_node @ adjacency.astype(np.float64), even(profile.shape[1], nodes))
    return adjacency[np.ix_(outs, ins)]


GRAPH = Structure(masks=Graph, suits=maskable)
