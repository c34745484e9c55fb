"""Intermediate values as outputs."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import onnx_ir as ir

from compressor.errors import UsageError
from compressor.graph.form.normalise import normalise


def with_outputs(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A copy that gives values of its graph as outputs too, after its own and in the order of ``names``.

    Raises:
        UsageError: a name is no value that a node of the main graph computes, or an output already, or no float.
    """
    if not names:
        return model
    # Normalised, as the module is made of the normal form and knows its names.
    copy = normalise(model.clone())
    made = {str(v.name): v for node in copy.graph for v in node.outputs}
    # Each name once: an output cannot be listed twice.
    for name in dict.fromkeys(names):
        value = made.get(name)
        if value is None:
            near = difflib.get_close_matches(name, made, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"--features {name}: the graph computes no value of that name{hint}")
        if value.is_graph_output():
            raise UsageError(f"--features {name} is an output, which is compared anyway; leave it out")
        if value.dtype is not None and not value.dtype.is_floating_point():
            raise UsageError(f"--features {name} holds {value.dtype.name}, and only floats can be matched")
        copy.graph.outputs.append(value)
    return copy
