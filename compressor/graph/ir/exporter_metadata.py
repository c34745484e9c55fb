"""What exporters write beside the graph: where a node comes from. It is most of a small file, and nothing reads it.

The dynamo exporter of torch gives each node its stack trace, the classes and names of the modules around it, and its
own text in the exported program (``metadata_props``, https://onnx.ai/onnx/repo-docs/IR.html#metadata); older ones write
a stack trace into ``doc_string``. Of all that, the path of the module is what people know the weight by, where the
exporter named the weight ``val_92``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import onnx_ir as ir

OWN_PREFIX: Final = "compressor."
"""How keys, domains and names begin that this program gives; such keys stay."""
SCOPE: Final = f"{OWN_PREFIX}scope"
"""Key of a node that reads a weight without a descriptive name: the path of its module."""
_EXPORTERS: Final = ("pkg.", "namespace")
"""How the keys of exporters begin. Of the model as a whole only these go: others (class names, strides, licences) are
read by applications."""
_TORCH_SCOPES: Final = "pkg.torch.onnx.name_scopes"
_QUOTED: Final = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_COPY: Final = re.compile(r"(\.\d+|\.folded|\.packed)+$")
"""What preparation appends to names."""
_LONGEST: Final = 400
"""Characters of a path; what is longer is no path of modules."""


def strip_metadata(model: ir.Model) -> None:
    """Removes what exporters and authors wrote on nodes, values, tensors and graphs, in place.

    Nodes that read a weight whose own name holds no path keep the path of their module, under `SCOPE`. Of the model's
    own entries those of exporters go; its ``doc_string`` stays.
    """
    _note_scopes(model)
    for key in [key for key in model.metadata_props if key.startswith(_EXPORTERS)]:
        del model.metadata_props[key]
    for value in model.graph.initializers.values():
        _plain_tensor(value)
    for item in _items(model):
        for key in [key for key in item.metadata_props if not key.startswith(OWN_PREFIX)]:
            del item.metadata_props[key]
        item.doc_string = None


def scope(node: ir.Node) -> str:
    """The path of the module that a node belongs to, such as ``encoder.layer.0.attention.query``; "" if not known.

    It stands in the metadata of the dynamo exporter, else by a node name that is a path itself, as the older exporter
    of torch and TensorFlow write it.
    """
    if SCOPE in node.metadata_props:
        return node.metadata_props[SCOPE]
    listed = node.metadata_props.get(_TORCH_SCOPES)
    if listed is not None:
        names = [one or two for one, two in _QUOTED.findall(listed)]
        path = names[-2] if len(names) > 1 else ""  # the last is the node itself
    else:
        # The last part is the node itself.
        path = ".".join(part for part in str(node.name or "").split("/")[:-1] if part)
    return path if len(path) <= _LONGEST else ""


def readable(value: ir.Value) -> str:
    """What reports call a weight: its name, or where that holds no path the path of the module that reads it."""
    name = str(value.name)
    if _telling(name):
        return name
    return next((path for node in _readers(value) if (path := scope(node))), name)


def _telling(name: str) -> bool:
    # What preparation appended has dots of its own, which make no path.
    return any(mark in _COPY.sub("", name) for mark in "./")


def _readers(value: ir.Value) -> Iterator[ir.Node]:
    """The nodes that read a value, those of a mere movement followed by theirs."""
    for node, _ in value.uses():
        yield node
        if len(node.inputs) == 1 and len(node.outputs) == 1:
            yield from (user for user, _ in node.outputs[0].uses())


def _note_scopes(model: ir.Model) -> None:
    for value in model.graph.initializers.values():
        if _telling(str(value.name)):
            continue
        for node in _readers(value):
            if _TORCH_SCOPES in node.metadata_props and (path := scope(node)):
                node.metadata_props[SCOPE] = path


def _items(model: ir.Model) -> Iterator[Any]:
    """Everything inside the model that carries notes."""
    for graph in model.graphs():
        yield graph
        yield from graph.inputs
        yield from graph.initializers.values()
    for function in model.functions.values():
        yield function
        yield from function.inputs
    for node in [*model.graph.all_nodes(), *(n for function in model.functions.values() for n in function.all_nodes())]:
        yield node
        yield from node.outputs


def _plain_tensor(value: ir.Value) -> None:
    """Replaces a tensor that carries notes, which models that are copies of each other share."""
    tensor = value.const_value
    if tensor is None or tensor.dtype == ir.DataType.STRING or not (tensor.doc_string or tensor.metadata_props):
        return
    value.const_value = ir.tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)
