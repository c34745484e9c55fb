"""What each group lost, over several steps."""

from __future__ import annotations

from dataclasses import replace

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.groups import group
from compressor.config import PruneSettings
from compressor.results import GroupRow
from compressor.steps.report_rows import group_rows
from tests.models import between, in_memory
from tests.oracle import couple


def test_what_goes_adds_up_over_steps_and_channels_are_those_of_the_first() -> None:
    _, coupling = couple(in_memory(between("b = Relu(a)")), PruneSettings())
    groups = group(coupling)
    cut = ChannelMask(coupling, groups[0].units[[1, 4]])
    once = group_rows(groups, cut)
    assert [(row.name, row.channels, row.removed) for row in once] == [("w", 16, 2), ("v", 8, 0)]
    assert once[0].axes == ["w:0", "v:1", "bias:0"]
    narrower = [replace(groups[0], units=groups[0].units[:14])]
    twice = group_rows(narrower, cut, once)
    assert [(row.channels, row.removed) for row in twice] == [(16, 4), (8, 0)], "groups that are gone stay in the table"
    assert group_rows(groups, None) == [row.model_copy(update={"removed": 0}) for row in once]
    assert all(isinstance(row, GroupRow) for row in twice)
