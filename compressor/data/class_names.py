"""Names of classes: those of folders of images, and those that a model's metadata gives."""

from __future__ import annotations

import ast
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from compressor.data.batch import Dataset
from compressor.data.folder import FolderDataset
from compressor.data.order import undivided

METADATA_KEYS = ("names", "id2label")
"""Where exporters write names of classes: Ultralytics, and Hugging Face's configuration."""


def named_classes(model: ir.Model) -> Mapping[str, int]:
    """The number of each class that the metadata of a model names; empty where it names none, or one twice."""
    for key in METADATA_KEYS:
        try:
            # A list, or a dict by number, in Python's notation or JSON's, which is the same for these.
            found = ast.literal_eval(model.metadata_props.get(key, ""))
            pairs = found.items() if isinstance(found, dict) else enumerate(found)
            named = [(str(name), int(number)) for number, name in pairs]
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
            continue
        if len(dict(named)) == len(named):
            return dict(named)
    return {}


def by_model(data: FolderDataset, model: ir.Model) -> FolderDataset:
    """The images with the numbers of their classes that the model gives them, where it knows all of their names."""
    known = named_classes(model)
    if data.labels is None or not known or not set(data.class_names) <= known.keys():
        return data
    return data.numbered(np.asarray([known[name] for name in data.class_names], np.int64))


def folder_classes(data: Dataset | None) -> dict[str, int]:
    """The number of each class whose images have a folder of their own; empty for other data."""
    source = None if data is None else undivided(data)
    return source.classes if isinstance(source, FolderDataset) else {}
