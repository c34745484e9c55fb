"""Masks of regular graphs: degrees, paths, and channels where their energy stays."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.structures.masks.graph import Graph, mean_path, regular


@pytest.mark.parametrize("degree", [2, 3, 5])
def test_graphs_are_regular_and_connected(degree: int) -> None:
    found = regular(8, degree, 0)
    assert (found.sum(axis=0) == degree).all()
    assert (found.sum(axis=1) == degree).all()
    assert np.isfinite(mean_path(found))
    assert mean_path(regular(8, degree, 0)) <= mean_path(_ring(8, degree))


def _ring(nodes: int, degree: int) -> np.ndarray:
    found = np.zeros((nodes, nodes), np.bool_)
    for step in range(degree):
        found[np.arange(nodes), (np.arange(nodes) + step) % nodes] = True
    return found


def test_the_mean_path() -> None:
    assert mean_path(np.ones((4, 4), np.bool_)) == 1.0
    # On a ring one way: 1, 2 and 3 steps from each of four nodes.
    assert mean_path(_ring(4, 2)) == 2.0
    assert mean_path(np.eye(3, dtype=np.bool_)) == np.inf


def test_channels_are_given_to_nodes_so_that_energy_stays() -> None:
    energy = np.full((32, 32, 1, 1), 1e-6)
    places = np.random.default_rng(0).permutation(32)
    for k in range(4):
        own = places[8 * k : 8 * (k + 1)]
        energy[np.ix_(own, own)] = 1.0
    words, masks = zip(*Graph().masks(energy, 0), strict=True)
    assert words == ("graph of 4 nodes, 3 neighbours each", "graph of 4 nodes, 2 neighbours each")
    assert [mask.mean() for mask in masks] == [0.75, 0.5]
    for mask in masks:
        assert (mask.reshape(32, 32).sum(axis=1) == 32 * mask.mean()).all()
        assert energy[mask].sum() > 0.99 * energy.sum()


def test_narrow_layers_have_no_graph() -> None:
    assert not list(Graph().masks(np.ones((8, 64, 1, 1)), 0))
