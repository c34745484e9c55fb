"""A short distillation: some dozens of steps towards what the original gives, after a recovery in closed form.

Least squares makes every layer give what it gave, and takes all of its errors for equally bad. A few steps of training
on the outputs, without labels and on the same samples, know which of them matter. How many are made follows from what
a step takes, as measured: all, a half or a quarter, so that like machines make like models; where not even these fit
into seconds, none.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch

from compressor.config import PruneSettings
from compressor.data import Dataset, augmentation, shuffled
from compressor.data.order import Subset, Unlabelled
from compressor.data.spec import specs
from compressor.train.defaults import training_defaults
from compressor.train.finetune import TuneResult, finetune
from compressor.train.loop.distributed import single_device
from compressor.train.loop.extension import Extension
from compressor.train.loop.fit import Observer
from compressor.train.loop.prefetch import Placing
from compressor.train.loop.split import Splits
from compressor.train.module.pieces import run_module
from compressor.train.pair import TaughtPair

STEPS, LEAST_STEPS = 128, 32
"""Steps that are made where time allows, and fewest that are worth it."""
SAMPLES_A_STEP = 64
"""Samples of a step."""
BRIEF_SECONDS = 60.0
"""Of all steps together, at most."""
MADE_UP_TO_JUDGE = "made up to judge it"
"""What samples are called that nothing was fitted to."""
WHY_MADE_UP = (
    f"{MADE_UP_TO_JUDGE}, as least squares was fitted to those given and those set aside measure the result; --recover "
    "finetune judges by these"
)
"""The same where the user has samples."""
CALIBRATED = 128
"""Samples that norms are calibrated on."""


class TooSlow(Exception):  # noqa: N818 -- an outcome, which the caller puts into a sentence
    """Not even the fewest steps take seconds; the text says how long they would take."""


@dataclass(frozen=True)
class BriefSamples:
    """What a short training sees.

    Attributes:
        train: samples to learn from. Least squares was fitted to them, which flatters the weights from before.
        unseen: others, which judge whether it helped; None where there are no others.
        called: which these are, and why, in words behind their number.
    """

    train: Dataset
    unseen: Dataset | None
    called: str = MADE_UP_TO_JUDGE


def distil(
    model: ir.Model,
    original: ir.Model,
    samples: BriefSamples,
    settings: PruneSettings,
    extensions: Sequence[Extension] = (),
    observe: Observer | None = None,
) -> TuneResult:
    """A copy of ``model`` after a few steps towards the outputs of ``original``.

    Args:
        model: that is trained; not changed.
        original: that is imitated.
        samples: to learn from, and to judge by. No labels are looked at.
        settings: of the run; what they say of the optimiser counts, and epochs follow from the time that a step takes.
        extensions: take part in the training.
        observe: receives progress.

    Raises:
        TooSlow: it would take minutes.
        ModelError: torch lacks an operator of the graphs, or no output has a gradient.
    """
    # Some of the two may have labels and the other none, and neither is judged by them.
    data, unseen = Unlabelled(samples.train), None if samples.unseen is None else Unlabelled(samples.unseen)
    size = min(SAMPLES_A_STEP, len(data))
    steps = steps_within(BRIEF_SECONDS, step_seconds(model, original, data, settings, size))
    # One epoch over the samples as often as steps take them, changed otherwise each time; of many, not all are seen.
    order = np.resize(shuffled(len(data), settings.seed, 0), steps * size)
    chosen = training_defaults(settings, model).model_copy(
        update={
            "loss": "distill",
            "batch_size": size,
            "epochs": 1,
            "samples": min(settings.samples, CALIBRATED),
            **_changes(model, data, settings),
            "patience": 0,
            "checkpoint": None,
            "resume": False,
            "eval": None,
        }
    )
    parts = Splits(Subset(data, order), unseen, lambda epoch: augmentation(chosen, model, epoch), samples.called)
    return finetune(model, chosen, teacher=original, data=parts, extensions=extensions, observe=observe)


def steps_within(seconds: float, each: float) -> int:
    """How many steps of ``each`` seconds are made in ``seconds``.

    Raises:
        TooSlow: fewer than are worth it.
    """
    steps = STEPS
    while steps * each > seconds:
        steps //= 2
        if steps < LEAST_STEPS:
            minutes = max(1, round(STEPS * each / 60))
            raise TooSlow(f"that would take about {minutes} minutes; ask for it with --recover finetune")
    return steps


def step_seconds(model: ir.Model, original: ir.Model, data: Dataset, settings: PruneSettings, size: int) -> float:
    """What a step on ``size`` samples takes on this machine, if it has nothing else to do."""
    pair = TaughtPair.of(model, settings.model_copy(update={"loss": "distill"}), original)
    device = single_device(settings.device)
    # On the CPU of the processor, by its cores: other programs must not decide what is made of a model.
    clock = time.perf_counter if device.type == "cuda" else lambda: time.process_time() / torch.get_num_threads()
    placing = Placing(device)
    for module in (pair.module.train(), pair.teacher):
        if module is not None:
            module.to(device)
    # One run of a fixed batch stands for all.
    count = pair.limit or size
    batch = placing.move(placing.prepare(data.take(np.arange(count, dtype=np.int64) % len(data))))
    spent = 0.0
    # The first time pays for what is set up once.
    for _ in range(2):
        start = clock()
        if pair.teacher is not None:
            with torch.no_grad():
                run_module(pair.teacher, batch.inputs)
        found = [y for y in run_module(pair.module, batch.inputs) if y.requires_grad]
        torch.autograd.backward([y.float().square().mean() for y in found])
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent = clock() - start
    return spent * size / count


def _changes(model: ir.Model, data: Dataset, settings: PruneSettings) -> dict[str, object]:
    """How samples are varied: the original says what it gives for a mirrored or moved image, whatever that shows."""
    images = [spec for spec in specs(model) if spec.image]
    if settings.augment or not images:
        return {}
    shapes = {name: array.shape for name, array in data.take(np.zeros(1, np.int64)).inputs.items()}
    least = min(shapes[spec.name][axis] for spec in images for axis in spec.spatial)
    # Moved by as many pixels as asked, but not by half of a small image.
    return {"augment": ("flip", "crop"), "crop_padding": max(1, min(settings.crop_padding, least // 8))}
