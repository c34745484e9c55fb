"""An ONNX graph as a module of torch: its initializers are the parameters, under their names and in their layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from compressor.errors import ModelError, UsageError
from compressor.graph.form.fuse import fuse
from compressor.graph.form.normalise import normalise
from compressor.graph.ir.nodes import is_constant
from compressor.graph.ir.opsets import version_of
from compressor.torch_ops.tensors import to_numpy, to_torch, torch_dtype
from compressor.train.module.build import Builder, check_supported
from compressor.train.module.trainable import initializers, parameters, statistics

TensorPlace = tuple[dict[str, Any], str]
"""A dictionary of a module's parameters or buffers, and a name in it."""


class GraphModule(torch.nn.Module):
    """Computes what the graph computes, and can be trained.

    Every floating initializer that a gradient can reach is an ``nn.Parameter`` of the same shape, one parameter
    however many nodes use it; :mod:`compressor.train.module.trainable` says which those are. Running statistics of
    BatchNormalization are buffers. Other constants are buffers outside of the state, which move with the module;
    those that only describe shapes stay on the CPU, so that reading them never waits for a device.

    Names: the key of a parameter or running statistic in ``state_dict()`` is exactly the name of its initializer.
    Torch splits keys at dots, so a name such as ``layer.0.weight`` lies in nested modules ``layer`` and ``0``.

    Args:
        model: any opset that ONNX Runtime reads; not changed.
        train_bn: in training, BatchNormalization uses the statistics of the batch and updates the running ones
            with the node's momentum. By default it uses the running ones always, as the exported graph does.

    Raises:
        UnsupportedOperator: a node has no function in torch; raised before anything is computed.
        ModelError: the graph cannot be normalised, or holds element types that torch lacks.

    Example:
        >>> module = GraphModule(compressor.load("model.onnx"))
        >>> loss = criterion(module(images), labels)
        >>> tuned = module.write_back(model)
    """

    def __init__(self, model: ir.Model, *, train_bn: bool = False) -> None:
        super().__init__()
        # A copy: normalising renames and folds, and the model still has to be written to.
        graph = normalise(model.clone()).graph
        check_supported(graph)
        opset = version_of(graph)
        trained, running = parameters(graph), statistics(graph)
        shared = next((v for v in running if len(v.uses()) > 1), None)
        if train_bn and shared is not None:
            raise ModelError(
                f"running statistic {shared.name!r} is shared by several inputs, so that no batch can update it; "
                "give each its own initializer, or leave train_bn out"
            )
        constants = {
            value: _tensor(value)
            for value in initializers(graph)
            # Initializers that are inputs too may be overridden by the caller, so that nothing may be computed from
            # them in advance.
            if value not in trained and value not in running and not value.is_graph_input()
        }
        # Only now: the check above and the roles of initializers know operators of the standard alone.
        fuse(graph)
        builder = Builder(graph, opset, constants, train_bn=train_bn)
        self._program = builder.build()
        self._bound: list[TensorPlace] = []
        self._order: dict[str, int] = {}
        # Only what the program reads becomes a parameter; unused initializers keep their bits in ``write_back``.
        for value, _ in builder.captured:
            if value not in constants and not value.is_initializer():
                raise ModelError(f"value {value.name!r} is read but never computed; the graph is damaged")
            tensor = constants[value] if value in constants else _tensor(value)
            self._keep(str(value.name), tensor, trained=value in trained, state=value not in constants)
        self.input_names = tuple(str(v.name) for v in graph.inputs if not v.is_initializer())
        self.output_names = tuple(str(v.name) for v in graph.outputs)

    def _keep(self, name: str, tensor: torch.Tensor, *, trained: bool, state: bool) -> None:
        """Registers a tensor; in torch's own dictionaries, as its checks refuse names that are methods too."""
        *path, last = name.split(".")
        holder: torch.nn.Module = self
        for part in path:
            if part not in holder._modules:
                holder._modules[part] = torch.nn.Module()
            inner = holder._modules[part]
            assert inner is not None
            holder = inner
        store: dict[str, Any] = holder._parameters if trained else holder._buffers
        store[last] = torch.nn.Parameter(tensor) if trained else tensor
        # Not part of the state: otherwise ``state_dict`` and checkpoints would hold constants that never change.
        if not trained and not state:
            holder._non_persistent_buffers_set.add(last)
        if state:
            self._order[name] = len(self._bound)
        self._bound.append((store, last))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The graph's outputs: a tensor if there is one, else a tuple.

        Args:
            *args: the graph's inputs in order, shaped as the graph says; sequences as lists.
            **kwargs: inputs by name instead, and initializers that are inputs too, to override them.

        Raises:
            UsageError: inputs are missing, or nobody knows them.
            ModelError: an operator fails on them; the message names the node.
        """
        bound = [store[name] for store, name in self._bound]
        inputs = self._inputs(args, kwargs)
        if kwargs:
            self._override(bound, kwargs)
        outputs = self._program.run(self._device(inputs, bound), self.training, inputs + bound)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        if len(args) > len(self.input_names):
            raise UsageError(f"{len(args)} inputs are given, the graph has {len(self.input_names)}")
        inputs = list(args)
        for name in self.input_names[len(args) :]:
            if name not in kwargs:
                raise UsageError(f"input {name!r} is missing; the graph wants {', '.join(self.input_names)}")
            inputs.append(kwargs[name])
        return inputs

    def _override(self, bound: list[Any], kwargs: Mapping[str, Any]) -> None:
        for name in kwargs:
            if name in self.input_names:
                continue
            if name not in self._order:
                raise UsageError(f"the graph has no input {name!r}; it has {', '.join(self.input_names)}")
            bound[self._order[name]] = kwargs[name]

    @staticmethod
    def _device(inputs: list[Any], bound: list[Any]) -> torch.device:
        # The first tensor has the device: all of the module's are on one.
        for value in (*bound[:1], *inputs):
            if isinstance(value, torch.Tensor):
                return value.device
        return torch.device("cpu")

    def tensors(self) -> dict[str, torch.Tensor]:
        """Parameters and running statistics by the names of their initializers."""
        found = {}
        for name, index in self._order.items():
            store, key = self._bound[index]
            found[name] = store[key]
        return found

    def write_back(self, model: ir.Model) -> ir.Model:
        """A copy of ``model`` whose initializers hold what was trained; nothing else changes.

        Initializers are found by name, in the graph and in graphs inside it; a Constant node counts as an
        initializer with the name of its output. What was not trained keeps its bits and its place on disk.

        Args:
            model: the one this module was made from, or any with the same initializers.

        Raises:
            ModelError: a tensor that was trained is not in the model, or has another shape there.
        """
        copy = model.clone()
        places = _places(copy)
        for name, tensor in self.tensors().items():
            place = places.get(name)
            if place is None:
                raise ModelError(f"the model has no initializer {name!r} to write to; give the one that was tuned")
            _write(place, name, tensor)
        return copy


def _tensor(value: ir.Value) -> torch.Tensor:
    """A copy of an initializer's numbers."""
    tensor = value.const_value
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        what = "holds text, which torch does not know" if tensor is not None else "has no data"
        raise ModelError(f"initializer {value.name!r} {what}; take it out of the model")
    try:
        return to_torch(tensor.numpy())
    except ModelError as error:
        raise ModelError(f"initializer {value.name!r}: {error}") from None


def _places(model: ir.Model) -> dict[str, ir.Value | ir.Node]:
    """Where the numbers of each name are: its initializer, or the Constant node that writes it."""
    found: dict[str, ir.Value | ir.Node] = {}
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            found.setdefault(name, value)
    for node in model.graph.all_nodes():
        if is_constant(node):
            found.setdefault(str(node.outputs[0].name), node)
    return found


def _write(place: ir.Value | ir.Node, name: str, tensor: torch.Tensor) -> None:
    old = place.attributes["value"].as_tensor() if isinstance(place, ir.Node) else place.const_value
    if old is None or tuple(old.shape.numpy()) != tuple(tensor.shape):
        shape = None if old is None else list(old.shape.numpy())
        raise ModelError(
            f"initializer {name!r} has shape {shape} in the model and {list(tensor.shape)} in the "
            "trained module; give the model that was tuned"
        )
    # Rounded to the file's type here: a model of 16 bits is trained in float32.
    array = to_numpy(tensor.detach().to(torch_dtype(old.dtype)))
    # Unchanged tensors keep their place in the file, external data included.
    if array.tobytes() == np.ascontiguousarray(old.numpy()).tobytes():
        return
    # A copy of its own, since torch's memory would follow later training.
    new = ir.Tensor(array.copy(), dtype=old.dtype, name=old.name, doc_string=old.doc_string)
    if isinstance(place, ir.Node):
        place.attributes["value"] = ir.AttrTensor("value", new)
    else:
        place.const_value = new
