"""Models that run one after the other, each on what those before it give: a joined model, as its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.errors import ModelError
from compressor.graph.disk import files
from compressor.graph.disk.joined import Joined, ModelOrigin, Part, joined_of
from compressor.graph.tensors.weights import weight_bytes
from compressor.pruning.proofs.runs.whole_or_pieces import runnable, runnable_file
from compressor.runtime.stored import Feed, Ready, Runnable, Runs, WeightChange


@dataclass(frozen=True)
class Chained(Runnable):
    """Files of a joined model; they take its inputs and give its outputs.

    Attributes:
        joined: how inputs and outputs of the files hang together.
        files: what runs each, in the order in which they run.
    """

    joined: Joined
    files: Sequence[Runnable]

    def open(self) -> ReadyChain:
        """A session for each; raises as theirs."""
        parts = self.joined.parts
        steps = [(part, file.open()) for part, file in zip(parts, self.files, strict=True)]
        return ReadyChain(steps, list(self.joined.outputs))

    def changed(self, change: WeightChange, folder: Path) -> Chained:
        """The same with other weights in each file."""
        return Chained(self.joined, [file.changed(change, folder) for file in self.files])


@dataclass(frozen=True)
class ReadyChain(Ready):
    """Sessions of the files of a joined model, and the names of its outputs."""

    steps: Sequence[tuple[Part, Ready]]
    names: list[str]

    def run(self, feeds: Sequence[Feed]) -> Runs:
        """Runs all on each feed; raises ModelError where one does not run."""
        return Runs(self.names, list(feeds), [self._outputs(feed) for feed in feeds])

    def _outputs(self, feed: Feed) -> list[Array]:
        known = dict(feed)
        for part, ready in self.steps:
            # An input that has a default need not be fed.
            outputs = ready.run([{own: known[name] for own, name in part.inputs.items() if name in known}])
            if outputs.names != list(part.outputs):
                raise ModelError(f"{part.title} gives {outputs.names} where {list(part.outputs)} are expected")
            known |= {part.outputs[own]: array for own, array in zip(outputs.names, outputs.outputs[0], strict=True)}
        return [known[name] for name in self.names]


def runnable_given(
    source: ModelOrigin, prepared: ir.Model, folder: Path, provider: str, *, optimised: bool = False
) -> Runnable:
    """What runs that which ``prepared`` was made from: as it was read, where it was; ``optimised`` as of a file."""
    if isinstance(source, ir.Model):
        return runnable(source, folder, provider)
    if isinstance(source, Path):
        read = files.source_of(prepared)
        if read is not None and not read.runs:
            return runnable(files.load_model(source), folder, provider)
        size = read.size if read is not None else weight_bytes(prepared)
        return runnable_file(source, size, folder, provider, optimised=optimised)
    runnables = [
        runnable_given(part.path or part.model, part.model, folder, provider, optimised=optimised)
        for part in source.parts
    ]
    return Chained(source, runnables)


def runnable_written(
    paths: Sequence[Path], model: ir.Model, folder: Path, provider: str, *, optimised: bool
) -> Runnable:
    """What runs the files that ``model`` was written to, one or several; ``optimised`` as of a file."""
    files = [runnable_file(path, weight_bytes(model), folder, provider, optimised=optimised) for path in paths]
    joined = joined_of(model)
    return files[0] if joined is None else Chained(joined, files)
