"""Groups of filters that read the channels which matter to them."""

from __future__ import annotations

import numpy as np

from compressor.structures.masks.groups import Groups


def test_groups_find_filters_that_read_the_same() -> None:
    energy = np.full((16, 16, 1, 1), 1e-6)
    energy[::2, :8] = energy[1::2, 8:] = 1.0
    (mask,) = [m for words, m in Groups().masks(energy, 0) if words == "2 groups, 8 of 16 channels each"]
    assert (mask == (energy > 0.5)).all()


def test_no_channel_goes_where_each_holds_more_than_the_share() -> None:
    """The paper's code drops a whole group there."""
    energy = np.zeros((16, 16, 1, 1))
    energy[:, 0] = 1.0
    for _, mask in Groups().masks(energy, 0):
        assert mask[:, 0].all()


def test_layers_too_narrow_for_two_groups_have_none() -> None:
    assert not list(Groups().masks(np.ones((15, 16, 1, 1)), 0))
    assert not list(Groups().masks(np.ones((16, 15, 1, 1)), 0))
