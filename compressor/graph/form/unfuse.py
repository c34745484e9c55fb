"""Operators that ONNX Runtime fused, written as the standard operators they stand for.

A model that a session saved after optimisation (``optimized_model_filepath``), or that ONNX Runtime's transformer
optimiser wrote, holds operators of domain ``com.microsoft`` which no other runtime knows. ONNX Runtime fuses what
stands here again when it loads the file. Source: ContribOperators.md of ONNX Runtime.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import pi, sqrt
from types import MappingProxyType

import onnx_ir as ir
from onnx_ir.convenience import replace_nodes_and_values

from compressor.graph.form import unfuse_attention
from compressor.graph.form.fused_parts import Expansion, Parts
from compressor.graph.ir.meta_keys import UNFUSED
from compressor.graph.ir.nodes import MICROSOFT
from compressor.graph.ir.opsets import exists, version_of

ACTIVATIONS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "Clip": ("min", "max"), "Elu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "HardSwish": (),
    "LeakyRelu": ("alpha",), "Relu": (), "Sigmoid": (), "Softplus": (), "Tanh": (),
})  # fmt: skip
"""Activations of FusedConv and FusedGemm -> names of their parameters."""
GEMM_PARAMETERS = ("alpha", "beta", "gamma")


def unfuse(model: ir.Model) -> None:
    """Takes apart every fused operator that is known, in place, and notes it in ``model.meta``.

    The parts need operators of the model's own operator set; nothing is converted.
    """
    opset = version_of(model)
    count: Counter[str] = Counter()
    for graph in model.graphs():
        for node in list(graph):
            expand = FUSED.get((node.domain, node.op_type))
            parts = Parts(node, opset)
            found = expand(parts) if expand is not None else None
            # An output that the parts do not give has to be read by nobody.
            used = {k for k, v in enumerate(node.outputs) if v.name and (v.uses() or v.is_graph_output())}
            if found is None or not used <= set(found):
                # Nodes that are not used must not count as readers of the inputs.
                for made in parts.made:
                    made.resize_inputs(0)
                continue
            count[node.op_type] += 1
            kept = sorted(used)
            replace_nodes_and_values(
                graph, node, [node], parts.made, [node.outputs[k] for k in kept], [found[k] for k in kept]
            )
    if count:
        model.meta[UNFUSED] = dict(count)


def _activated(parts: Parts, x: ir.Value, parameters: Sequence[float]) -> ir.Value | None:
    name = parts.node.attributes.get_string("activation", "")
    if not name:
        return x
    if name not in ACTIVATIONS:
        return None
    return parts.formed(name, x, dict(zip(ACTIVATIONS[name], parameters, strict=False)))[0]


def _conv(parts: Parts) -> dict[int, ir.Value] | None:
    """``activation(Conv(X, W, B) + Z)``."""
    own = ("activation", "activation_params")
    kept = [a for a in parts.node.attributes.values() if a.name not in own]
    made = ir.Node("", "Conv", list(parts.node.inputs[:3]), kept)
    parts.made.append(made)
    # Z is added before the activation: it is the skip of a residual block (ContribOperators.md, FusedConv).
    total = parts.total(made.outputs[0], parts.operand(3))
    found = _activated(parts, total, parts.node.attributes.get_floats("activation_params", ()) or ())
    return None if found is None else {0: found}


def _gemm(parts: Parts) -> dict[int, ir.Value] | None:
    attributes = parts.node.attributes
    made = ir.Node("", "Gemm", list(parts.node.inputs), [a for a in attributes.values() if "activation" not in a.name])
    parts.made.append(made)
    given = {name: attributes.get_float(f"activation_{name}", None) for name in GEMM_PARAMETERS}
    found = _activated(parts, made.outputs[0], [value for value in given.values() if value is not None])
    return None if found is None else {0: found}


def _matmul(parts: Parts) -> dict[int, ir.Value] | None:
    """``alpha A B``, each transposed on request; left alone where the number of axes is not written in the file."""
    attributes = parts.node.attributes
    moved = [attributes.get_int(k, 0) for k in ("transBatchA", "transBatchB")]
    # These take the batch between rows and columns, which no standard product does.
    if any(moved):
        return None
    sides = []
    for index, flag in enumerate(("transA", "transB")):
        value = parts.node.inputs[index]
        flipped: int = attributes.get_int(flag, 0)
        if flipped and value is not None:
            # The permutation names every axis, so their number has to be known.
            if value.shape is None or len(value.shape) < 2:
                return None
            axes = list(range(len(value.shape)))
            value = parts.add("Transpose", [value], perm=[*axes[:-2], axes[-1], axes[-2]])
        sides.append(value)
    product = parts.add("MatMul", sides)
    alpha = attributes.get_float("alpha", 1.0)
    return {0: product if alpha == 1 else parts.add("Mul", [product, parts.number(alpha, product)])}


def _gelu(parts: Parts, x: ir.Value) -> ir.Value:
    if exists("Gelu", parts.opset):
        return parts.add("Gelu", [x])
    wave = parts.add("Erf", [parts.add("Div", [x, parts.number(sqrt(2), x)])])
    return _half(parts, x, wave)


def _half(parts: Parts, x: ir.Value, wave: ir.Value) -> ir.Value:
    """The last step of GELU: ``x / 2 * (1 + wave)``."""
    twice = parts.add("Mul", [x, parts.add("Add", [wave, parts.number(1, x)])])
    return parts.add("Mul", [twice, parts.number(0.5, x)])


def _biased_gelu(parts: Parts) -> dict[int, ir.Value]:
    return {0: _gelu(parts, parts.total(*parts.node.inputs))}


def _fast_gelu(parts: Parts) -> dict[int, ir.Value]:
    """``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x³)))``."""
    x = parts.total(*parts.node.inputs)
    # Gelu is an operator from version 20 on; before, the constants are those of arXiv 1606.08415, section 2.
    if exists("Gelu", parts.opset):
        return {0: parts.add("Gelu", [x], approximate="tanh")}
    cube = parts.add("Mul", [parts.add("Mul", [x, x]), x])
    inner = parts.add("Add", [x, parts.add("Mul", [cube, parts.number(0.044715, x)])])
    wave = parts.add("Tanh", [parts.add("Mul", [inner, parts.number(sqrt(2 / pi), x)])])
    return {0: _half(parts, x, wave)}


def _quick_gelu(parts: Parts) -> dict[int, ir.Value]:
    """QuickGelu (com.microsoft): ``x * sigmoid(alpha x)``."""
    x = parts.first()
    # The default of the operator, the sigmoid that comes nearest to GELU (arXiv 1606.08415, section 2).
    alpha = parts.number(parts.node.attributes.get_float("alpha", 1.702), x)
    return {0: parts.add("Mul", [x, parts.add("Sigmoid", [parts.add("Mul", [x, alpha])])])}


def _sum(parts: Parts) -> dict[int, ir.Value]:
    return {0: parts.total(*parts.node.inputs)}


def _normalise(parts: Parts, x: ir.Value, axis: int, epsilon: float) -> ir.Value:
    """Root-mean-square normalisation without scale: ``x / sqrt(mean(x²) + epsilon)``."""
    power = parts.mean(parts.add("Mul", [x, x]), axis)
    return parts.add("Div", [x, parts.add("Sqrt", [parts.add("Add", [power, parts.number(epsilon, x)])])])


def _scale(parts: Parts, x: ir.Value, gamma: ir.Value | None, beta: ir.Value | None) -> ir.Value:
    return parts.total(x if gamma is None else parts.add("Mul", [x, gamma]), beta)


def _skip_norm(parts: Parts) -> dict[int, ir.Value]:
    """``LayerNormalization(input + skip + bias)``, and that sum."""
    skip, gamma, beta, bias = (parts.operand(k) for k in range(1, 5))
    total = parts.total(parts.first(), skip, bias)
    epsilon = parts.epsilon()
    # Outputs 1 and 2 would be its statistics, which nothing here gives.
    if exists("LayerNormalization", parts.opset) and gamma is not None:
        affine = [gamma] if beta is None else [gamma, beta]
        return {0: parts.add("LayerNormalization", [total, *affine], axis=-1, epsilon=epsilon), 3: total}
    centred = parts.add("Sub", [total, parts.mean(total, -1)])
    return {0: _scale(parts, _normalise(parts, centred, -1, epsilon), gamma, beta), 3: total}


def _skip_rms(parts: Parts) -> dict[int, ir.Value]:
    """``gamma * x / rms(x)`` of ``x = input + skip + bias``, and that sum."""
    total = parts.total(parts.first(), parts.operand(1), parts.operand(3))
    epsilon = parts.epsilon()
    return {0: _scale(parts, _normalise(parts, total, -1, epsilon), parts.operand(2), None), 3: total}


def _rms(parts: Parts) -> dict[int, ir.Value] | None:
    """Over the last axis; over more, the operator is left alone."""
    if parts.node.attributes.get_int("axis", -1) != -1:
        return None
    epsilon = parts.epsilon(1e-5)  # the default of the standard's norms, which this one follows
    return {0: _scale(parts, _normalise(parts, parts.first(), -1, epsilon), parts.operand(1), None)}


FUSED: Mapping[tuple[str, str], Expansion] = MappingProxyType({
    **unfuse_attention.FUSED_ATTENTION,
    (MICROSOFT, "BiasAdd"): _sum,
    (MICROSOFT, "BiasGelu"): _biased_gelu,
    (MICROSOFT, "FastGelu"): _fast_gelu,
    (MICROSOFT, "FusedConv"): _conv,
    (MICROSOFT, "FusedGemm"): _gemm,
    (MICROSOFT, "FusedMatMul"): _matmul,
    (MICROSOFT, "Gelu"): _biased_gelu,
    (MICROSOFT, "QuickGelu"): _quick_gelu,
    (MICROSOFT, "SkipLayerNormalization"): _skip_norm,
    (MICROSOFT, "SkipSimplifiedLayerNormalization"): _skip_rms,
    ("", "SimplifiedLayerNormalization"): _rms,
})  # fmt: skip
"""(domain, operator) -> its parts."""


def is_fused(node: ir.Node) -> bool:
    """Is it an operator that :func:`unfuse` writes as several?"""
    return (node.domain, node.op_type) in FUSED
