"""Models that give values from inside."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir


def giving(model: ir.Model, names: Iterable[str]) -> ir.Model:
    """A copy whose outputs are the values of these names, each once, and no others.

    Args:
        model: not changed.
        names: values that nodes of the main graph compute, or outputs.
    """
    copy = model.clone()
    known = {str(v.name): v for v in (*copy.graph.outputs, *(v for node in copy.graph for v in node.outputs))}
    copy.graph.outputs[:] = [known[name] for name in dict.fromkeys(names)]
    return copy
