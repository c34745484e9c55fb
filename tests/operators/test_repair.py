"""What repairs use: new numbers of positions, rows that go as wholes, constants and names of their own."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.config import PruneSettings
from compressor.errors import PlanError
from compressor.operators.repair import Repairer
from compressor.pruning.budgets.select import choose_channels
from compressor.pruning.cut.analysis import analyse
from compressor.pruning.cut.apply import cut_of
from tests.models import between, in_memory


@pytest.fixture(name="repairer")
def fixture_repairer() -> Repairer:
    """Of a net that loses half of 16 channels, in which a constant shape and a Resize follow."""
    body = 'b = Resize<mode="nearest">(a, , , to)'
    settings = PruneSettings(ratio=0.5, round_to=1, scope="local", recover="none")
    analysis = analyse(in_memory(between(body, more="int64[4] to = {3, 16, 12, 12}")), settings)
    return Repairer(cut_of(choose_channels(analysis.coupling, settings, 1).plan, analysis))


def value(repairer: Repairer, name: str) -> ir.Value:
    return next(v for node in repairer.graph for v in node.outputs if v.name == name)


def test_positions_are_numbered_by_what_stays(repairer: Repairer) -> None:
    a = value(repairer, "a")
    kept = repairer.keep(a, (1,))
    assert kept.sum() == 8
    assert repairer.before(a) == (3, 16, 6, 6)
    assert repairer.after(a) == (3, 8, 6, 6)
    assert repairer.renumber(a, 1)[kept].tolist() == list(range(8))
    assert repairer.changed(a, 1)
    assert not repairer.changed(a, 0)
    assert repairer.before(None) == repairer.after(None) == ()


def test_entries_of_a_shape_follow_what_goes(repairer: Repairer) -> None:
    node = value(repairer, "b").producer()
    assert node is not None
    place = next(k for k, v in enumerate(node.inputs) if v is not None and v.name == "to")
    repairer.set_shape(node, place)
    new = node.inputs[place]
    assert new is not None
    assert new.const_value is not None
    assert new.const_value.numpy().tolist() == [3, 8, 12, 12]
    assert new.name != "to"


def test_names_and_constants_are_nobody_elses(repairer: Repairer) -> None:
    names = {repairer.unique("w"), repairer.unique("w"), repairer.constant("w", np.zeros(1)).name}
    assert len(names) == 3
    assert "w" not in names


def test_rows_that_go_as_wholes_are_counted(repairer: Repairer, monkeypatch: pytest.MonkeyPatch) -> None:
    for kept, left in (([1, 1, 0, 0, 1, 1], 2), ([1, 0, 1, 0, 1, 0], None), ([1] * 6, None)):
        monkeypatch.setattr(type(repairer.cut), "keep", lambda *_, kept=kept: np.asarray(kept, bool))
        assert repairer.whole_rows(value(repairer, "a"), 1, 3) == left


def test_nothing_may_be_left_of_no_value(repairer: Repairer, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> tuple[int, ...]:
        raise PlanError("nothing would be left")

    monkeypatch.setattr(type(repairer.cut), "after", none_left)
    with pytest.raises(PlanError):
        repairer.after(value(repairer, "a"))
