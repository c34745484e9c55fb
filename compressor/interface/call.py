"""One call of the Python interface: what it was given becomes files and settings, and its report names none of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import onnx_ir as ir

from compressor.config import RunSettings
from compressor.config.recipe import DATA_SETTINGS
from compressor.core.clock import Clock, Progress
from compressor.core.formatting import keyed
from compressor.core.scratch import scratch
from compressor.core.user_code import name_of
from compressor.errors import CompressorError, GateMissed, ProofFailed
from compressor.graph.disk.model_result import ModelResult
from compressor.interface.models import ModelLike, in_memory, on_disk
from compressor.interface.progress import ProgressLike, progress_shown
from compressor.interface.samples import is_held, store
from compressor.results import Document
from compressor.results.base import Record

S = TypeVar("S", bound=RunSettings)
D = TypeVar("D", bound=Document)


@dataclass(frozen=True)
class InterfaceCall(Generic[S]):
    """A call whose models and samples are where commands read them.

    Attributes:
        settings: the keywords, checked.
        models: the models, each as it was given or as a path.
        progress: what hears of phases.
        folder: temporary; holds what was given in memory.
        renamed: what reports call the files in it.
    """

    settings: S
    models: Sequence[ModelLike]
    progress: Progress | None
    folder: Path
    renamed: Mapping[str, str]

    @property
    def clock(self) -> Clock:
        """A clock that tells :attr:`progress`."""
        return Clock(self.progress)

    def paths(self) -> list[Path]:
        """The file of every model, written now where it has none."""
        return [on_disk(model, self.folder / f"{_name(index)}.onnx") for index, model in enumerate(self.models)]

    def told(self, document: D) -> D:
        """The report without the names of temporary files."""
        told: D = _told(document, self.renamed)
        return told


@contextmanager
def called(
    kind: type[S], values: Mapping[str, Any], models: Sequence[ModelLike], progress: ProgressLike = None
) -> Iterator[InterfaceCall[S]]:
    """Opens a call: ``values`` are the caller's keywords, ``models`` the models in their order.

    Raises:
        CompressorError: as the commands; messages call what is held in memory by its place in the call.
    """
    with scratch() as folder, progress_shown(progress) as told:
        # Paths of the temporary folder mean nothing to the caller; reports and messages call the model or keyword
        # instead.
        renamed = {str(folder / f"{_name(index)}.onnx"): f"model {_name(index)}" for index in range(len(models))}
        renamed |= {str(folder / f"{name}.npz"): f"{name} (in memory)" for name in DATA_SETTINGS}
        try:
            placed = [
                model if isinstance(model, (str, Path)) else _written(model, folder / f"{_name(index)}.onnx")
                for index, model in enumerate(models)
            ]
            known = dict(values)
            for name in DATA_SETTINGS:
                # Samples are held against the inputs of the first model, which the others have to share.
                if is_held(known.get(name)):
                    model = in_memory(placed[0], folder / "a.onnx")
                    known[name] = str(store(known[name], model, known.get("labels"), name, folder / f"{name}.npz"))
                elif known.get(name) is not None:
                    # A path object becomes text here, as settings want it.
                    known[name] = str(known[name])
            if callable(known.get("eval")):
                known["eval"] = name_of(known["eval"], "eval")
            yield InterfaceCall(kind.parse(known), placed, told, folder, renamed)
        except CompressorError as error:
            # In place, so that the error keeps its type, its attributes and its traceback.
            error.args = tuple(_text(part, renamed, kind) for part in error.args)
            raise


@contextmanager
def with_result(result: object) -> Iterator[None]:
    """Hangs ``result`` on what is raised inside where a limit is missed, so that the caller gets both."""
    try:
        yield
    except (GateMissed, ProofFailed) as missed:
        missed.result = result
        raise


def _written(model: ModelLike, place: Path) -> ModelLike:
    """A model of onnx_ir, or of a result, stays as it is; everything else is read from a file, with its checks."""
    made = model.model if isinstance(model, ModelResult) else model
    return made if isinstance(made, ir.Model) else on_disk(made, place)


def _name(index: int) -> str:
    """``a``, ``b`` and so on."""
    return chr(ord("a") + index) if index < 26 else f"model{index}"


def _text(value: Any, renamed: Mapping[str, str], kind: type[RunSettings] | None = None) -> Any:
    """A text with the caller's names for models, and for settings of a ``kind``."""
    if not isinstance(value, str):
        return value
    for path, name in renamed.items():
        value = value.replace(path, name)
    return value if kind is None else keyed(value, kind.model_fields)


def _told(value: Any, renamed: Mapping[str, str]) -> Any:
    if isinstance(value, Record):
        changed = {name: _told(getattr(value, name), renamed) for name in type(value).model_fields}
        # A model that was given in memory has no path that the caller could use.
        if getattr(value, "path", None) in renamed:
            changed["path"] = None
        return value.model_copy(update=changed)
    if isinstance(value, dict):
        return {key: _told(item, renamed) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        # The same type again, as records tell lists from tuples.
        return type(value)(_told(item, renamed) for item in value)
    return _text(value, renamed)
