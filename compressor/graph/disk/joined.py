"""Several files as one model, such as an encoder and its decoder: joined where one reads what another gives.

Inside the joined model a value that is handed over goes through an Identity that nothing takes away, so that the model
falls into its files again wherever it is cut. Names that several files have are distinguished by the name of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import onnx_ir as ir
from onnx_ir.convenience import extract

from compressor.errors import ModelError, TargetOutOfReach, UsageError
from compressor.graph.disk import files
from compressor.graph.disk.provenance import copy_last_step
from compressor.graph.form.normalise import adopt_opsets, normalise
from compressor.graph.ir.captures import values_of
from compressor.graph.ir.edit import FreeNames
from compressor.graph.ir.meta_keys import HANDED_OVER, JOINED


@dataclass(frozen=True)
class Part:
    """One file of a joined model.

    Attributes:
        model: as it was given; not changed.
        path: where it was read from; None for a model in memory.
        inputs: own name -> name in the joined model; of one that is handed over, that of the output it is.
        outputs: own name -> name in the joined model.
        renamed: name in the joined model -> own name, where they differ.
    """

    model: ir.Model
    path: Path | None
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    renamed: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """Names of its values in the joined model."""
        new = {own: name for name, own in self.renamed.items()}
        return [new.get(str(value.name), str(value.name)) for value in values_of(self.model.graph)]

    @property
    def title(self) -> str:
        """What messages call it."""
        return "the first model" if self.path is None else self.path.name


@dataclass(frozen=True)
class Joined:
    """How a model falls into files.

    Attributes:
        parts: in the order in which they are run.
        outputs: names of the outputs of the whole.
    """

    parts: tuple[Part, ...]
    outputs: tuple[str, ...]


DimSize: TypeAlias = int | ir.SymbolicDim | str
ModelOrigin: TypeAlias = Path | ir.Model | Joined
"""Where a model comes from: a file, memory, or several files."""


def joined_of(model: ir.Model) -> Joined | None:
    """How ``model``, or the model that it was made from, falls into files; None where it is one."""
    found = model.graph.meta.get(JOINED)
    return found if isinstance(found, Joined) else None


def join(first: ir.Model, path: Path | None, others: Sequence[tuple[Path, Mapping[str, str]]]) -> ir.Model:
    """One model of several files; each of ``others`` reads what those before it give.

    Args:
        first: the first file, or a model in memory; not changed.
        path: where it was read from.
        others: files, and for their inputs whose names differ the names of the outputs that they are.

    Returns:
        The whole, in normal form; :func:`split` is the way back.

    Raises:
        UsageError: no input of a file is an output of those before it, a name is none, or a file is given twice.
        ModelError: a file is not sound, or does not fit those before it.
    """
    # Resolved, as a link leads to the same file.
    paths = [other.resolve() for other, _ in others] + ([] if path is None else [path.resolve()])
    twice = next((other for other, _ in others if paths.count(other.resolve()) > 1), None)
    if twice is not None:
        raise UsageError(f"--also: {twice} is given twice; name each file once")
    whole = normalise(first.clone())
    joint = _Joint(whole, Part(first, path, _same(whole.graph.inputs), _same(whole.graph.outputs), {}))
    for other, pairs in others:
        joint.add(other, files.load_model(other), pairs)
    return joint.finished()


def split(model: ir.Model) -> list[ir.Model]:
    """The files of a joined model, whatever was cut since, with the names, opened sizes and metadata that they had.

    Raises:
        TargetOutOfReach: nothing reads any more what one file hands to another.
    """
    joined = joined_of(model)
    if joined is None:
        return [model]
    passed = {str(node.meta[HANDED_OVER]): node for node in model.graph if HANDED_OVER in node.meta}
    values = {str(v.name): v for v in (*model.graph.inputs, *model.graph.outputs)}
    return [_part(model, part, passed, values) for part in joined.parts]


def _part(whole: ir.Model, part: Part, passed: Mapping[str, ir.Node], values: Mapping[str, ir.Value]) -> ir.Model:
    for name in (*part.inputs.values(), *part.outputs.values()):
        if name not in values and name not in passed:
            raise TargetOutOfReach(f"after the cut nothing reads {name!r}, which one file hands to another; prune less")
    inputs = [values[name] if name in values else passed[name].outputs[0] for name in part.inputs.values()]
    own = dict(zip(part.inputs, inputs, strict=True))
    # A result that is an input of the file is that again, not the copy of it that the whole gives.
    outputs = [
        own.get(result, values[name] if name in values else passed[name].inputs[0])
        for result, name in part.outputs.items()
    ]
    graph = extract(whole.graph, inputs, [v for v in outputs if v is not None])
    graph.meta.clear()
    graph.meta.update(part.model.graph.meta)
    graph.name, graph.doc_string = part.model.graph.name, part.model.graph.doc_string
    _take_own_names(graph, part)
    found = ir.Model(graph, ir_version=whole.ir_version)
    for name in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        setattr(found, name, getattr(part.model, name))
    found.metadata_props.update(part.model.metadata_props)
    copy_last_step(whole, found)
    return found


def _take_own_names(graph: ir.Graph, part: Part) -> None:
    """Calls everything what it was called in the file, and gives inputs and outputs the open sizes that they had."""
    given = part.model.graph
    own = dict(zip(graph.inputs, part.inputs, strict=True))
    for place, (value, name) in enumerate(zip(graph.outputs, part.outputs, strict=True)):
        # One value may be two results, or a result that is an input or a weight, since duplicates were removed.
        if own.get(value, name) != name or (value.producer() is None and not value.is_graph_input()):
            node = ir.node("Identity", [value], name=f"{name}.result")
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
            graph.append(node)
            value = graph.outputs[place] = node.outputs[0]  # noqa: PLW2901 - the new value is the result
        own[value] = name
    shapes = {str(v.name): v.shape for v in (*given.inputs, *given.outputs)}
    free = FreeNames(graph)
    every = list(values_of(graph))
    # What callers know comes first; others get back the name that they had where nobody took it meanwhile.
    wanted = own | {v: part.renamed[str(v.name)] for v in every if v not in own and str(v.name) in part.renamed}
    by_name = {str(v.name): v for v in every}
    for value, name in wanted.items():
        other = by_name.get(name)
        if value.name == name:
            continue
        if other is not None and other is not value:
            if value not in own:
                continue
            _rename(other, free(name), by_name)
        _rename(value, name, by_name)
        free.add(name)
    for node in graph.all_nodes():
        if (name := part.renamed.get(str(node.name), "")) and name not in free:
            node.name = free(name)
    for value, name in own.items():
        value.shape = _with_symbols(value.shape, shapes[name])


def _rename(value: ir.Value, name: str, by_name: dict[str, ir.Value]) -> None:
    by_name.pop(str(value.name), None)
    value.name = name
    by_name[name] = value


def _with_symbols(shape: ir.Shape | None, given: ir.Shape | None) -> ir.Shape | None:
    """Sizes of a result that may be smaller, with the open ones of the file as they were written."""
    if shape is None or given is None or len(shape) != len(given):
        return given
    return ir.Shape([old if isinstance(old, ir.SymbolicDim) else new for new, old in zip(shape, given, strict=True)])


def _same(values: Iterable[ir.Value]) -> dict[str, str]:
    return {str(v.name): str(v.name) for v in values}


def _copy_echoes(graph: ir.Graph, links: Mapping[str, str]) -> None:
    """Makes results of their own of those that are an input which is handed over: one value has one name."""
    for place, value in enumerate(graph.outputs):
        if value.is_graph_input() and str(value.name) in links:
            node = ir.node("Identity", [value], name=f"{value.name}.result")
            copy = node.outputs[0]
            copy.name, copy.type, copy.shape = value.name, value.type, value.shape
            graph.append(node)
            graph.outputs[place] = copy


class _Joint:
    """A model that files are joined to, one after the other."""

    def __init__(self, whole: ir.Model, first: Part) -> None:
        self._whole, self._parts = whole, [first]
        self._free = FreeNames(whole.graph)
        self._sizes = _symbols(whole.graph)
        self._given = {str(v.name): v for v in whole.graph.outputs}
        self._passed: dict[str, ir.Value] = {}

    def add(self, path: Path, source: ir.Model, pairs: Mapping[str, str]) -> None:
        """Joins a file; raises as :func:`join`."""
        model = normalise(source.clone())
        graph, whole = model.graph, self._whole.graph
        # A model imports an operator set in one version (ONNX IR, Operator Sets), whatever file a node comes from.
        adopt_opsets(graph, whole.opset_imports, path.name)
        links = self._links(path, graph, pairs)
        _copy_echoes(graph, links)
        # Held before they are renamed: later the file is split again under the names that it came with.
        inputs, outputs = list(graph.inputs), list(graph.outputs)
        names = [str(v.name) for v in (*inputs, *outputs)]
        renamed = self._tell_apart(path, graph, {i: self._given[name] for i, name in links.items()})
        now = [str(v.name) for v in (*inputs, *outputs)]
        for value in inputs:
            own = renamed.get(str(value.name), str(value.name))
            if own in links:
                value.replace_all_uses_with(self._handed_over(links[own], value))
        nodes, weights = list(graph), list(graph.initializers.values())
        kept = [value for value in inputs if renamed.get(str(value.name), str(value.name)) not in links]
        results = list(graph.outputs)
        # A value belongs to one graph at a time, so this one gives everything up before the whole takes it.
        graph.outputs.clear()
        graph.inputs.clear()
        graph.remove(nodes)
        for value in weights:
            del graph.initializers[str(value.name)]
        whole.inputs.extend(kept)
        for value in weights:
            whole.register_initializer(value)
        whole.extend(nodes)
        whole.outputs.extend(results)
        for domain, version in graph.opset_imports.items():
            whole.opset_imports.setdefault(domain, version)
        # A later version of the format holds all that an earlier one does.
        self._whole.ir_version = max(self._whole.ir_version, model.ir_version)
        self._given |= {str(v.name): v for v in results}
        self._parts.append(
            Part(
                source,
                path,
                {name: links.get(name, new) for name, new in zip(names, now[: len(inputs)], strict=False)},
                dict(zip(names[len(inputs) :], now[len(inputs) :], strict=True)),
                renamed,
            )
        )

    def finished(self) -> ir.Model:
        """The whole; what is handed over is no output of it."""
        graph = self._whole.graph
        results = [value for value in graph.outputs if str(value.name) not in self._passed]
        graph.outputs.clear()
        graph.outputs.extend(results)
        graph.meta[JOINED] = Joined(tuple(self._parts), tuple(str(v.name) for v in results))
        files.join_sources(self._whole, [part.model for part in self._parts])
        return self._whole

    def _links(self, path: Path, graph: ir.Graph, pairs: Mapping[str, str]) -> dict[str, str]:
        """Which inputs of a file are outputs of those before it, by name.

        Raises:
            UsageError: none is, or a name is none.
            ModelError: a type or a size does not fit.
        """
        names = {str(v.name): v for v in graph.inputs if not v.is_initializer()}
        for name, output in pairs.items():
            if name not in names:
                raise UsageError(f"--also {path}: it has no input {name!r}; it has {', '.join(names)}")
            if output not in self._given:
                raise UsageError(f"--also {path}: no file before it has an output {output!r}; {self._offer()}")
        # What the user said comes first: an input that has an output's name may still be meant for another one.
        same = {name: name for name in names if name in self._given and name not in pairs}
        links = {**same, **pairs}
        if not links:
            raise UsageError(
                f"--also {path}: none of its inputs ({', '.join(names)}) is called like an output before it; "
                f"{self._offer()}; say which with --also {path}:INPUT=OUTPUT"
            )
        for name, output in links.items():
            if list(links.values()).count(output) > 1:
                raise UsageError(f"--also {path}: two of its inputs are to be {output!r}; leave one to the caller")
            self._demand_fit(path, names[name], self._given[output])
        # What a file declares and never reads stays an input: a link would keep alive what is handed to nobody.
        return {name: output for name, output in links.items() if names[name].uses()}

    def _offer(self) -> str:
        return f"there are {', '.join(self._given)}"

    def _demand_fit(self, path: Path, value: ir.Value, output: ir.Value) -> None:
        """Raises ModelError where the types or fixed sizes of an input and an output differ."""
        said = f"--also {path}: its input {value.name!r} is"
        if value.dtype is not None and output.dtype is not None and value.dtype != output.dtype:
            other = f"output {output.name!r} before it"
            raise ModelError(f"{said} {value.dtype}, and {other} {output.dtype}; join what fits")
        if value.shape is None or output.shape is None:
            return
        sizes = list(zip(value.shape, output.shape, strict=False))
        wrong = any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in sizes)
        if len(value.shape) != len(output.shape) or wrong:
            raise ModelError(
                f"{said} of shape {value.shape}, and output {output.name!r} before it of {output.shape}; join what fits"
            )

    def _handed_over(self, name: str, value: ir.Value) -> ir.Value:
        """What files read that read the output ``name`` of one before them: the same value for all of them."""
        if name not in self._passed:
            output = self._given[name]
            # Cleaning leaves a node with this mark alone, so that the border is still there when the whole is split.
            node = ir.node("Identity", [output], name=self._free(f"{name}.handed"))
            node.outputs[0].name = self._free(f"{name}.handed.out")
            node.outputs[0].type = output.type or value.type
            node.outputs[0].shape = _with_symbols(output.shape, value.shape)
            node.meta[HANDED_OVER] = name
            self._whole.graph.append(node)
            self._passed[name] = node.outputs[0]
        return self._passed[name]

    def _tell_apart(self, path: Path, graph: ir.Graph, links: Mapping[str, ir.Value]) -> dict[str, str]:
        """Gives other names to what the whole has too, values, nodes and open sizes; the old by the new names."""
        renamed: dict[str, str] = {}
        sizes = self._renamed_sizes(path, graph, links)
        for value in list(values_of(graph)):
            own = str(value.name)
            if value.name:
                value.name = self._free(own, path.stem)
            if value.name != own:
                renamed[str(value.name)] = own
            if value.shape is not None:
                value.shape = ir.Shape([sizes.get(_symbol(size), size) for size in value.shape])
        # Nodes too: reasons, branches of a proof and what is distrusted go by names of nodes.
        for node in graph.all_nodes():
            own, node.name = str(node.name), self._free(str(node.name), path.stem)
            if node.name != own:
                renamed[str(node.name)] = own
        return renamed

    def _renamed_sizes(self, path: Path, graph: ir.Graph, links: Mapping[str, ir.Value]) -> dict[str | None, DimSize]:
        """New names of open sizes: those of what is handed over are what they are before, others are others."""
        found: dict[str | None, DimSize] = {}
        for value in graph.inputs:
            output = links.get(str(value.name))
            if output is not None and output.shape is not None and value.shape is not None:
                for size, before in zip(value.shape, output.shape, strict=True):
                    if _symbol(size) and (isinstance(before, int) or _symbol(before)):
                        found[_symbol(size)] = before
        # "n" of two files need not be one number, and a name that both have would say that it is.
        for name in sorted(_symbols(graph) - {str(name) for name in found}):
            new = name if name not in self._sizes else f"{path.stem}.{name}"
            self._sizes.add(new)
            found[name] = new
        return found


def _symbol(size: int | ir.SymbolicDim) -> str | None:
    return size.value if isinstance(size, ir.SymbolicDim) else None


def _symbols(graph: ir.Graph) -> set[str]:
    """Names of open sizes of inputs and outputs."""
    shapes = [v.shape for v in (*graph.inputs, *graph.outputs) if v.shape is not None]
    return {name for shape in shapes for size in shape if (name := _symbol(size)) is not None}
