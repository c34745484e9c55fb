"""Data from a function of the user's: ``package.module:callable``, called without arguments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import replace
from typing import Any, Final, cast

import numpy as np
import onnx_ir as ir

from compressor.config.data import DataSection, DataSettings
from compressor.core.arrays import Array
from compressor.core.formatting import printable, quantity
from compressor.core.user_code import importable, imported, user_errors
from compressor.data.arrays import assign, from_arrays
from compressor.data.batch import Dataset
from compressor.data.filled import described, fills_of
from compressor.data.foreign import ForeignDataset
from compressor.data.spec import InputSpec, specs
from compressor.errors import UsageError

OPTION: Final = "--data"
MAX_SAMPLES: Final = 65_536
"""An iterable is read up to this many samples,"""
MAX_BYTES_HELD: Final = 1 << 32
"""or up to 4 GiB of them, whichever comes first; what has a length beyond that is refused."""
NAMED_FORMS: Final = (
    "a pair of arrays (x, y), a mapping of arrays, an iterable of samples or batches, or an object with take, "
    "__len__ and labelled"
)


def open_named(text: str, model: ir.Model, settings: DataSettings) -> Dataset:
    """What the callable gives, as samples.

    Args:
        text: ``package.module:callable``; the current directory is importable.
        model: whose inputs the samples have to fill.
        settings: layout, mean, std and name of the labels, for arrays.

    Raises:
        UsageError: it cannot be imported or called, or what it gives does not fit the model.
    """
    found = specs(model)
    function = imported(text, OPTION)
    # The user's code runs with the current folder importable, and errors in it are told as its own.
    with importable(), user_errors(text, OPTION):
        given = function()
        if all(hasattr(given, name) for name in ("take", "__len__", "labelled")):
            return ForeignDataset(given, found, text)
        arrays = collected(given, found, settings, f"--data {text}")
    fills = fills_of(model, arrays)
    given_specs = [spec for spec in found if spec.name not in fills.lacking]
    chosen, labels = assign(list(arrays), given_specs, settings, text)
    inputs = {name: arrays[stored] for name, stored in chosen.items()}
    inputs |= fills.arrays(inputs)
    dataset = from_arrays(inputs, None if labels is None else arrays[labels], found, settings, text)
    return replace(dataset, filled=described(fills))


def collected(given: object, found: Sequence[InputSpec], settings: DataSettings, place: str) -> dict[str, Array]:
    """The arrays that were given, or samples and batches stacked into arrays [n, ...], by name.

    Args:
        given: a mapping of arrays, a pair (x, y), an array, or an iterable of samples or batches of these.
        found: the inputs of the model.
        settings: ``labels`` names the second of a pair.
        place: where it comes from, for messages.

    Raises:
        UsageError: it is none of these, or its items do not go together.
    """
    if isinstance(given, Mapping):
        return {str(name): _array(value) for name, value in given.items() if value is not None}
    if isinstance(given, tuple):
        # Of tuples only a pair of arrays has a meaning: samples and labels.
        if len(given) == 2 and _is_array(given[0]) and (given[1] is None or _is_array(given[1])):
            return _pair(given, found, settings)
        raise UsageError(f"{place}: it gave a tuple of {len(given)}; give {NAMED_FORMS}")
    if _is_array(given):
        return {_only(found, place): _array(given)}
    if isinstance(given, Iterable) or hasattr(given, "__getitem__"):
        return _stacked(cast("Iterable[object]", given), found, settings, place)
    raise UsageError(f"{place}: it gave {type(given).__name__}; give {NAMED_FORMS}")


def _stacked(
    given: Iterable[object], inputs: Sequence[InputSpec], settings: DataSettings, place: str
) -> dict[str, Array]:
    parts: dict[str, list[Array]] = {}
    count = size = 0
    whole = len(given) if isinstance(given, Sized) else None
    for position, item in enumerate(_items(given)):
        arrays = _item(item, inputs, settings, place)
        if parts and parts.keys() != arrays.keys():
            raise UsageError(f"{place}: item {position} has other parts than the first; give all the same")
        # Samples are stacked with batches alike.
        whole_batch = _batched(arrays, inputs)
        stacked = {n: a if whole_batch and a.ndim else a[None] for n, a in arrays.items()}
        for name, array in stacked.items():
            first = parts.setdefault(name, [array])[0]
            # The first part is in the list already.
            if first is not array:
                parts[name].append(array)
            if array.ndim == 0 or array.shape[1:] != first.shape[1:] or array.dtype != first.dtype:
                raise UsageError(
                    f"{place}: '{printable(name)}' of item {position} is {array.dtype} {array.shape[1:]}, that "
                    f"of the first {first.dtype} {first.shape[1:]}; give samples of one shape and type"
                )
        count += max((len(array) for array in stacked.values()), default=0)
        size += sum(array.nbytes for array in stacked.values())
        # Of what has no end only a part is read; of what has a length, that would leave samples out unnoticed.
        if count >= MAX_SAMPLES or size >= MAX_BYTES_HELD:
            if whole is not None and position + 1 < whole:
                raise UsageError(
                    f"{place}: it gave more than the {MAX_SAMPLES:,} samples or {quantity(MAX_BYTES_HELD, 'B')} that "
                    "are read into memory; give arrays, a part, or an object with take, __len__ and labelled"
                )
            break
    if not parts:
        raise UsageError(f"{place}: it gave no sample; give at least one")
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _items(given: Iterable[object]) -> Iterator[object]:
    """Items in turn; of what has a length, no more than that (torch's datasets may not stop by themselves)."""
    length = len(given) if isinstance(given, Sized) else MAX_SAMPLES
    for _, item in zip(range(length), given, strict=False):
        yield item


def _item(item: object, found: Sequence[InputSpec], settings: DataSettings, place: str) -> dict[str, Array]:
    """One sample or batch by name."""
    if isinstance(item, Mapping):
        return {str(name): _array(value) for name, value in item.items()}
    if isinstance(item, (tuple, list)) and len(item) in (1, 2) and _is_array(item[0]):
        return _pair((item[0], item[1] if len(item) == 2 else None), found, settings)
    if _is_array(item):
        return {_only(found, place): _array(item)}
    kind = type(item).__name__
    raise UsageError(f"{place}: an item is {kind}; give arrays, pairs (x, y) or mappings of arrays")


def _pair(pair: tuple[Any, Any], found: Sequence[InputSpec], settings: DataSection) -> dict[str, Array]:
    arrays = {found[0].name if len(found) == 1 else "x": _array(pair[0])}
    if pair[1] is not None:
        arrays[settings.labels or "y"] = _array(pair[1])
    return arrays


def _only(found: Sequence[InputSpec], place: str) -> str:
    if len(found) > 1:
        names = ", ".join(printable(spec.name) for spec in found)
        raise UsageError(f"{place}: the model has {len(found)} inputs ({names}); give a mapping of arrays")
    return found[0].name


def _batched(arrays: Mapping[str, Array], found: Sequence[InputSpec]) -> bool:
    """Does an item hold a batch, by the rank that the model's inputs have?"""
    for spec in found:
        array = arrays.get(spec.name)
        if array is None and len(found) == 1:
            array = next(iter(arrays.values()))
        if array is not None and spec.shape:
            return array.ndim >= len(spec.shape)
    return False


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "__array__") or hasattr(value, "__array_interface__")


def _array(value: Any) -> Array:
    """As numpy holds it; torch's tensors come off their device and graph first."""
    # numpy refuses tensors with a gradient or on a GPU.
    for step in ("detach", "cpu"):
        if hasattr(value, step):
            value = getattr(value, step)()
    return np.asarray(value)
