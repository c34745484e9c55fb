"""Events as lines."""

from __future__ import annotations

from dataclasses import replace

from compressor.core.clock import LastingText
from compressor.train.loop.history import Event

EVENT = Event("epoch", 3, 10, 30, 100, 0.25, 0.0183, "top-1 on set", 0.5, None, 512.0, 61.0)


def test_finished_epochs_last_and_steps_do_not() -> None:
    told = EVENT.told("approach", ", 0.100 off the blocks")
    assert told == "approach: epoch 3/10, loss 0.25, top-1 on set 0.5, 0.100 off the blocks, 512 samples/s, 61 s left"
    assert isinstance(told, LastingText)
    assert told.line == (
        "phase=approach epoch=3 epochs=10 step=30 steps=100 loss=0.25 learning_rate=0.0183 images_per_second=512 "
        "eta_seconds=61 top-1_on_set=0.5"
    )
    assert not isinstance(replace(EVENT, kind="step").told("approach"), LastingText)


def test_what_was_judged_is_told_with_the_samples_that_it_is_of() -> None:
    told = replace(EVENT, judged_on="450 samples set aside").told("train")
    assert "top-1 on set 0.5 on 450 samples set aside, 512 samples/s" in told
    assert isinstance(told, LastingText)
    assert 'judged_on="450 samples set aside"' in told.line
