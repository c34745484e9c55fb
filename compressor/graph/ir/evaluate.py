"""One node on known inputs, by the ONNX reference implementation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.core.compare import is_half, is_real
from compressor.graph.ir.captures import has_graph
from compressor.graph.ir.movement import only_moves


def evaluate(node: ir.Node, feeds: Mapping[str, Array], opsets: Mapping[str, int]) -> list[Array] | None:
    """Outputs of ``node`` for ``feeds`` (input name -> array), or None where the reference cannot run it.

    None, too, for bodies, which read from the graph around them, so that the node is no function of its inputs. What
    draws is for the caller to leave out (:func:`~compressor.graph.ir.randomness.draws`): a Dropout that does nothing is
    evaluated.

    The reference fails on some operators whose axes are an attribute (Unsqueeze); these are run in the form of the
    newest operator set, which takes them as an input.
    """
    if has_graph(node):
        return None
    from compressor.graph.ir.reference import reference_of  # noqa: PLC0415 - 60 ms that most graphs need not pay

    proto = ir.serde.serialize_node(node)
    # First as the file has it, then with axes as an input.
    forms = [(proto, feeds, opsets)]
    if "axes" in node.attributes and len(proto.input) == 1:
        modern = type(proto)()
        modern.CopyFrom(proto)
        kept = [a for a in proto.attribute if a.name != "axes"]
        del modern.attribute[:]
        modern.attribute.extend(kept)
        modern.input.append("axes")
        axes = np.asarray(node.attributes.get_ints("axes", ()), np.int64)
        forms.append((modern, {**feeds, "axes": axes}, {**opsets, "": onnx.defs.onnx_opset_version()}))
    for form, given, versions in forms:
        try:
            # Infinities and NaNs are results like any other here.
            with np.errstate(all="ignore"):
                found = reference_of(form, versions).run(None, dict(given))
            return [np.asarray(a) for a in found]
        except Exception:  # noqa: BLE001, S112 - an operator that the reference cannot evaluate is not static
            continue
    return None


def evaluate_settled(node: ir.Node, feeds: Mapping[str, Array], opsets: Mapping[str, int]) -> list[Array] | None:
    """As :func:`evaluate`; None, too, where the result depends on where it is rounded.

    Runtimes without kernels for half precision, ONNX Runtime on CPUs among them, compute whole chains of it in float32
    and round at their ends only, so that a step by itself may give another number than the chain.
    """
    found = evaluate(node, feeds, opsets)
    if found is None or only_moves(node) or not any(is_half(array) for array in feeds.values()):
        return found
    exact = evaluate(node, {name: a.astype(np.float32) if is_half(a) else a for name, a in feeds.items()}, opsets)
    return found if exact is not None and all(map(_same, exact, found)) else None


def _same(exact: Array, found: Array) -> bool:
    return np.array_equal(exact, found.astype(exact.dtype), equal_nan=is_real(exact))
