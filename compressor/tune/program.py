"""A graph as a list of prepared steps: every attribute read, every operand a number of a slot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from compressor.errors import CompressorError, ModelError

DEVICE, HOST, TRAINING, NOTHING, FIRST = range(5)
"""Slots that every program has: its device, the CPU, whether it is training, None; then its inputs."""


@dataclass(frozen=True)
class Step:
    """One call: the slots it reads and writes, and those that nobody reads afterwards."""

    call: Callable[..., Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    release: tuple[int, ...]
    label: str


class Program:
    """Runs steps over a list of slots. It holds no state: everything it reads comes in with the call."""

    def __init__(self, steps: Sequence[Step], template: Sequence[Any], results: Sequence[int]) -> None:
        self.steps = tuple(steps)
        self.template = tuple(template)
        self.results = tuple(results)

    def run(self, device: torch.device, training: bool, given: Sequence[Any]) -> list[Any]:
        """The outputs; ``given`` fills the slots from ``FIRST`` on: inputs, then what the graph reads from outside.

        Raises:
            ModelError: an operator fails on what it is given; the message names the node.
        """
        slots = list(self.template)
        slots[DEVICE], slots[TRAINING] = device, training
        slots[FIRST : FIRST + len(given)] = given
        step = None
        try:
            for step in self.steps:
                result = step.call(*[slots[k] for k in step.inputs])
                if type(result) is tuple:
                    for slot, value in zip(step.outputs, result, strict=False):
                        slots[slot] = value
                else:
                    slots[step.outputs[0]] = result
                for slot in step.release:
                    slots[slot] = None
        except (CompressorError, torch.OutOfMemoryError):
            raise
        except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError) as error:
            label = step.label if step is not None else "graph"
            raise ModelError(f"{label} fails in torch: {error}") from error
        return [slots[k] for k in self.results]
