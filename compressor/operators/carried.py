"""Records that a graph carries at its nodes, so that what a file teaches holds for this model and no other."""

from __future__ import annotations

import onnx_ir as ir

from compressor.config.rules import RulesSection
from compressor.config.section import Section
from compressor.graph.ir.edit import copy_of
from compressor.graph.ir.nodes import give_record, operator_key


def taught(model: ir.Model, settings: Section) -> ir.Model:
    """``model``; or, where the settings name a file of rules, a copy whose nodes carry the records of their operators.

    Raises:
        UsageError: the file cannot be read, or an entry is no record.
        ModelError: the nodes are not in order.
    """
    path = settings.op_rules if isinstance(settings, RulesSection) else None
    if path is None:
        return model
    # Read in few runs, which pay for a reader of YAML.
    from compressor.operators.taught import read_records  # noqa: PLC0415

    records = {(one.domain, one.name): one for one in read_records(path)}
    copy = copy_of(model)
    graphs = [copy.graph, *(function.graph for function in copy.functions.values())]
    for node in [node for graph in graphs for node in graph.all_nodes()]:
        if operator_key(node) in records:
            give_record(node, records[operator_key(node)])
    return copy
