"""Where masks fit one size only, a reference of another size is made."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import ProofFailed
from compressor.operators.reference import Reference
from compressor.pruning.cut import surgery
from compressor.pruning.proofs import proof
from compressor.pruning.proofs.outputs.evidence import Evidence, NotProved
from compressor.steps.prune import prove_cut
from tests.models import MERGED_HEADS, in_memory, model

SETTINGS = PruneSettings(ratio=0.5, round_to=1, recover="none", scope="local")


def test_two_sizes_are_compared() -> None:
    found = prune(in_memory(model(MERGED_HEADS)), SETTINGS).report.proof
    assert found is not None
    assert not found.not_proved
    assert len({tuple(feed["x"]) for feed in found.inputs}) == 2


GROUPED = """(float[n,3,h,w] x) => (float[n,8,m] y)
    <float[16,3,3,3] w, float[16] s, float[16] t, int64[3] rows = {0, 16, -1}, float[8,16,1] v> {
    a = Conv<pads=[1,1,1,1]>(x, w)  b = GroupNormalization<num_groups=4>(a, s, t)  c = Reshape(b, rows)
    y = Conv(c, v) }"""


def test_masks_within_groups_fit_every_size() -> None:
    found = prune(in_memory(model(GROUPED, opset=21)), SETTINGS).report.proof
    assert found is not None
    assert not found.not_proved
    assert len({tuple(feed["x"]) for feed in found.inputs}) == 3


def test_a_reference_that_runs_at_one_size_alone_says_nothing_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reference, "sized", property(lambda _: False, lambda *_: None), raising=False)
    found = prune(in_memory(model(MERGED_HEADS)), SETTINGS).report.proof
    assert found is not None
    assert not found.not_proved
    assert len({tuple(feed["x"]) for feed in found.inputs}) == 2


def spoilt(small: ir.Model) -> None:
    """Turns the sign of the output where there are two samples, and not where there are three."""
    graph, y = small.graph, small.graph.outputs[0]
    for name, array in {"spoil.sign": np.float32([1, 1, -1, 1]), "spoil.zero": np.asarray(0, np.int64)}.items():
        graph.register_initializer(ir.Value(name=name, const_value=ir.tensor(array, name=name)))
    size = ir.node("Shape", [y], name="spoil.shape")
    batch = ir.node("Gather", [size.outputs[0], graph.initializers["spoil.zero"]], name="spoil.batch")
    sign = ir.node("Gather", [graph.initializers["spoil.sign"], batch.outputs[0]], name="spoil.row")
    made = ir.node("Mul", [y, sign.outputs[0]], name="spoil.turn")
    for node in (size, batch, sign):
        node.outputs[0].name = f"{node.name}.out"
    y.name, made.outputs[0].name, made.outputs[0].type = "y0", y.name, y.type
    made.outputs[0].shape = y.shape
    graph.extend([size, batch, sign, made])
    graph.outputs[0] = made.outputs[0]


def test_values_that_are_wrong_at_another_size_alone_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = surgery.remove

    def wrong(small: ir.Model, *rest: Any) -> None:
        honest(small, *rest)
        spoilt(small)

    monkeypatch.setattr(surgery, "remove", wrong)
    # Which needs no run to see this one.
    monkeypatch.setattr(prove_cut, "demand_wiring", lambda *_: None)
    with pytest.raises(ProofFailed):
        prune(in_memory(model(MERGED_HEADS)), SETTINGS)
    monkeypatch.setattr(prove_cut, "at_second_size", lambda *_: None)
    assert prune(in_memory(model(MERGED_HEADS)), SETTINGS).report.proof is not None


@pytest.mark.parametrize("compared", [0, 3])
def test_a_second_size_without_numbers_says_nothing(compared: int, monkeypatch: pytest.MonkeyPatch) -> None:
    more = Evidence(
        tolerance=1e-4, counts={"y": compared}, inputs=[{"x": [7, 8]}], not_proved=[NotProved("y", "rough")]
    )
    monkeypatch.setattr(prove_cut, "at_second_size", lambda *_: more)
    found = prune(in_memory(model(MERGED_HEADS)), SETTINGS).report.proof
    assert found is not None
    assert [row.group for row in found.not_proved] == (["y"] if compared else ["sizes", "y"])
    assert ({"x": [7, 8]} in found.inputs) == bool(compared)


def test_what_is_said_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "SIZED", "in other words")
    found = prune(in_memory(model(MERGED_HEADS)), SETTINGS).report.proof
    assert found is not None
    assert not found.not_proved
