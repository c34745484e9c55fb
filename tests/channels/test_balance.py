"""Balance: rows of a joint axis give up equal numbers, the weakest of each row together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.channels.balance import _patterns, _Split, balance
from compressor.channels.channel_mask import ChannelMask
from compressor.channels.coupling import Coupling
from compressor.config import PruneSettings
from tests.models import between, in_memory, weight
from tests.oracle import couple, pair

SETTINGS = PruneSettings(ratio=0.5, round_to=1)


def test_patterns_count_each_unit_in_each_row() -> None:
    """Those that are in all rows alike, and those that stay, are left out."""
    patterns, units = _patterns([_Split(np.asarray([[1, 2, 2, 0], [3, 2, 1, 0]]), "")])
    assert patterns.tolist() == [[0, 1], [2, 1]]
    assert units == [[3], [2]]


def grouped(groups: int = 4) -> Coupling:
    proto = between(f"c = Conv<group={groups}>(a, u)  b = Relu(c)", more=f"float[16,{16 // groups},1,1] u")
    return couple(in_memory(proto), SETTINGS)[1]


def labels(coupling: Coupling, name: str, axis: int) -> np.ndarray:
    value = coupling.graph.initializers[name]
    found = next(t for t in coupling.deferred_labels[value].terms if t.axes == (axis,))
    return coupling.units.find(found.units)


def test_the_weakest_of_every_row_are_paired() -> None:
    coupling = grouped()
    before = labels(coupling, "w", 0).reshape(4, 4)
    assert len(np.unique(before)) == 16
    score = np.random.default_rng(0).random(len(coupling.units))
    ranks = np.argsort(np.argsort(score[before], axis=1), axis=1)
    balance(coupling, lambda: score)
    after = labels(coupling, "w", 0).reshape(4, 4)
    assert len(np.unique(after)) == 4
    for rank in range(4):
        assert len(np.unique(after[ranks == rank])) == 1


@pytest.mark.parametrize("name", ["w", "u"])
def test_any_units_may_go_afterwards(name: str) -> None:
    coupling = grouped()
    assert balance(coupling, lambda: np.random.default_rng(1).random(len(coupling.units)))
    units = np.unique(labels(coupling, name, 0))
    for gone in ([units[0]], units[1:3], units[:-1]):
        ChannelMask(coupling, np.asarray(gone)).check()


def test_rows_of_frozen_units_block_their_partners() -> None:
    """Two channels of one group are an output through a slice: that group cannot lose as many as the others."""
    proto = between(
        "c = Conv<group=4>(a, u)  b = Relu(c)  part = Slice(a, zero, two, one)  y2 = Identity(part)",
        more="float[16,4,1,1] u, int64[1] zero = {0}, int64[1] two = {2}, int64[1] one = {1}",
    )
    proto.graph.output.add().CopyFrom(proto.graph.output[0])
    proto.graph.output[1].name = "y2"
    for dim, size in zip(proto.graph.output[1].type.tensor_type.shape.dim, (3, 2, 6, 6), strict=True):
        dim.dim_value = size
    found = pair(in_memory(proto), SETTINGS)
    kept = found.cut.keep(found.originals["a"], (1,)).reshape(4, 4)
    assert kept[0, :2].all()
    assert set(kept.sum(axis=1).tolist()) == {3}


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([1, 2, 4, 8, 16]),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.sampled_from(["l2", "random"]),
    st.sampled_from([0.3, 0.5, 0.75]),
)
def test_constraints_that_share_an_axis(groups: int, norm: int, criterion: str, ratio: float) -> None:
    """A grouped convolution and a group norm split the same channels differently."""
    body = f"c = Conv<group={groups}>(a, u)  b = GroupNormalization<num_groups={norm}>(c, s, p)"
    proto = between(body, more=f"float[16,{16 // groups},1,1] u, float[16] s, float[16] p", opset=21)
    found = pair(in_memory(proto), PruneSettings(ratio=ratio, round_to=1, criterion=criterion))  # type: ignore[arg-type]
    for name, rows in (("a", groups), ("c", norm)):
        kept = found.cut.keep(found.originals[name], (1,)).reshape(rows, -1).sum(axis=1)
        assert len(set(kept[kept > 0].tolist())) == 1
    if groups not in (1, 16):
        assert found.cut.keep(found.originals["a"], (1,)).reshape(groups, -1).any(axis=1).all()


@pytest.mark.parametrize(("before", "own", "behind"), [((3, 12), 6, 3), ((4, 8), 8, 2), ((4, 16), 16, 4)])
def test_groups_of_joined_parts_cross_those_before(before: tuple[int, int], own: int, behind: int) -> None:
    """Filters in groups and others, joined: groups of the next layer begin amid the groups before."""
    (groups, filters), width = before, before[1] + own
    body = (f"t = Concat<axis=1>(x, x, x)  g = Conv<group={groups}>(t, k)  h = Conv(x, o)  j = Concat<axis=1>(h, g)"
            f"  b = Conv<group={behind}>(j, u)")  # fmt: skip
    needs = f"float[{filters},{12 // groups},3,3] k, float[{own},4,3,3] o, float[{width},{width // behind},1,1] u"
    found = pair(in_memory(between(body, more=needs, out=width)), SETTINGS)
    kept = found.cut.keep(found.originals["g"], (1,)).reshape(groups, -1).sum(axis=1)
    assert kept.tolist() == [filters // groups // 2] * groups
    kept = found.cut.keep(found.originals["j"], (1,)).reshape(behind, -1).sum(axis=1)
    assert kept.tolist() == [width // behind // 2] * behind


def test_groups_lose_their_own_weakest_filters() -> None:
    """Filters of one group are ten times larger than those of the others, and lose as many."""
    proto = between("c = Conv<group=4>(a, u)  b = Relu(c)", more="float[16,4,1,1] u")
    tensor = next(t for t in proto.graph.initializer if t.name == "u")
    array = np.random.default_rng(3).normal(size=(16, 4, 1, 1)).astype(np.float32)
    array[:4] *= 10
    tensor.raw_data = array.tobytes()
    settings_ = SETTINGS.model_copy(update={"criterion": "l2", "exclude": ("w", "v")})
    found = pair(in_memory(proto), settings_)
    kept = found.cut.keep(found.originals["c"], (1,)).reshape(4, 4)
    assert kept.sum(axis=1).tolist() == [2, 2, 2, 2]
    np.testing.assert_array_equal(weight(found.smaller, "u"), array[kept.ravel()])
