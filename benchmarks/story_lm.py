"""A language model from end to end: trained, pruned to half of its MACs without labels, distilled.

    python benchmarks/story_lm.py --work WORK [--out FILE]

The text is the source of Python's own modules, byte by byte. The network is a causal transformer of two layers; it is
exported with an open batch and an open length, and gives logits [n, length, 256]. Perplexity is measured without
labels: at each position the next token of the input is what is right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networks_data
import numpy as np
import story
import torch
from networks_modules import Layer, positions
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

VOCABULARY, LENGTH, WIDTH = 256, 64, 96
TRAINING, UNLABELLED, JUDGED = 16000, 4000, 500
EPOCHS, BATCH, RATE = 5, 32, 3e-3


class LanguageModel(nn.Module):
    """Input: tokens int64[n, length], at most 64 long; output: logits [n, length, 256]."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), positions(LENGTH, WIDTH)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.layers = nn.Sequential(*(Layer(WIDTH, 4, 4 * WIDTH, causal=True) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.tokens(input_ids) + self.positions[:, : input_ids.shape[1]]
        return self.head(self.norm(self.layers(x)))


def rows(part: int) -> np.ndarray:
    """Tokens int64[n, 64] for training (0) and held out (1); none of the files is in both."""
    return networks_data.source_text(LENGTH, most=JUDGED)[part][0].astype(np.int64)


def train(path: Path) -> dict[str, Any]:
    """Trains the language model and exports it; goes on after the last epoch that was finished."""
    torch.manual_seed(0)
    tokens = torch.from_numpy(rows(0)[:TRAINING])
    model = LanguageModel()
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, RATE, betas=(0.9, 0.98))
    steps = len(tokens) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps * EPOCHS, pct_start=0.1)
    checkpoint, done, losses = path.with_suffix(".pt"), 0, list[float]()
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        done, losses = saved["epochs"], saved["losses"]
    for epoch in range(done, EPOCHS):
        torch.manual_seed(epoch)
        total = 0.0
        for index in torch.randperm(len(tokens))[: steps * BATCH].split(BATCH):
            given = tokens[index]
            value = cross_entropy(model.train()(given[:, :-1]).transpose(1, 2), given[:, 1:])
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += value.item()
        losses.append(round(total / steps, 4))
        torch.save({n: p.state_dict() for n, p in parts.items()} | {"epochs": epoch + 1, "losses": losses}, checkpoint)
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {losses[-1]}", flush=True)
    torch.onnx.export(
        model.eval(), (tokens[:2],), path, dynamo=True, opset_version=18, verbose=False, external_data=False,
        input_names=["input_ids"], output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=LENGTH)},),
    )  # fmt: skip
    return {"epochs": EPOCHS, "samples": len(tokens), "losses": losses}


LM = story.Story(
    "lm",
    "perplexity",
    train,
    lambda: {"input_ids": rows(0)[TRAINING : TRAINING + UNLABELLED]},
    lambda: {"input_ids": rows(1)},
    ("--epochs", "3"),
)

if __name__ == "__main__":
    story.tell(LM)
