"""A wrong cut is wrong in one group, and of the shape of the right one."""

from __future__ import annotations

import numpy as np

from compressor.config import PruneSettings
from compressor.pruning.budgets.select import choose_channels
from compressor.pruning.cut.analysis import analyse
from compressor.pruning.cut.apply import apply_plan, cut_of
from compressor.pruning.proofs.wrong_cuts import WrongCuts
from tests.models import between, in_memory

SETTINGS = PruneSettings(ratio=0.5, round_to=1, recover="none", scope="local")


def test_each_group_has_a_weight_that_is_off_by_one_and_the_model_stays_as_it_is() -> None:
    analysis = analyse(in_memory(between("b = Relu(a)")), SETTINGS)
    choice = choose_channels(analysis.coupling, SETTINGS, 1)
    small = apply_plan(analysis, choice.plan)
    cuts = WrongCuts(cut_of(choice.plan, analysis), small)
    made = cuts.choose(choice.groups)
    assert set(made) == {group.name for group in choice.groups}
    assert all(cuts.can_be_wrong(group) for group in choice.groups)
    for name, tensor in made.values():
        right = small.graph.initializers[name].const_value
        whole = analysis.coupling.graph.initializers[name].const_value
        assert right is not None
        assert whole is not None
        assert tensor.shape == right.shape
        assert not np.array_equal(tensor.numpy(), right.numpy())
        assert np.isin(tensor.numpy(), whole.numpy()).all()
