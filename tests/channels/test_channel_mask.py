"""What a cut leaves of each value: masks, planned shapes, and refusals."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.coupling import Coupling
from compressor.channels.groups import group
from compressor.config import PruneSettings
from compressor.errors import PlanError
from tests.models import between, in_memory
from tests.oracle import couple

GROUPED = between("c = Conv<group=4>(a, u)  b = Relu(c)", more="float[16,4,1,1] u")


def value(coupling: Coupling, name: str) -> ir.Value:
    found = {v.name: v for n in coupling.graph for v in n.outputs} | dict(coupling.graph.initializers)
    return found[name]


def cut_of(proto: object = None, positions: tuple[int, ...] = (1, 4)) -> ChannelMask:
    """Removes these positions of the first weight."""
    _, coupling = couple(in_memory(between("b = Relu(a)") if proto is None else proto), PruneSettings())  # type: ignore[arg-type]
    return ChannelMask(coupling, group(coupling)[0].units[list(positions)])


def test_planned_shapes() -> None:
    cut = cut_of()
    names = ("w", "bias", "v", "a", "b", "z", "head")
    assert [cut.after(value(cut.coupling, n)) for n in names] == [
        (14, 4, 3, 3), (14,), (8, 14, 1, 1), (3, 14, 6, 6), (3, 14, 6, 6), (3, 8, 6, 6), (2, 8, 1, 1)
    ]  # fmt: skip
    assert cut.before(value(cut.coupling, "a")) == (3, 16, 6, 6)
    cut.check()


def test_masks() -> None:
    cut = cut_of()
    kept = np.isin(np.arange(16), (1, 4), invert=True)
    a, v, z = (value(cut.coupling, n) for n in ("a", "v", "z"))
    mask = cut.mask(a)
    assert mask is not None
    assert mask.shape == (1, 16, 1, 1)
    np.testing.assert_array_equal(mask.ravel(), kept)
    np.testing.assert_array_equal(cut.keep(v, (1,)), kept)
    assert cut.keep(v, (0,)).all()
    np.testing.assert_array_equal(cut.keep(v, (0, 1)), np.broadcast_to(kept, (8, 16)))
    assert cut.mask(z) is None
    assert cut.touches(v)
    assert not cut.touches(z)


def test_what_is_taken_of_an_array_is_what_the_smaller_model_computes() -> None:
    rows = "s = Reshape(a, four)  t = Relu(s)  b = Reshape(t, back)"
    more = "int64[4] four = {0, 4, 4, 36}, int64[4] back = {0, 16, 6, 6}"
    cut = cut_of(between(rows, more=more), (1, 4, 11, 14))
    a, s, z = (value(cut.coupling, n) for n in ("a", "s", "z"))
    one = np.arange(5 * 16 * 36).reshape(5, 16, 6, 6)  # of another batch than the plan was made with
    few = np.delete(one, (1, 4, 11, 14), 1)
    np.testing.assert_array_equal(cut.taken(a, one), few)
    np.testing.assert_array_equal(cut.taken(s, one.reshape(5, 4, 4, 36)), few.reshape(5, 4, 3, 36))
    assert cut.taken(z, one) is one
    with pytest.raises(ValueError, match="broadcast"):
        cut.taken(a, one[:, :15])
    assert cut.fits(a, one)
    assert not cut.fits(a, one[:, :15])
    assert not cut.fits(a, one[0])
    assert cut.fits(z, one[:, :15])


def test_nothing_is_there_of_no_value() -> None:
    cut = cut_of()
    assert cut.before(None) == cut.after(None) == ()
    assert not cut.touches(None)


def test_one_weight_cut_along_two_axes() -> None:
    _, coupling = couple(in_memory(between("b = Relu(a)")), PruneSettings())
    one, two = group(coupling)
    cut = ChannelMask(coupling, np.concatenate([one.units[:3], two.units[-2:]]))
    v = value(coupling, "v")
    assert cut.after(v) == (6, 13, 1, 1)
    mask = cut.mask(v)
    assert mask is not None
    assert mask.sum() == 6 * 13


def test_equal_counts_from_every_row_pass() -> None:
    cut = cut_of(GROUPED, (0, 5, 10, 15))
    cut.check()
    assert cut.after(value(cut.coupling, "a")) == (3, 12, 6, 6)
    assert cut.after(value(cut.coupling, "u")) == (16, 3, 1, 1)


@pytest.mark.parametrize("positions", [(0,), (0, 1, 5, 10), (0, 5, 10)])
def test_unequal_counts_are_refused(positions: tuple[int, ...]) -> None:
    with pytest.raises(PlanError, match="different numbers of channels"):
        cut_of(GROUPED, positions).check()


def test_an_emptied_axis_is_refused() -> None:
    cut = cut_of(positions=tuple(range(16)))
    with pytest.raises(PlanError, match="nothing of"):
        cut.after(value(cut.coupling, "a"))


def test_outputs_of_a_group_without_inputs_are_refused() -> None:
    """Steps can empty a group that was one channel wide by then; on the original their sum says half of that."""
    _, coupling = couple(in_memory(between("c = Conv<group=4>(a, u)  b = Relu(c)", more="float[16,4,1,1] u")),
                         PruneSettings())  # fmt: skip
    first = next(g for g in group(coupling) if g.name == "w")
    an_output = coupling.layout(value(coupling, "c"))[0].units[9:10]
    cut = ChannelMask(coupling, np.concatenate([first.units[:4], an_output]))
    with pytest.raises(PlanError, match="keeps outputs of u whose inputs all go"):
        cut.after(value(coupling, "u"))


def test_the_frozen_unit_is_refused() -> None:
    _, coupling = couple(in_memory(between("b = Relu(a)")), PruneSettings())
    with pytest.raises(PlanError, match="cannot do without"):
        ChannelMask(coupling, np.zeros(1, np.int64))
