"""Nodes that no rule explains: which they are, and what stops at them."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from compressor.config import PruneSettings
from compressor.pruning.cut.analysis import analyse
from compressor.results.records import OpaqueRow
from compressor.steps.opaque import opaque_rows
from compressor.steps.report_rows import frozen_rows
from tests.models import between


def rows(proto: onnx.ModelProto, **settings: bool) -> list[OpaqueRow]:
    analysis = analyse(ir.from_proto(proto), PruneSettings(**settings))
    return opaque_rows(analysis, frozen_rows(analysis))


def test_every_node_without_a_rule_is_told_with_what_stops_there() -> None:
    found = rows(between("c = Bernoulli(a) b = Bernoulli(c)"))
    told = [(row.operator, row.node, row.channels, row.weights) for row in found]
    assert told == [("Bernoulli", "Bernoulli_1", 16, 0), ("Bernoulli", "Bernoulli_2", 0, 0)]
    assert {row.reason for row in found} == {"Bernoulli has no rule"}


def test_a_weight_that_only_such_a_node_reads_counts_there() -> None:
    found = rows(between("t = Det(u) b = Add(a, t)", more="float[3,3] u"), simplify=False)
    assert [(row.operator, row.channels, row.weights) for row in found] == [("Det", 0, 1)]


def test_a_form_that_its_rule_declines_is_told_too() -> None:
    (row,) = rows(between('c = Einsum<equation="nchh->nch">(a) b = Unsqueeze(c, last)', more="int64[1] last = {3}"))
    reason = "Einsum: repeats an index within one operand"
    assert (row.operator, row.reason, row.channels) == ("Einsum", reason, 16)


def test_nodes_that_read_constants_alone_stop_nothing() -> None:
    text = "r = Range(low, high, step) b = Relu(a)"
    assert not rows(between(text, more="int64 low = {0}, int64 high = {3}, int64 step = {1}"), simplify=False)
    assert not rows(between("b = Relu(a)"))
