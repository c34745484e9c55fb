"""Every operator that runs in torch, in one explicit table. An operator missing here is refused, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from compressor.graph.form.fuse import DOMAIN
from compressor.graph.ir.nodes import MICROSOFT
from compressor.torch_ops import fused, quant
from compressor.torch_ops.site import FunctionMaker

FAMILIES = tuple(
    import_module(f"{__package__}.{name}")
    for name in (
        "attention",
        "control",
        "conv",
        "elementwise",
        "indexing",
        "linear",
        "loss",
        "movement",
        "norm",
        "pool",
        "quant",
        "random",
        "recurrent",
        "reduce",
        "resize",
        "sequence",
        "shape",
        "spectral",
        "vision",
    )
)
"""Modules that hold a family each; its name here is all that it takes."""

FUNCTIONS: Mapping[tuple[str, str], FunctionMaker] = MappingProxyType(
    {("", name): maker for family in FAMILIES for name, maker in family.FUNCTIONS.items()}
    | {(MICROSOFT, name): quant.FUNCTIONS[name] for name in ("DequantizeLinear", "QuantizeLinear")}
    | {(DOMAIN, name): maker for name, maker in fused.FUNCTIONS.items()}
)
"""(domain, operator) -> maker, with the keys of records, and those that :mod:`compressor.graph.form.fuse` writes."""
