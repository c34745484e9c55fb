"""Models as callers of Python hold them: paths, bytes, protobuf messages, models of onnx_ir."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

import onnx
import onnx_ir as ir

from compressor.errors import ModelError, UsageError
from compressor.graph.disk import files
from compressor.graph.disk.model_result import ModelResult

ModelLike: TypeAlias = str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model | ModelResult
"""A path; the bytes of a file; an ``onnx.ModelProto``; an ``onnx_ir.Model``; or a result, whose model counts. None is
changed."""


def on_disk(model: ModelLike, place: Path) -> Path:
    """The file of a model; one that is held in memory is written to ``place``.

    Raises:
        ModelError: it cannot be written, or leaves weights in files of which only it knows the folder.
        UsageError: it is no model.
    """
    if isinstance(model, (str, os.PathLike)):
        return Path(model)
    if isinstance(model, ir.Model):
        files.save_model(model, place)
    else:
        place.write_bytes(_serialised(model))
    return place


def in_memory(model: ModelLike, place: Path) -> ir.Model:
    """The model as the toolchain holds it, after the checks of :func:`compressor.graph.disk.files.load_model`."""
    return model if isinstance(model, ir.Model) else files.load_model(on_disk(model, place))


def no_model(given: object, forms: str) -> UsageError:
    """The error for what is none of the ``forms`` of a model, such as ``a path or bytes``, that are taken here."""
    kind = type(given)
    return UsageError(f"{kind.__module__}.{kind.__qualname__} is no model; give {forms}")


def _serialised(model: object) -> bytes:
    if isinstance(model, (bytes, bytearray, memoryview)):
        return bytes(model)
    if not isinstance(model, onnx.ModelProto):
        raise no_model(
            model,
            "a path, bytes, an onnx.ModelProto, an onnx_ir.Model or a result (a torch module is exported first, with "
            "torch.onnx.export)",
        )
    # Where the files lie is known to whoever read the message, and is not in it.
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise ModelError(
            "the message leaves its weights in external files, whose folder it does not name; give the path of the "
            "model, or load it with onnx.load, which reads them"
        )
    try:
        # The same bytes for the same model, as results are remembered by a digest of the file.
        content: bytes = model.SerializeToString(deterministic=True)
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"the message cannot be serialised ({error}); over 2 GiB, save it with external data and give its path"
        ) from None
    return content
