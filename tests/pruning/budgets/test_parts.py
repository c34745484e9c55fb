"""A graph in parts: which node belongs where, and how large everything is at other widths."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.config import PruneSettings
from compressor.latency.candidates import Candidates, fingerprint
from compressor.pruning.budgets.budget import line_up
from compressor.pruning.budgets.parts import OperatorChain, operator_chains
from compressor.pruning.budgets.select import origin_of, scored_groups
from compressor.pruning.budgets.widths import lines
from compressor.pruning.cut.analysis import analyse
from tests.latency.case import node_costs, parts_of, residual
from tests.models import MERGED_HEADS, between, in_memory, model

LSTM = """(float[5,3,8] x) => (float y)
    <float[1,64,8] w, float[1,64,16] r, float[16,4] v, int64[1] axis = {1}> {
        h = LSTM<hidden_size=16>(x, w, r)  a, s, c = LSTM<hidden_size=16>(x, w, r)
        b = Squeeze(a, axis)  y = MatMul(b, v) }"""


def names(parts: list[OperatorChain]) -> list[list[str]]:
    return [[node.op_type for node in part.nodes] for part in parts]


def test_what_follows_a_product_goes_with_it():
    parts, _ = parts_of(residual())
    assert names(parts) == [
        ["Conv", "Relu"],
        ["Conv"],
        ["Conv"],
        ["Conv", "Add"],
        ["Conv", "Relu"],
        ["Conv", "Add"],
        ["Conv"],
    ]


def test_what_comes_first_is_a_part_of_its_own():
    proto = model(
        """(float[3,4,6,6] x) => (float y) <float[16,4,1,1] w, float[8,16,1,1] v> {
            a = Relu(x)  b = Sigmoid(a)  c = Conv(b, w)  y = Conv(c, v) }"""
    )
    parts, _ = parts_of(proto)
    assert names(parts) == [["Relu", "Sigmoid"], ["Conv"], ["Conv"]]
    assert parts[0].groups == set()


@pytest.mark.parametrize(
    "proto",
    [
        residual(),
        between("c = Conv<group=4,pads=[1,1,1,1]>(a, u)  d = Concat<axis=1>(a, c)  b = Relu(d)",
                more="float[16,4,3,3] u", out=32),
        between("p, q = Split<axis=1,num_outputs=2>(a)  g = Sigmoid(p)  b = Mul(g, q)", out=8),
        model(MERGED_HEADS),
    ],
    ids=["residual", "grouped and joined", "split", "attention"],
)  # fmt: skip
@pytest.mark.parametrize("seed", range(4))
def test_sizes_are_those_of_the_smaller_model(proto, seed):
    settings = PruneSettings.parse({"target_latency": "0.5x", "round_to": 1})
    analysis = analyse(in_memory(proto), settings)
    groups, scores = scored_groups(analysis.coupling, settings)
    origin = origin_of(analysis.coupling, groups, 0)
    of_groups = lines(line_up(scores, settings, origin), list(scores), settings)
    parts = operator_chains(analysis.coupling, list(scores))
    rng = np.random.default_rng(seed)
    levels = [int(rng.integers(len(line.losses))) for line in of_groups]
    gone = [line.gone(level) for line, level in zip(of_groups, levels, strict=True)]
    removed = {line.group.name: line.removed[level] for line, level in zip(of_groups, levels, strict=True)}
    small = Candidates(analysis, groups, settings).model(removed)
    costs = node_costs(small)
    for part in parts:
        real = sum(costs.get(str(node.name), 0.0) for node in part.nodes)
        assert part.work(part.sizes(gone)) == pytest.approx(real, rel=0.02)


def test_fingerprint_knows_structure_and_sizes_but_no_numbers():
    one, _ = parts_of(residual())
    same, _ = parts_of(residual())
    assert fingerprint(one) == fingerprint(same)
    other = residual()
    other.graph.initializer[0].raw_data = bytes(len(other.graph.initializer[0].raw_data))
    assert fingerprint(one) == fingerprint(parts_of(other)[0])
    assert fingerprint(one) != fingerprint(parts_of(residual(72))[0])
    strided = residual()
    strided.graph.node[0].attribute[0].ints[:] = [2, 2, 2, 2]
    assert fingerprint(one) != fingerprint(parts_of(strided, input_shapes={"x": (3, 4, 8, 8)})[0])
