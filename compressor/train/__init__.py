"""The torch side: an ONNX graph as a trainable module. Imports torch; what trains (`train.loop`) needs more."""

from compressor.core.extras import require

require("this", "torch")

from compressor.train.module.graph_module import GraphModule  # noqa: E402 - it imports what was required

__all__ = ["GraphModule"]
