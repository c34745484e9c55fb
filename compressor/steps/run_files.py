"""The files of a model, one or several: opened, and put in place once what is written is proved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir

from compressor.config import PruneSettings, RunSettings
from compressor.core.notation import parse_also
from compressor.core.scratch import scratch
from compressor.graph.disk import files
from compressor.graph.disk.joined import ModelOrigin, join, joined_of, split
from compressor.graph.sizes.binding import Bound
from compressor.graph.tensors.weights import weight_bytes
from compressor.operators.carried import taught
from compressor.pruning.proofs.outputs.evidence import Evidence
from compressor.pruning.proofs.proof import file_check
from compressor.results import ModelStats
from compressor.steps import counts


def open_source(model: str | Path | ir.Model, settings: RunSettings, also: Sequence[str] = ()) -> tuple[ir.Model, int]:
    """The model, knowing what the settings teach about operators, and its bytes on disk (in memory: of its weights).

    Args:
        model: a file, or a model in memory.
        settings: of the run.
        also: further files of it, as :func:`compressor.core.notation.parse_also` reads them.

    Raises:
        CompressorError: a file is not sound, or the files do not fit each other.
    """
    loaded = model if isinstance(model, ir.Model) else files.load_model(model)
    if also:
        path = None if isinstance(model, ir.Model) else Path(model)
        loaded = join(loaded, path, [(Path(file), pairs) for file, pairs in map(parse_also, also)])
    size = weight_bytes(loaded) if isinstance(model, ir.Model) else _size(loaded)
    return taught(loaded, settings), size


def _size(loaded: ir.Model) -> int:
    source = files.source_of(loaded)
    return 0 if source is None else source.size


def file_names(source: ir.Model) -> list[str]:
    """Names of the files that a model was joined from; empty for a model of one file."""
    joined = joined_of(source)
    return [] if joined is None else [part.title for part in joined.parts]


def places(model: ir.Model, output: Path) -> dict[Path, ir.Model]:
    """Where each file of a result goes: the first to ``output``, others beside it under their own names."""
    joined, models = joined_of(model), split(model)
    rest = [] if joined is None else [part.path for part in joined.parts[1:]]
    names = [output, *(pruned_beside(output, path) for path in rest if path is not None)]
    return dict(zip(names, models, strict=True))


def pruned_beside(output: Path, file: Path) -> Path:
    """Where a further file of a model goes: ``decoder.onnx`` to ``decoder.pruned.onnx`` in the folder of the output."""
    return output.with_name(f"{file.stem if file.suffix == '.onnx' else file.name}.pruned.onnx")


def read_back(path: Path, settings: RunSettings) -> ModelStats:
    """A written file, loaded again and counted."""
    loaded, size = open_source(path, settings)
    return counts.stats_in_memory(loaded, settings, size, path)


def put_in_place(
    model: ir.Model,
    output: Path | None,
    settings: RunSettings,
    proved: Evidence | None,
    sealed: ir.Model | None = None,
    *,
    inputs: Bound | None = None,
) -> ModelStats:
    """Writes a model, once the written bytes are proved, and counts the file; without ``output`` only counts.

    Args:
        model: the result of a run.
        output: where it goes.
        settings: how it is written and proved.
        proved: what was proved of the model as it is; None where its weights changed since.
        sealed: the model as it was when the last proof was through, which the file is held against; None: as it is.
        inputs: sizes that the original was counted at; None: sizes are chosen.

    Raises:
        CompressorError: as :func:`compressor.graph.disk.files.save_model` and the proof of the written file.
    """
    if output is None:
        return counts.stats_in_memory(model, settings, inputs=inputs)
    check = file_check(model if sealed is None else sealed, proved, settings)
    written = places(model, output)
    size = files.save_models(written, settings.external_data, check=check)
    if len(written) == 1:
        # A file that was held against the model, node by node and bit by bit, has its counts.
        source = model if check is not None else open_source(output, settings)[0]
        return counts.stats_in_memory(source, settings, size, output, inputs=inputs)
    # Sizes of inputs that the user gave may be of any of the files, so that these are counted as one again.
    size = sum(_size(files.load_model(path)) for path in written)
    loaded = counts.stats_in_memory(model, settings, size, inputs=inputs)
    return loaded.model_copy(update={"path": str(output), "also": [str(path) for path in list(written)[1:]]})


def as_read(source: Path, settings: RunSettings, also: Sequence[str] = ()) -> tuple[ModelOrigin, ir.Model]:
    """A file, or several of a joined model, and what is read from it; see :func:`open_source`."""
    model, _ = open_source(source, settings, also)
    return joined_of(model) or source, model


@contextmanager
def in_one_file(source: Path, settings: PruneSettings) -> Iterator[Path]:
    """The file of the original; of a model of several files, one that holds them all, for as long as this is open."""
    if not settings.also:
        yield source
        return
    with scratch() as folder:
        files.save_model(open_source(source, settings, settings.also)[0], folder / source.name)
        yield folder / source.name
