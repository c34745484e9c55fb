"""Losses of all ranks, of those of a few."""

from __future__ import annotations

import numpy as np

from compressor.structures.layer.geometry import Geometry
from compressor.structures.lowrank.curves import Ranks, _between, thinned_options


def test_losses_between_ranks_fall_as_they_do_at_those_that_were_judged() -> None:
    true = 10.0 * 0.5 ** np.arange(17)
    found = _between({rank: float(true[rank]) for rank in (1, 2, 4, 8, 12)}, 16)
    np.testing.assert_allclose(found[1:], true[1:])
    # Noise at the last one must not make losses rise beyond it.
    assert _between({1: 1.0, 4: 2.0}, 8)[8] == 2.0
    assert not _between({}, 1).any()


def test_only_ranks_that_save_work_are_options() -> None:
    size = Geometry(1, 16, 32, 9, 64.0, 64.0, 64.0)
    found = list(thinned_options(size, Ranks(4, 4, 8, 0.2)))
    assert {option.side for option in found} == {"outputs", "inputs"}
    assert all(option.macs(size) < size.macs and option.rank % 4 == 0 for option in found)
    assert max(option.rank for option in found if option.side == "outputs") == 24
