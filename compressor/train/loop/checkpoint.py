"""Checkpoints: one safetensors file that appears whole or not at all, with everything that a run goes on with.

Tensors are named ``part/key``; what is no tensor is JSON in the header of the same file, so that the two can never
belong to different moments.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from compressor.errors import CheckpointError, UsageError

FILE = "checkpoint.safetensors"
FORMAT = 1
CheckpointPart = dict[str, Any]


@dataclass
class Checkpoint:
    """The state of a run.

    Attributes:
        identity: digest or text by what it stands for; all must agree when a run is resumed.
        parts: by name, flat dictionaries of tensors and of what JSON knows.
    """

    identity: dict[str, Any]
    parts: dict[str, CheckpointPart] = field(default_factory=dict)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Writes the checkpoint into the folder, which is made where it is missing.

    Raises:
        UsageError: the place cannot be written to.
    """
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, CheckpointPart] = {}
    for part, state in checkpoint.parts.items():
        plain[part] = {key: value for key, value in state.items() if not isinstance(value, torch.Tensor)}
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                # safetensors refuses tensors that share memory or are not contiguous.
                tensors[f"{part}/{key}"] = value.detach().to("cpu").contiguous().clone()
    header = {"format": FORMAT, "identity": checkpoint.identity, "parts": plain}
    # In the same folder, because a rename is atomic within one file system only.
    temporary = folder / f".{FILE}.{secrets.token_hex(4)}.tmp"
    try:
        folder.mkdir(exist_ok=True)
        try:
            save_file(tensors, temporary, metadata={"compressor": json.dumps(header)})
            with temporary.open("rb+") as file:
                # The bytes have to be on the disk before the name is, or a power failure leaves an empty checkpoint.
                os.fsync(file.fileno())
            temporary.replace(folder / FILE)
        finally:
            # Nothing is there any more after the rename; after a failure the half-written file goes.
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"checkpoint {folder} cannot be written: {error.strerror or error}; choose another --checkpoint"
        ) from error


def load_checkpoint(folder: Path, identity: Mapping[str, Any]) -> Checkpoint:
    """Reads the checkpoint in the folder, on the CPU.

    Raises:
        CheckpointError: there is none, it is damaged, or it belongs to a run whose ``identity`` differs.
    """
    path = folder / FILE
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path} to resume from; leave out --resume")
    header, tensors = _read(path)
    # Only what this run states is compared, so that a checkpoint may say more about itself than is asked for.
    for name, value in identity.items():
        if header["identity"].get(name) != value:
            raise CheckpointError(f"checkpoint {path} belongs to another run: {_difference(name, header, value)}")
    parts: dict[str, CheckpointPart] = {part: dict(state) for part, state in header["parts"].items()}
    for name, tensor in tensors.items():
        part, _, key = name.partition("/")
        parts[part][key] = tensor
    return Checkpoint(header["identity"], parts)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["compressor"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- it is no dictionary
        # A tensor of a part that the header does not name cannot be handed back to anyone.
        if header["format"] != FORMAT or not {t.partition("/")[0] for t in tensors} <= set(header["parts"]):
            raise ValueError("unknown format")
        # Raises AttributeError where it is no dictionary, which counts as damage below.
        header["identity"].items()
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged ({error}); start without --resume") from None
    return header, tensors


def _difference(name: str, header: Mapping[str, Any], value: Any) -> str:
    there = header["identity"].get(name)
    if not isinstance(value, dict) or not isinstance(there, dict):
        return f"its {name} is another one; start without --resume, or name the one it was made with"
    keys = [key for key in {**value, **there} if value.get(key) != there.get(key)]
    rows = ", ".join(f"{key} was {there.get(key)} and is {value.get(key)}" for key in keys)
    return f"{rows}; start without --resume, or with the same {name}"


def remove_checkpoint(folder: Path) -> None:
    """Deletes the checkpoint, and the folder if nothing else is in it."""
    (folder / FILE).unlink(missing_ok=True)
    # The user may have named a folder with other files in it.
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def tensors_digest(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """A number that stands for names, types, shapes and bits."""
    found = hashlib.sha256()
    for name, tensor in tensors:
        plain = tensor.detach().cpu().contiguous()
        found.update(f"{name}:{plain.dtype}:{list(plain.shape)};".encode())
        # numpy has no bfloat16; the bits are hashed, which is also why NaN and -0 count as they are.
        found.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
