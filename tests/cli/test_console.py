"""What runs write where stderr is no terminal."""

from __future__ import annotations

import pytest

from compressor.cli.console import Logged
from compressor.core.clock import LastingText


def test_logs_keep_what_lasts_and_little_else(capsys: pytest.CaptureFixture[str]) -> None:
    log = Logged()
    log("load")
    log("approach: epoch 1/9, loss 0.5, 8 samples/s, 60 s left")
    log(LastingText("approach: epoch 1/9, loss 0.5, 8 samples/s, 60 s left", "phase=approach epoch=1 loss=0.5"))
    log(LastingText("a\x1b[31m", "phase=\x1b[31m"))
    log.last -= 11
    log("pack")
    assert capsys.readouterr().err.splitlines() == [
        "seconds=0 phase=approach epoch=1 loss=0.5",
        r"seconds=0 phase=\x1b[31m",
        'seconds=0 phase="pack"',
    ]
