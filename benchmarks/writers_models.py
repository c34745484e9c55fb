"""Tiny language models with random weights, which writers_export.py has exported: their graphs are those of real ones.

Needs transformers and torch. A decoder takes and gives its cache as tensors; encoder and decoder are two modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache

LAYERS, WIDTH, HEADS, INNER, VOCABULARY = 2, 64, 8, 256, 128
PAST, LENGTH, SOURCE, FRAMES, MELS = 5, 3, 7, 40, 16
"""Positions in the cache, new ones, those that an encoder reads, frames of sound and their bands."""
HEAD = WIDTH // HEADS


@dataclass(frozen=True)
class Example:
    """A module and how it is exported.

    Attributes:
        module: takes tensors and gives a tuple of tensors.
        inputs: by name, in the order of its arguments.
        outputs: names.
        open_axes: by input: axis -> name of the size that the caller chooses.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    open_axes: Mapping[str, Mapping[int, str]]


def _common(**more: Any) -> dict[str, Any]:
    return {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "vocab_size": VOCABULARY,
        **more,
    }


GROUPED = {"num_key_value_heads": HEADS // 4}
_GPTJ = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "vocab_size": VOCABULARY, "rotary_dim": 4}
DECODERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", _common(**GROUPED)),
    "qwen3": ("Qwen3", _common(**GROUPED, head_dim=HEAD)),
    "gemma": ("Gemma", _common(**GROUPED, head_dim=HEAD)),
    "phi": ("Phi", _common()),
    "mistral": ("Mistral", _common(**GROUPED, sliding_window=None)),
    "gpt2": (
        "GPT2",
        {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "vocab_size": VOCABULARY, "n_positions": 64},
    ),
    "gpt-neox": ("GPTNeoX", _common()),
    "opt": (
        "OPT",
        {
            **_common(ffn_dim=INNER, max_position_embeddings=64, word_embed_proj_dim=WIDTH),
            "intermediate_size": None,
        },
    ),
    "falcon": ("Falcon", _common(alibi=False, new_decoder_architecture=False, multi_query=True)),
    "qwen2": ("Qwen2", _common(**GROUPED)),
    "gemma2": ("Gemma2", _common(**GROUPED, head_dim=HEAD)),
    "phi3": ("Phi3", _common(**GROUPED, pad_token_id=0)),
    "stablelm": ("StableLm", _common(**GROUPED)),
    "cohere": ("Cohere", _common(**GROUPED)),
    "gptj": ("GPTJ", _GPTJ),
    "codegen": ("CodeGen", _GPTJ),
    "bloom": ("Bloom", {"hidden_size": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "vocab_size": VOCABULARY}),
    "mpt": ("Mpt", {"d_model": WIDTH, "n_layers": LAYERS, "n_heads": HEADS, "vocab_size": VOCABULARY}),
    "mixtral": ("Mixtral", _common(**GROUPED, num_local_experts=4, num_experts_per_tok=2)),
}
"""Name -> the class without its ``Config``, and the settings."""

SEQ2SEQ: Mapping[str, tuple[str, dict[str, Any]]] = {
    "t5": (
        "T5",
        {"d_model": WIDTH, "num_layers": LAYERS, "num_heads": HEADS, "d_kv": HEAD, "d_ff": INNER}
        | {"vocab_size": VOCABULARY, "decoder_start_token_id": 0},
    ),
    "bart": (
        "Bart",
        {"d_model": WIDTH, "encoder_layers": LAYERS, "decoder_layers": LAYERS, "vocab_size": VOCABULARY}
        | {"encoder_attention_heads": HEADS, "decoder_attention_heads": HEADS, "max_position_embeddings": 64}
        | {"encoder_ffn_dim": INNER, "decoder_ffn_dim": INNER},
    ),
    "whisper": (
        "Whisper",
        {"d_model": WIDTH, "encoder_layers": LAYERS, "decoder_layers": LAYERS, "vocab_size": VOCABULARY}
        | {"encoder_attention_heads": HEADS, "decoder_attention_heads": HEADS, "num_mel_bins": MELS}
        | {"encoder_ffn_dim": INNER, "decoder_ffn_dim": INNER, "max_source_positions": FRAMES // 2}
        | {"max_target_positions": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        | {"decoder_start_token_id": 1},
    ),
}


class Decoder(nn.Module):
    """Logits and the longer cache, from tokens, a mask over past and new ones, and keys and values of each layer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, past: list[Tensor]) -> tuple[Tensor, ...]:
        cache = DynamicCache(list(zip(past[::2], past[1::2], strict=True)))
        given = self.model(input_ids=input_ids, attention_mask=attention_mask, past_key_values=cache, use_cache=True)
        return given.logits, *_flat(given.past_key_values)


class Encoder(nn.Module):
    """The encoder alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.encoder = model.get_encoder()

    def forward(self, given: Tensor) -> tuple[Tensor, ...]:
        return (self.encoder(given).last_hidden_state,)


class CrossDecoder(nn.Module):
    """Logits from tokens and what an encoder gave; with a cache of the decoder's own attention, the longer one too."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, last_hidden_state: Tensor, past: list[Tensor] | None = None
    ) -> tuple[Tensor, ...]:
        cache = None
        if past is not None:
            cache = EncoderDecoderCache(DynamicCache(list(zip(past[::2], past[1::2], strict=True))), DynamicCache())
        given = self.model(
            decoder_input_ids=input_ids,
            encoder_outputs=(last_hidden_state,),
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return given.logits, *(() if cache is None else _flat(given.past_key_values.self_attention_cache))


class Plain(nn.Module):
    """The first result from one input, without any cache."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, given: Tensor) -> tuple[Tensor, ...]:
        return (self.model(given, return_dict=True, **({"use_cache": False} if self.caches else {}))[0],)

    @property
    def caches(self) -> bool:
        """Does the model have a cache that could be asked for?"""
        return hasattr(self.model.config, "use_cache")


def _flat(cache: DynamicCache) -> list[Tensor]:
    return [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]


def build(name: str, settings: Mapping[str, Any], head: str) -> nn.Module:
    """A seeded model in which no parameter is left constant, as zero biases would hide mistakes."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**{k: v for k, v in settings.items() if v is not None})
    config._experts_implementation = "batched_mm"  # one graph for all inputs: no expert is skipped
    model: nn.Module = getattr(transformers, f"{name}{head}")(config).eval()
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.numel() > 1 and bool(tensor.max() == tensor.min()):
                tensor.add_(0.1 * torch.randn(tensor.shape))
    return model


def decoder(name: str) -> Example:
    """A decoder with its cache."""
    kind, settings = DECODERS[name]
    model = build(kind, settings, "LMHeadModel" if kind == "GPT2" else "ForCausalLM")
    heads = 1 if settings.get("multi_query") else settings.get("num_key_value_heads", HEADS)
    pasts = {f"past.{n}.{what}": torch.randn(2, heads, PAST, HEAD) for n in range(LAYERS) for what in ("key", "value")}
    inputs = {"input_ids": _tokens(LENGTH), "attention_mask": torch.ones(2, PAST + LENGTH, dtype=torch.int64)}
    axes = {"input_ids": {0: "batch", 1: "length"}, "attention_mask": {0: "batch", 1: "total"}}
    axes |= {past: {0: "batch", 2: "past"} for past in pasts}
    presents = [past.replace("past", "present") for past in pasts]
    return Example(Decoder(model), {**inputs, **pasts}, ("logits", *presents), axes)


def encoder(name: str) -> Example:
    """An encoder; its result has the name by which the decoder asks for it."""
    sound = name == "whisper"
    given = torch.randn(2, MELS, FRAMES) if sound else _tokens(SOURCE)
    label = "input_features" if sound else "source_ids"
    axes = {0: "batch"} if sound else {0: "batch", 1: "source"}
    return Example(Encoder(_seq2seq(name)), {label: given}, ("last_hidden_state",), {label: axes})


def cross_decoder(name: str, *, cached: bool) -> Example:
    """A decoder that reads what an encoder gave."""
    source = FRAMES // 2 if name == "whisper" else SOURCE
    inputs = {"input_ids": _tokens(LENGTH), "last_hidden_state": torch.randn(2, source, WIDTH)}
    axes = {"input_ids": {0: "batch", 1: "length"}, "last_hidden_state": {0: "batch", 1: "source"}}
    if name == "whisper":
        del axes["last_hidden_state"][1]
    names = [f"past.{n}.{what}" for n in range(LAYERS) for what in ("key", "value")] if cached else []
    pasts = {past: torch.randn(2, HEADS, PAST, HEAD) for past in names}
    axes |= {past: {0: "batch", 2: "past"} for past in pasts}
    presents = [past.replace("past", "present") for past in pasts]
    return Example(CrossDecoder(_seq2seq(name)), {**inputs, **pasts}, ("logits", *presents), axes)


def plain(kind: str, settings: Mapping[str, Any], head: str, *, length: int | None = None) -> Example:
    """A model of one input; ``length`` fixes the number of tokens, for graphs that are unrolled over them."""
    axes = {0: "batch"} if length else {0: "batch", 1: "length"}
    module = Plain(build(kind, settings, head))
    return Example(module, {"input_ids": _tokens(length or SOURCE)}, ("result",), {"input_ids": axes})


def _seq2seq(name: str) -> nn.Module:
    kind, settings = SEQ2SEQ[name]
    return build(kind, settings, "ForConditionalGeneration")


def _tokens(length: int) -> Tensor:
    return torch.randint(3, VOCABULARY, (2, length))


MAMBA = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY, "state_size": 8}
BERT = _common(max_position_embeddings=64)
CASES: Mapping[str, Callable[[], Example]] = {
    **{f"{name}.cache": partial(decoder, name) for name in DECODERS},
    **{f"{name}.encoder": partial(encoder, name) for name in SEQ2SEQ},
    **{f"{name}.decoder": partial(cross_decoder, name, cached=False) for name in SEQ2SEQ},
    **{f"{name}.decoder.cache": partial(cross_decoder, name, cached=True) for name in SEQ2SEQ},
    "mamba": lambda: plain("Mamba", MAMBA, "ForCausalLM", length=6),
    "bert": lambda: plain("Bert", BERT, "Model"),
    "modernbert": lambda: plain("ModernBert", _common(pad_token_id=0), "Model"),
    "deberta": lambda: plain("DebertaV2", _common(relative_attention=True, pos_att_type=["p2c", "c2p"]), "Model"),
}
"""Name of a file -> what is exported into it."""
