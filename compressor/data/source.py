"""Opens the data that settings name, and holds it against the model before any work is done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from compressor.config.data import DataSettings, validation
from compressor.core.formatting import printable
from compressor.core.user_code import NAMED
from compressor.data.arrays import assign, from_arrays
from compressor.data.batch import Dataset
from compressor.data.class_names import by_model
from compressor.data.filled import described, fills_of
from compressor.data.folder import FolderDataset, open_folder
from compressor.data.named import open_named
from compressor.data.npz import NpzFile
from compressor.data.order import split_dataset
from compressor.data.spec import specs
from compressor.errors import UsageError
from compressor.graph.sizes.batch_limit import batch_limit

SOURCE_FORMS = "an .npz file, a folder of images or package.module:callable"


def open_data(settings: DataSettings, model: ir.Model) -> Dataset:
    """The samples of ``settings.data``, checked against the model's inputs.

    Args:
        settings: where they are, and layout, mean, std and name of the labels.
        model: not changed; its inputs say what samples have to be.

    Raises:
        UsageError: there is no such data, or it does not fit the model; names the input, what it takes, the remedy.
    """
    text = settings.data
    if not text:
        raise UsageError(f"no data is given; give --data with {SOURCE_FORMS}")
    # Raises before any sample is read where inputs disagree on the batch.
    batch_limit(model)
    path = Path(text)
    kind = _kind(path)
    if kind == "folder":
        return by_model(open_folder(path, specs(model), settings), model)
    # A file or folder of that name goes before a module.
    if kind == "none" and NAMED.fullmatch(text):
        return open_named(text, model, settings)
    if kind == "none":
        raise UsageError(f"--data {printable(text)}: there is no such file or folder; give {SOURCE_FORMS}")
    if path.suffix.lower() != ".npz":
        kind = path.suffix or "(none)"
        raise UsageError(f"--data {printable(text)}: files of type {kind} are not read; give {SOURCE_FORMS}")
    return _open_npz(path, settings, model)


def open_parts(settings: DataSettings, model: ir.Model) -> tuple[Dataset, Dataset]:
    """Samples to train on and samples to judge on: ``val_data`` where given, else ``val_share`` of the data.

    Raises:
        UsageError: as for :func:`open_data`; or two folders of images have different classes.
    """
    own = validation(settings)
    dataset = open_data(settings, model)
    if own is None:
        return split_dataset(dataset, settings.val_share, settings.seed, batch_limit(model) or 1)
    judged = open_data(own, model)
    if isinstance(dataset, FolderDataset) and isinstance(judged, FolderDataset):
        # Numbers of classes follow from names, so that other names are other numbers.
        differ = sorted(set(dataset.class_names) ^ set(judged.class_names))
        if differ:
            raise UsageError(
                f"--data and --val-data have different classes (such as {printable(differ[0])!r}); "
                "give both the same subfolders"
            )
    return dataset, judged


def _kind(path: Path) -> str:
    try:
        return "folder" if path.is_dir() else "file" if path.exists() else "none"
    # A name that no file system takes is no file.
    except (OSError, ValueError):
        return "none"


def _open_npz(path: Path, settings: DataSettings, model: ir.Model) -> Dataset:
    found, file = specs(model), NpzFile(path)
    fills = fills_of(model, file.names)
    given = [spec for spec in found if spec.name not in fills.lacking]
    chosen, labels = assign(file.names, given, settings, str(path))
    arrays = file.read({*chosen.values(), *([labels] if labels is not None else [])})
    inputs = {name: arrays[stored] for name, stored in chosen.items()}
    inputs |= fills.arrays(inputs)
    dataset = from_arrays(inputs, None if labels is None else arrays[labels], found, settings, str(path))
    return replace(dataset, filled=described(fills))
