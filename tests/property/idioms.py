"""Named small networks, the same on every run: one for each block, and a few of well-known make.

Random graphs find a mistake; these show it alone. `idiom(name, variant)` draws other options.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from zlib import crc32

import numpy as np
import onnx

from .activations import activate
from .blocks_ends import CLASSES, HEADS, embedding_stem, feature_stem, image_stem, patch_stem, token_stem
from .blocks_join import project
from .builder import BATCH, Style, Value
from .catalogue import BLOCKS, KINDS
from .graphs import to_model
from .growing import Block, DeadEndError, Net
from .operators import Builder

OPSET = 17
_ATTEMPTS = 20
_BY_NAME = {block.name: (rank, block) for rank, table in BLOCKS.items() for block in table}
_INPUTS = {4: (3, 6, 6), 3: (6, 7), 2: (7,)}
_STEMS = {"image": image_stem, "patches": patch_stem, "tokens": token_stem, "ids": embedding_stem}
_STEMS |= {"features": feature_stem}

NETWORKS = {
    "alexnet": "image: conv clip conv pool conv image_to_features gemm pointwise mlp",
    "resnet": "image: conv_norm_act residual residual residual_pad residual_projection residual pool",
    "resnext": "image: conv_norm_act conv_grouped batch_norm residual conv_grouped residual",
    "mobilenet": "image: conv_norm_act inverted_residual squeeze_excite inverted_residual hard_swish conv",
    "shufflenet": "image: conv_norm_act shuffle_unit channel_shuffle conv_depthwise shuffle_unit",
    "densenet": "image: conv dense conv_norm_act pool conv dense conv batch_norm",
    "inception": "image: conv inception inception pyramid_pool many_branches",
    "ghostnet": "image: conv ghost squeeze_excite ghost conv",
    "yolo": "image: conv_norm_act cross_stage silu conv cross_stage long_skip pyramid_pool",
    "unet": "image: conv pool conv_norm_act upsample_expand long_skip conv_norm_act residual",
    "super_resolution": "image: conv residual residual twin_add conv conv_transpose prelu",
    "convnext": "image: conv layer_norm_first channels_last_mlp channels_last_mlp global_response_norm",
    "sknet": "image: conv_norm_act selective_kernel residual split_attention spatial_attention",
    "swin": "patches: layer_norm tokens_to_image window_attention roll image_to_tokens mlp",
    "vit": "patches: class_token position_embedding layer_norm attention_fused_gather mlp attention_chunked",
    "cait": "patches: attention_talking_heads layer_scale class_token class_token_only_out mlp",
    "xcit": "patches: layer_norm attention_channels depthwise_tokens mlp attention_channels",
    "mixer": "patches: layer_norm token_mixer layer_norm mlp token_mixer mlp tokens_to_features",
    "gmlp": "patches: layer_norm spatial_gate residual layer_norm spatial_gate",
    "bert": "ids: position_gather layer_norm attention_separate layer_norm mlp attention_bmm layer_norm mlp",
    "gpt": "ids: layer_norm attention_causal layer_norm mlp attention_fused_split layer_norm mlp",
    "llama": "ids: rms_norm_steps attention_rope rms_norm_steps swiglu attention_grouped_query swiglu",
    "t5": "ids: rms_norm_steps attention_relative_bias rms_norm_steps mlp attention_latents",
    "experts": "ids: attention_multi_query expert_mix rms_norm_steps expert_mix",
    "wav2vec": "tokens: linear_pointwise_conv group_norm_tokens depthwise_tokens attention_separate mlp",
    "tagger": "ids: lstm_bidirectional linear lstm_stacked layer_norm gru",
    "speech": "tokens: batch_norm_tokens gru_bidirectional swiglu_split rnn lstm_last_state",
    "recommender": "features: cross_layer mlp cross_layer factorisation outer_product",
    "autoencoder": "features: gemm autoencoder batch_norm_features gemm_weight_left layer_norm_features",
    "generator": "features: linear features_to_image conv_transpose batch_norm conv_norm_act",
    "clip_text": "ids: attention_causal layer_norm swiglu tokens_to_features gemm softmax_gate",
}


def idiom(name: str, variant: int = 0) -> onnx.ModelProto:
    """The network of that name; other variants draw other options, fixed or symbolic batch among them.

    Raises:
        KeyError: no block and no network has the name.
        DeadEndError: no draw gave a network with a signal throughout.
    """
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([crc32(name.encode()), variant, attempt])
        with suppress(DeadEndError):
            if name.startswith("network."):
                return _network(NETWORKS[name.removeprefix("network.")], rng)
            return _sandwich(*_BY_NAME[name], rng, batch=None if variant % 2 == 0 else 1 + variant % 3)
    raise DeadEndError(f"{name}, variant {variant}: no signal in {_ATTEMPTS} draws")


def _sandwich(rank: int, block: Block, rng: np.random.Generator, batch: int | None) -> onnx.ModelProto:
    """Two layers and an activation, the block, one more layer, a head."""
    net = Net(Builder(rng, max(OPSET, block.opset), batch, Style(runtime_shapes=0.2)))
    x = net.input(KINDS[rank], BATCH, *_INPUTS[rank])
    before = [Block("before", partial(project, out=width)) for width in (6, 8)]
    act, after = Block("activation", activate), Block("after", partial(project, out=8))
    for step in (*before, act, block, after, act, Block("head", _plain_head)):
        x = net.require(step, x)
    return to_model(net, [x])


def _plain_head(b: Builder, x: Value) -> Value:
    """The mean over pixels or tokens, then a linear layer."""
    axes = {4: (2, 3), 3: (1,), 2: ()}[x.rank]
    return b.linear(b.reduce("ReduceMean", x, *axes, keep=False) if axes else x, CLASSES)


def _network(recipe: str, rng: np.random.Generator) -> onnx.ModelProto:
    """A stem, the blocks of a recipe, and a head; a block's kind is that of the value it meets."""
    stem, _, names = recipe.partition(": ")
    net = Net(Builder(rng, OPSET, None, Style()))
    x, first = _STEMS[stem](net)
    x = net.require(first, x)
    for name in names.split():
        x = net.require(_BY_NAME[f"{KINDS[x.rank]}.{name}"][1], x)
    return to_model(net, [net.require(HEADS[x.rank], x)])


IDIOMS: dict[str, Callable[[], onnx.ModelProto]] = {
    name: partial(idiom, name) for name in [*_BY_NAME, *(f"network.{name}" for name in NETWORKS)]
}
