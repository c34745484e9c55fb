"""What structures could save, by layer: of what each of them offers, nothing measured."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from compressor.config import PruneSettings
from compressor.config.choices import STRUCTURES
from compressor.pruning.cut.analysis import analyse
from compressor.results.records import SavingRow
from compressor.steps.savings import saving_rows
from compressor.structures.interspace.composed import NODE_BYTES
from tests.models import model

NET = """(float[N,16,8,8] x) => (float[N,32,8,8] y)
<float[64,16,3,3] w, float[32,64,1,1] v> {
    a = Conv<pads=[1,1,1,1]>(x, w)
    b = Relu(a)
    y = Conv(b, v)
}"""
WHOLE = {"Conv_0": 64 * 16 * 9, "Conv_2": 32 * 64}


def _rows(ratio: float) -> list[SavingRow]:
    settings = PruneSettings.parse({"ratio": 0.5, "round_to": 4})
    return list(saving_rows(analyse(ir.from_proto(model(NET)), settings), settings, ratio))


@pytest.fixture(scope="module")
def rows() -> list[SavingRow]:
    return _rows(0.5)


def test_every_structure_of_layers_has_its_rows() -> None:
    rows = _rows(0.25)
    of_layers = {name for name in STRUCTURES if not STRUCTURES.find(name).channels}
    assert {row.structure for row in rows} == of_layers
    # Kernels of one tap have no rows, and no basis kernels to leave out.
    without = {row.structure for row in rows if row.node == "Conv_2"} ^ of_layers
    assert without == {"supports", "interspace-columns"}


def test_layers_keep_the_share_at_most_and_as_much_of_it_as_is_offered(rows: list[SavingRow]) -> None:
    for row in rows:
        assert row.macs_before == WHOLE[row.node] * 64
        # A mask takes a share of the weights, ranks what channels would take from both sides.
        most = 0.25 if row.structure == "lowrank" else 0.5
        assert most / 5 * row.macs_before < row.macs_after <= most * row.macs_before
        assert row.bytes_before == WHOLE[row.node] * 4
    # Of the ranks, multiples of four, the largest that fits.
    (rank,) = [row for row in rows if (row.node, row.structure) == ("Conv_2", "lowrank")]
    assert rank.becomes == "rank 4 of 32, outputs thinned"
    assert rank.macs_after == 4 * (64 + 32) * 64


def test_zeros_that_stay_save_no_bytes_but_stored_coefficients_do(rows: list[SavingRow]) -> None:
    for row in rows:
        if row.structure == "nm":
            assert (row.lowered, row.bytes_after) == (False, row.bytes_before)
        if row.structure == "interspace":
            kept = row.macs_after // 64
            basis = 81 * 4 if row.node == "Conv_0" else 0
            assert row.bytes_after == kept * 2 + WHOLE[row.node] // 8 + basis + NODE_BYTES
