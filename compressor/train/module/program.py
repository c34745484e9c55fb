"""A graph as a list of prepared steps: every attribute read, every operand a number of a slot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from compressor.errors import CompressorError, DoesNotRun

DEVICE, HOST, TRAINING, NOTHING, FIRST = range(5)
"""Slots that every program has: its device, the CPU, whether it is training, None; then all others."""


@dataclass(frozen=True)
class Step:
    """One call: the slots it reads and writes, and those that nobody reads afterwards."""

    call: Callable[..., Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    release: tuple[int, ...]
    label: str


@dataclass(frozen=True)
class Program:
    """Runs steps over a list of slots. It holds no state: everything it reads comes in with the call.

    Attributes:
        steps: in order.
        template: what the slots hold at first: constants of the host, else None.
        entry: the slots that the caller fills.
        results: the slots of the outputs.
    """

    steps: tuple[Step, ...]
    template: tuple[Any, ...]
    entry: tuple[int, ...]
    results: tuple[int, ...]

    def run(self, device: torch.device, training: bool, given: Sequence[Any]) -> list[Any]:
        """The outputs for what fills the slots of ``entry``.

        Raises:
            DoesNotRun: an operator fails on what it is given; the message names the node.
        """
        slots = list(self.template)
        slots[DEVICE], slots[TRAINING] = device, training
        for slot, value in zip(self.entry, given, strict=True):
            slots[slot] = value
        step = None
        try:
            for step in self.steps:
                result = step.call(*[slots[k] for k in step.inputs])
                if type(result) is tuple:
                    # A function may give optional outputs that the node does not list.
                    for slot, value in zip(step.outputs, result, strict=False):
                        slots[slot] = value
                else:
                    slots[step.outputs[0]] = result
                for slot in step.release:
                    # Autograd holds what it needs by itself, so this is safe in training too.
                    slots[slot] = None
        except (CompressorError, torch.OutOfMemoryError):
            # Lack of memory is told by another message (try a smaller batch), so it is not renamed to a fault of the
            # node.
            raise
        except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError) as error:
            label = step.label if step is not None else "graph"
            raise DoesNotRun(f"{label} fails in torch: {error}") from error
        return [slots[k] for k in self.results]


@dataclass(frozen=True)
class NodeBody:
    """A graph inside a node, and which of the node's operands are the values that it reads from outside."""

    program: Program
    captured: slice

    @property
    def count(self) -> int:
        """How many outputs it has."""
        return len(self.program.results)

    def run(self, device: torch.device, training: bool, inputs: Sequence[Any], operands: Sequence[Any]) -> list[Any]:
        """Its outputs; ``operands`` are all that the node was given."""
        return self.program.run(device, training, [*inputs, *operands[self.captured]])


def released(steps: Sequence[Step], kept: Sequence[int]) -> tuple[Step, ...]:
    """The steps, with each slot set free after its last use, unless it is to be kept."""
    last: dict[int, int] = {}
    for index, step in enumerate(steps):
        for slot in (*step.inputs, *step.outputs):
            last[slot] = index
    free: dict[int, list[int]] = {}
    for slot, index in last.items():
        # The first slots are the program's own, and live through the run.
        if slot >= FIRST and slot not in kept:
            free.setdefault(index, []).append(slot)
    return tuple(Step(s.call, s.inputs, s.outputs, tuple(free.get(k, ())), s.label) for k, s in enumerate(steps))
