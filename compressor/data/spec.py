"""What each input of a model takes: the form that samples have to have."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from compressor.core.formatting import count, printable
from compressor.errors import UsageError
from compressor.graph.ir.meta_keys import SAMPLE
from compressor.operators.input_use import IndexedTable, constant_table
from compressor.results.detail import LEAST_JUDGED

if TYPE_CHECKING:
    from compressor.data.batch import Dataset

DeclaredDim = int | str | None
IMAGE_CHANNELS = (1, 2, 3, 4)
"""Sizes by which an axis is taken for the channels of images."""


@dataclass(frozen=True)
class InputSpec:
    """One input of a model.

    Attributes:
        name: in the graph.
        dtype: element type.
        shape: size of each axis, the name of a symbol or None where it is open; the first axis counts samples.
            None where the file declares no shape; empty where all samples have one number in common.
        table: that its numbers pick from, whatever else the graph does; None: from none, or from one that is computed.
    """

    name: str
    dtype: ir.DataType
    shape: tuple[DeclaredDim, ...] | None
    table: IndexedTable | None = None

    @property
    def quoted(self) -> str:
        """The input's name in quotes, as messages show it."""
        return f"input '{printable(self.name)}'"

    @property
    def scalar(self) -> bool:
        """Has it no axis of samples, so that one number goes with all of them?"""
        return self.shape == ()

    @property
    def image(self) -> bool:
        """Are samples images or volumes: pixels or features in two or three dimensions, and channels?"""
        pixels = self.dtype.is_floating_point() or self.dtype == ir.DataType.UINT8
        return pixels and self.shape is not None and len(self.shape) in (4, 5)

    @property
    def last(self) -> bool:
        """Does an image have its channels on the last axis?"""
        # Channels first go before channels last where both sizes could be channels.
        if self.shape is None or self.shape[1] in IMAGE_CHANNELS:
            return False
        return self.shape[-1] in IMAGE_CHANNELS

    @property
    def channels(self) -> int | None:
        """Channels of an image, where the file fixes them."""
        found = self.shape[-1 if self.last else 1] if self.image and self.shape is not None else None
        return found if isinstance(found, int) else None

    @property
    def spatial(self) -> tuple[int, ...]:
        """Axes of height and width of an image, counted with the axis of samples."""
        rank = len(self.shape or ())
        return (rank - 3, rank - 2) if self.last else (rank - 2, rank - 1)

    @property
    def wanted(self) -> str:
        """One sample in words: ``float32 3x224x224``."""
        sizes = "a tensor" if self.shape is None else sizes_of(self.shape[1:])
        return f"{dtype_name(self.dtype)} {sizes}"


def sizes_of(shape: tuple[DeclaredDim, ...]) -> str:
    """``3x224x224``; open sizes by their symbol or ``?``; ``scalar`` without axes."""
    return "x".join(printable("?" if dim is None else dim) for dim in shape) or "scalar"


def dtype_name(dtype: ir.DataType) -> str:
    """Element type as numpy calls it."""
    return "string" if dtype == ir.DataType.STRING else str(dtype.numpy())


def specs(model: ir.Model) -> tuple[InputSpec, ...]:
    """The inputs that samples have to fill; initializers that may be overridden are not among them.

    Raises:
        UsageError: the model has no input, or one that samples cannot fill.
    """
    # Old files list weights among the inputs.
    found = tuple(_spec(value) for value in model.graph.inputs if not value.is_initializer())
    if not found:
        raise UsageError("the model has no input, so that there is nothing to give it data for")
    if all(spec.scalar for spec in found):
        raise UsageError(
            f"{found[0].quoted} is a scalar, which has no axis of samples; export the model with the batch in front"
        )
    return found


def note_sizes(model: ir.Model, data: Dataset) -> None:
    """Takes note of the sizes that the user's samples have, by the first of them; copies of the model know."""
    one = data.take(np.zeros(1, np.int64)).inputs
    model.graph.meta[SAMPLE] = {name: tuple(array.shape[1:]) for name, array in one.items() if array.ndim}


def too_few(limit: int | None, samples: Sized) -> UsageError:
    """The error where not one batch of ``limit`` samples, which the model takes, can be filled."""
    return UsageError(f"the model takes batches of {limit}, the data has {count(len(samples), 'sample')}; give more")


def few_notes(samples: Sized) -> list[str]:
    """A sentence where the user's samples are so few that chance decides what is learnt and measured."""
    text = f"fewer than {LEAST_JUDGED} samples were given, which say little of others; give more with --data"
    return [text] if len(samples) < LEAST_JUDGED else []


def _spec(value: ir.Value) -> InputSpec:
    name = str(value.name)
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        raise UsageError(f"input '{printable(name)}' is no tensor; data can be given for tensors only")
    shape = None if value.shape is None else tuple(d if isinstance(d, int) else d.value for d in value.shape)
    return InputSpec(name, value.dtype or ir.DataType.FLOAT, shape, constant_table(value))
