"""Two models that are held against each other: opened, their signatures compared, their inputs made."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from compressor.config import RunSettings
from compressor.config.graph import GraphSection
from compressor.core.arrays import Array
from compressor.data.synthetic.sizes import left_open, sample_shapes
from compressor.errors import ModelError, UsageError
from compressor.graph.disk import files
from compressor.graph.form.normalise import normalise
from compressor.graph.sizes.feeds import demand_tensors, feeds
from compressor.graph.sizes.shapes import Shapes
from compressor.operators.sizes import infer
from compressor.pruning.proofs.graphs.interface_match import interface_difference


@dataclass(frozen=True)
class Opened:
    """A model file and what is in it.

    Attributes:
        path: the file, as the user named it.
        model: in normal form; every open dimension of an input has a name.
        runs: the file that ONNX Runtime is given: the user's, or a copy of it that does not end the process.
    """

    path: Path
    model: ir.Model
    runs: Path

    @property
    def inputs(self) -> dict[str, ir.Value]:
        """What has to be fed, by name."""
        return {str(v.name): v for v in self.model.graph.inputs if not v.is_initializer()}

    @property
    def outputs(self) -> dict[str, ir.Value]:
        """The values that the model gives, by name."""
        return {str(v.name): v for v in self.model.graph.outputs}


@dataclass(frozen=True)
class Placed:
    """An opened model, and the provider that runs it."""

    opened: Opened
    provider: str


def open_model(path: Path) -> Opened:
    """Reads a model; raises ModelError where it is not sound."""
    read = files.load_model(path)
    source = files.source_of(read)
    model = normalise(read)
    for value in model.graph.inputs:
        if value.shape is not None:
            # Unnamed dimensions are different ones; a name of its own keeps each apart and lets the user set it.
            value.shape = ir.Shape([_named(dim, f"{value.name}#{axis}") for axis, dim in enumerate(value.shape)])
    opened = Opened(path, model, path)
    return opened if source is None or source.runs else _copied(opened)


def _copied(opened: Opened) -> Opened:
    """With a copy of the file to run, which is there as long as this is held."""
    folder = Path(tempfile.mkdtemp(prefix="onnx-compressor-"))
    found = replace(opened, runs=folder / "model.onnx")
    weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
    files.save_model(files.load_model(opened.path), found.runs)
    return found


def _named(dim: int | ir.SymbolicDim, name: str) -> int | ir.SymbolicDim:
    return ir.SymbolicDim(name) if isinstance(dim, ir.SymbolicDim) and dim.value is None else dim


def demand_same_inputs(a: Opened, b: Opened) -> None:
    """Raises UsageError unless what A is fed fits B: same names, types of the same kind, shapes that agree."""
    _demand_same(a, b, "input")


def demand_comparable(a: Opened, b: Opened) -> None:
    """Raises UsageError unless inputs and outputs have the same names, types of one kind, and shapes that agree.

    Order does not count. Floating-point types may differ, so that a float16 model can be held against its original;
    open dimensions agree with any.
    """
    _demand_same(a, b, "input", "output")


def _demand_same(a: Opened, b: Opened, *kinds: str) -> None:
    found = interface_difference(a.model, b.model, (str(a.path), str(b.path)), kinds)
    if found is not None:
        raise UsageError(f"{found}; only models with the same inputs and outputs can be compared")


def fixed_by(other: Opened, model: Opened) -> dict[str, int]:
    """Sizes of the open dimensions of ``model`` that ``other`` fixes, so that both run on the same inputs."""
    found: dict[str, int] = {}
    for name, value in model.inputs.items():
        theirs = other.inputs[name].shape if name in other.inputs else None
        # Not strict: a shape that is not declared says nothing.
        for mine, size in zip(value.shape or (), theirs or (), strict=False):
            if isinstance(mine, ir.SymbolicDim) and isinstance(size, int):
                found[str(mine.value)] = size
    return found


def batch_symbols(model: Opened, settings: RunSettings) -> set[str]:
    """Names of the open first dimensions of inputs whose size the user did not give."""
    # By ONNX nothing marks a batch; the first axis is it by custom.
    firsts = (value.shape[0] for value in model.inputs.values() if value.shape is not None and len(value.shape))
    return {str(dim.value) for dim in firsts if isinstance(dim, ir.SymbolicDim)} - _given(model, settings)


def open_symbols(model: Opened, settings: RunSettings) -> set[str]:
    """Names of all open dimensions whose size the user did not give."""
    return _symbols(model, model.inputs) - _given(model, settings)


def usual_sizes(model: Opened, settings: RunSettings, dims: Mapping[str, int]) -> dict[str, int]:
    """Sizes of the open dimensions that nobody gave, by symbol, as made-up samples have them; none where none fit."""
    known = {**settings.dims, **dims}
    with suppress(ModelError, UsageError):
        return left_open(
            model.model, sample_shapes(model.model, settings.input_shapes, known), settings.input_shapes, known
        )
    return {}


def open_sizes_warning(model: Opened, settings: RunSettings) -> list[str]:
    """A warning for dimensions besides the batch whose size was made up: latency depends on them."""
    made_up = open_symbols(model, settings) - batch_symbols(model, settings)
    if not made_up:
        return []
    names = ", ".join(sorted(made_up))
    return [f"the model leaves {names} open and sizes were made up; give those you deploy with --dim or --input-shape"]


def _given(model: Opened, settings: GraphSection) -> set[str]:
    """Names of the dimensions whose size the user gave: alone, or with the shape of an input that has it."""
    return set(settings.dims) | _symbols(model, settings.input_shapes)


def _symbols(model: Opened, inputs: Iterable[str]) -> set[str]:
    """Names of the open dimensions of these inputs; a name of no input is left to be refused later."""
    shapes = [model.inputs[name].shape or () for name in inputs if name in model.inputs]
    return {str(dim.value) for shape in shapes for dim in shape if isinstance(dim, ir.SymbolicDim)}


def bind(model: Opened, settings: GraphSection, dims: dict[str, int]) -> Shapes:
    """Shapes of ``model`` with ``dims`` for some of its open dimensions; what the user gave comes first.

    Raises:
        ModelError: they do not fit the graph.
    """
    # The user's sizes last, so that they win.
    return infer(model.model, settings.input_shapes, {**dims, **settings.dims})


def seeded(
    model: Opened, shapes: Shapes, seed: int, sizes: Mapping[str, tuple[int, ...]] | None = None
) -> dict[str, Array]:
    """Made-up inputs of those shapes, or of ``sizes``."""
    demand_tensors(model.model, "export the model with tensors as inputs to run it here")
    return feeds(model.model, shapes.inputs if sizes is None else sizes, shapes, seed)


def batch_of(inputs: Mapping[str, Array], asked: int | None) -> int | None:
    """The batch size of inputs; None where they have none in common.

    Raises:
        UsageError: they have another one than was ``asked`` for.
    """
    sizes = {array.shape[0] for array in inputs.values() if array.ndim}
    size = sizes.pop() if len(sizes) == 1 else None
    if asked is not None and size not in (None, asked):
        raise UsageError(f"the model fixes its batch to {size}, --batch asks for {asked}; drop it, or export it open")
    return size


def cast(arrays: dict[str, Array], model: Opened) -> dict[str, Array]:
    """The same numbers in the element types of ``model``'s inputs; names that it lacks are left out."""
    wanted = {name: value.dtype for name, value in model.inputs.items()}
    return {
        # Texts have no numeric type to be brought to.
        name: array if (dtype := wanted[name]) is None or dtype == ir.DataType.STRING else array.astype(dtype.numpy())
        for name, array in arrays.items()
        if name in wanted
    }
