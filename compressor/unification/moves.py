"""Reshapes and permutations of axes, as data: the same list is done by numpy, by torch, and by ONNX nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Reshape:
    """A reshape in row-major order, as one move of the way from blocks to weight."""

    shape: Shape


@dataclass(frozen=True)
class Permute:
    """Axes in this order (numpy.transpose, torch.permute, ONNX Transpose)."""

    axes: tuple[int, ...]


LayoutMove = Reshape | Permute


def apply(moves: Iterable[LayoutMove], array: Any) -> Any:
    """``array``, of numpy or torch, after all moves; a view where the library can make one."""
    for move in moves:
        array = array.reshape(move.shape) if isinstance(move, Reshape) else permuted(array, move.axes)
    return array


def library(array: Any) -> Any:
    """The module, numpy or torch, that ``array`` belongs to; imports none that is not loaded already."""
    return np if isinstance(array, np.ndarray) else import_module(type(array).__module__.partition(".")[0])


def on_host(array: Any) -> npt.NDArray[Any]:
    """The array in numpy."""
    return array if isinstance(array, np.ndarray) else array.detach().cpu().numpy()


def as_array_of(array: npt.NDArray[Any], like: Any) -> Any:
    """A numpy array as the library of ``like`` has it, where ``like`` is."""
    return array if isinstance(like, np.ndarray) else library(like).from_numpy(array).to(like.device)


def permuted(array: Any, axes: Sequence[int]) -> Any:
    """``array``, of numpy or torch, with its axes in another order."""
    return array.permute(tuple(axes)) if hasattr(array, "permute") else array.transpose(tuple(axes))


def shortened(shape: Shape, moves: Iterable[LayoutMove]) -> tuple[LayoutMove, ...]:
    """What the moves do to an array of ``shape``, without steps that keep its entries in their order."""
    found: list[LayoutMove] = []
    for move in moves:
        if isinstance(move, Permute):
            # Moving an axis of one changes no order, so that a reshape does.
            turned = [a for a in move.axes if shape[a] > 1]
            shape = tuple(shape[a] for a in move.axes)
            step: LayoutMove = Reshape(shape) if turned == sorted(turned) else move
        else:
            shape, step = move.shape, move
        if isinstance(step, Reshape) and found and isinstance(found[-1], Reshape):
            # Of two reshapes in a row only the last one counts.
            found.pop()
        found.append(step)
    return tuple(found)
