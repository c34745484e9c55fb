"""Random small ONNX models in which channels are made, shared, moved, mixed and lost in every known way."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from compressor.config import PruneSettings

from .blocks_ends import HEADS, STEMS
from .builder import Style, Value
from .catalogue import BLOCKS
from .growing import Block, Feed, Net, random_feed
from .operators import Builder

OPSETS = (11, 13, 17, 18, 20, 21, 23)
ENTRIES = 1000
"""A sample's value with more entries than this is made smaller at once, so that models stay fast."""

CALMING = {"image.conv", "image.pool", "image.image_to_features", "tokens.linear", "features.gemm"}

_USED = "blocks"


def random_model(rng: np.random.Generator, *, size: int = 12, opset: int | None = None) -> onnx.ModelProto:
    """A valid model of `size` blocks and usually a head; blocks_of tells which.

    random_inputs feeds it; a symbolic batch is called N.
    """
    net = Net(new_builder(rng, opset))
    x = start(net)
    while len(net.used) <= size:
        x = net.grow(choose(net.b, x), x) or x
    outputs = finish(net, x)
    return to_model(net, outputs)


def new_builder(rng: np.random.Generator, opset: int | None) -> Builder:
    """A builder with an exporter's habits drawn at random."""
    version = opset or int(rng.choice(OPSETS))
    batch = None if rng.random() < 0.5 else int(rng.choice([1, 2, 3]))
    style = Style(
        constant_nodes=bool(rng.random() < 0.3),
        node_names=bool(rng.random() < 0.85),
        merge_constants=bool(rng.random() < 0.5),
        runtime_shapes=float(rng.choice([0.0, 0.1, 0.6])),
        weights_as_inputs=bool(rng.random() < 0.05),
    )
    return Builder(rng, version, batch, style)


def start(net: Net) -> Value:
    """An input and the layer that reads it."""
    x, stem = net.b.pick(*STEMS)(net)
    return net.require(stem, x)


def choose(b: Builder, x: Value) -> Block:
    """A block that may follow x; beyond ENTRIES only one that makes it smaller."""
    table = [block for block in BLOCKS[x.rank] if block.allowed(b, x)]
    if prod(x.shape[1:]) > ENTRIES:
        table = [block for block in table if block.name in CALMING]
    weights = np.array([block.weight for block in table])
    return table[int(b.rng.choice(len(table), p=weights / weights.sum()))]


def finish(net: Net, x: Value) -> list[Value]:
    """Close the graph: mostly a head; sometimes a second one, or an inner value as an output."""
    outputs: list[Value] = []
    if net.b.chance(0.85):
        outputs.append(net.grow(HEADS[x.rank], x) or x)
    else:
        outputs.append(x)
    inner = [value for value in net.b.memory if value.name not in {x.name, outputs[0].name}]
    if inner and net.b.chance(0.15):
        value = net.b.pick(*inner)
        second = net.grow(HEADS[value.rank], value)
        outputs += [second] if second else []
    if inner and net.b.chance(0.12):
        outputs.append(net.b.pick(*inner))
    return outputs


def to_model(net: Net, outputs: list[Value]) -> onnx.ModelProto:
    """The file, without nodes that lead nowhere, with the names of its blocks as metadata."""
    unique = list({value.name: value for value in outputs}.values())
    model = net.b.model(net.inputs, unique)
    model.metadata_props.add(key=_USED, value=" ".join(net.used))
    return model


def random_inputs(model: onnx.ModelProto, rng: np.random.Generator, batch: int = 3) -> Feed:
    """Values for every input that no initializer gives; symbolic sizes become `batch`."""
    given = {tensor.name for tensor in model.graph.initializer}
    return random_feed([info for info in model.graph.input if info.name not in given], rng, batch)


def has_symbolic_batch(model: onnx.ModelProto) -> bool:
    return any(dim.dim_param for info in model.graph.input for dim in info.type.tensor_type.shape.dim)


def blocks_of(model: onnx.ModelProto) -> list[str]:
    """The names of the blocks a model was made of, in order."""
    entries: dict[str, str] = {entry.key: entry.value for entry in model.metadata_props}
    return entries[_USED].split()


def settings_for(rng: np.random.Generator) -> PruneSettings:
    return PruneSettings.parse(
        {
            "ratio": float(rng.choice([0.3, 0.5, 0.75])),
            "attention": str(rng.choice(["heads", "dims"])),
            "keep_norm_axes": bool(rng.random() < 0.2),
            "criterion": str(rng.choice(["l1", "l2", "consumers", "product", "fpgm", "lamp", "random"])),
            "scope": str(rng.choice(["local", "local", "global"])),
            "round_to": int(rng.choice([1, 1, 2, 8])),
            "min_channels": 2,  # behind a norm over one channel is nothing but rounding
            "simplify": bool(rng.random() < 0.8),
            "verify": str(rng.choice(["full", "quick", "quick"])),  # both compare what this is about
        }
    )
