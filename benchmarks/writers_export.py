"""Small decoders and encoder-decoders with random weights, as torch's two exporters write them.

    python benchmarks/writers_export.py OUT [--only SUBSTRING]

Needs torch and transformers. A file that is there already is kept; a model that cannot be exported is reported and left
out.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import transformers

WIDTH, VOCABULARY, LAYERS = 64, 128, 2
COMMON = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "vocab_size": VOCABULARY}
CAUSAL = MappingProxyType({
    "llama": ("LlamaConfig", {"num_key_value_heads": 2, "intermediate_size": 160}),
    "qwen3": ("Qwen3Config", {"num_key_value_heads": 2, "intermediate_size": 160, "head_dim": 16}),
    "gemma": ("GemmaConfig", {"num_key_value_heads": 1, "intermediate_size": 160, "head_dim": 16}),
    "phi": ("PhiConfig", {"intermediate_size": 160}),
    "mistral": ("MistralConfig", {"num_key_value_heads": 2, "intermediate_size": 160}),
    "gpt2": ("GPT2Config", {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4, "n_positions": 64}),
    "neox": ("GPTNeoXConfig", {"intermediate_size": 160}),
    "opt": ("OPTConfig", {"ffn_dim": 160, "word_embed_proj_dim": WIDTH, "max_position_embeddings": 64}),
    "falcon": ("FalconConfig", {"new_decoder_architecture": False}),
    "mixtral": ("MixtralConfig", {"num_key_value_heads": 2, "intermediate_size": 96, "num_local_experts": 4}),
    "mamba": ("MambaConfig", {"state_size": 8}),
})  # fmt: skip
"""Decoders: their configuration, and what it is given beside ``COMMON``."""
PAIRED = MappingProxyType({
    "t5": ("T5Config", {"d_model": WIDTH, "d_kv": 16, "d_ff": 160, "num_layers": LAYERS, "num_heads": 4}),
    "bart": ("BartConfig", {"d_model": WIDTH, "encoder_layers": LAYERS, "decoder_layers": LAYERS,
                            "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 160,
                            "decoder_ffn_dim": 160, "max_position_embeddings": 64}),
})  # fmt: skip
"""Models of an encoder and a decoder, exported as one graph."""


Example = tuple[torch.nn.Module, tuple[torch.Tensor, ...]]
"""A model with an example of its inputs."""


class Logits(torch.nn.Module):
    """The scores of the next token alone, from tokens of the input and, where there are two parts, of the output."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor, given: torch.Tensor | None = None) -> torch.Tensor:
        more = {} if given is None else {"decoder_input_ids": given}
        return self.model(input_ids=tokens, use_cache=False, **more).logits


def models() -> dict[str, Callable[[], Example]]:
    """Makers of every model with an example of its inputs."""
    found = {}
    for name, (config, more) in CAUSAL.items():
        found[name] = lambda config=config, more=more: _made("AutoModelForCausalLM", config, {**COMMON, **more}, 1)
    for name, (config, more) in PAIRED.items():
        settings = {"vocab_size": VOCABULARY, **more}
        found[name] = lambda config=config, more=settings: _made("AutoModelForSeq2SeqLM", config, more, 2)
    return found


def _made(kind: str, config: str, values: dict[str, Any], count: int) -> Example:
    torch.manual_seed(0)
    settings = getattr(transformers, config)(**values)
    settings._attn_implementation = "eager"
    model = getattr(transformers, kind).from_config(settings).eval()
    return Logits(model).eval(), tuple(torch.randint(0, VOCABULARY, (2, 12)) for _ in range(count))


def export(model: torch.nn.Module, inputs: tuple[torch.Tensor, ...], path: Path, *, dynamo: bool) -> None:
    """One file, with an open batch."""
    names = ["tokens", "given"][: len(inputs)]
    if dynamo:
        shapes = tuple({0: torch.export.Dim("batch", min=1, max=64)} for _ in inputs)
        torch.onnx.export(model, inputs, path, dynamo=True, dynamic_shapes=shapes, input_names=names,
                          external_data=False, verbose=False)  # fmt: skip
    else:
        axes = {name: {0: "batch"} for name in names}
        torch.onnx.export(model, inputs, path, dynamo=False, dynamic_axes=axes, input_names=names, opset_version=17)


def main() -> None:
    """Exports what is missing."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="", metavar="SUBSTRING")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, make in models().items():
        for writer, dynamo in (("dynamo", True), ("torchscript", False)):
            path = options.out / f"{name}.{writer}.onnx"
            if path.exists() or options.only not in path.name:
                continue
            try:
                export(*make(), path, dynamo=dynamo)
                print("exported", path.name, flush=True)
            except Exception as error:  # noqa: BLE001 - whatever an exporter raises
                path.unlink(missing_ok=True)
                print("left out", path.name, type(error).__name__, str(error).splitlines()[0][:120], flush=True)


if __name__ == "__main__":
    main()
