"""A text classifier from end to end: trained, pruned to half of its MACs without labels, distilled.

    python benchmarks/story_text.py --work WORK [--out FILE]

The texts are made-up reviews (``networks_data.reviews``): 20 words about two things, of which one is asked about; the
classes are bad, neutral and good. The network is a transformer encoder of two layers (``networks_modules.Encoder``),
which ``networks.py`` trains and exports.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networks
import networks_data
import story

UNLABELLED, JUDGED = 10000, 2000


def train(path: Path) -> dict[str, Any]:
    """Trains the classifier and exports it; goes on after the last epoch that was finished."""
    networks.produce("text", None, path.parent, seed=1, epochs=None)
    record: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return record


def unlabelled() -> story.Arrays:
    return {"tokens": networks_data.reviews()[0][0][:UNLABELLED]}


def judged() -> story.Arrays:
    tokens, labels = networks_data.reviews()[1]
    return {"tokens": tokens[:JUDGED], "y": labels[:JUDGED]}


TEXT = story.Story("text", "top-1", train, unlabelled, judged, ("--epochs", "4"))

if __name__ == "__main__":
    story.tell(TEXT)
