"""The torch side: an ONNX graph as a trainable module. The only package that imports torch."""

from compressor.errors import UsageError

try:
    from compressor.tune.graph_module import GraphModule
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise UsageError("this needs torch, which is not installed; run pip install 'onnx-compressor[tune]'") from None

__all__ = ["GraphModule"]
