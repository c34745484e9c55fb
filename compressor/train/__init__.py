"""The torch side: an ONNX graph as a trainable module. The only package that imports torch."""

from compressor.core.extras import TRAINING, require

require("this", *TRAINING)

from compressor.train.module.graph_module import GraphModule  # noqa: E402 - it imports what was required

__all__ = ["GraphModule"]
