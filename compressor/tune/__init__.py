"""The torch side: an ONNX graph as a trainable module. Only this package and ``unify`` import torch."""

from compressor.tune.graph_module import GraphModule

__all__ = ["GraphModule"]
