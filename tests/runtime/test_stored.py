"""A model that is made ready beside what its caller does."""

from collections.abc import Sequence
from pathlib import Path
from threading import Event, Thread, current_thread

import numpy as np
import pytest
from onnx import TensorProto, helper

from compressor.errors import ModelError
from compressor.runtime.stored import Feed, Ready, Runnable, Runs, WeightChange, opened_beside, run_once
from tests.models import in_memory, model


class _Ready(Ready):
    def run(self, feeds: Sequence[Feed]) -> Runs:
        return Runs([], list(feeds), [[] for _ in feeds])


class _Slow(Runnable):
    """A model that takes until it is told, and notes who opened it."""

    def __init__(self, problem: ModelError | None = None) -> None:
        self.may_end, self.opened_by = Event(), list[Thread]()
        self._problem = problem

    def open(self) -> Ready:
        self.may_end.wait(10)
        self.opened_by.append(current_thread())
        if self._problem is not None:
            raise self._problem
        return _Ready()

    def changed(self, change: WeightChange, folder: Path) -> Runnable:
        raise NotImplementedError


def test_a_model_is_opened_beside_the_block_and_once() -> None:
    slow = _Slow()
    with opened_beside(slow) as opened:
        assert not slow.opened_by
        slow.may_end.set()
        first = opened.open()
        assert slow.opened_by != [current_thread()]
        assert len(slow.opened_by) == 1
        assert opened.open() is not first, "what was handed out is not kept"


def test_what_opening_raises_is_raised_where_it_is_asked_for() -> None:
    slow = _Slow(ModelError("no kernel"))
    slow.may_end.set()
    with opened_beside(slow) as opened, pytest.raises(ModelError, match="no kernel"):
        opened.open()


def test_no_thread_is_left_where_the_block_fails() -> None:
    slow = _Slow()

    def fail() -> None:
        with opened_beside(slow):
            slow.may_end.set()
            raise ValueError("meant")

    with pytest.raises(ValueError, match="meant"):
        fail()
    assert len(slow.opened_by) == 1


def test_labels_in_words_are_written_for_the_runtime() -> None:
    words = [f"class number {k}" for k in range(1000)]
    proto = model("(int64[n] x) => (string[n] y) { y = Gather(words, x) }", checked=False)
    proto.graph.initializer.append(helper.make_tensor("words", TensorProto.STRING, [1000], words))
    runs = run_once(in_memory(proto), [{"x": np.array([3, 999])}], "cpu")
    assert runs.outputs[0][0].tolist() == ["class number 3", "class number 999"]
