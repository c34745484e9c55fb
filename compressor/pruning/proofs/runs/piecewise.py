"""A model that is run in pieces, one after the other, so that only a piece of its weights is in memory at a time.

The graph is cut between nodes wherever enough weights have come together; what later pieces read is handed on, as
arrays, so that no cut runs through a sequence, a map or an optional value. Outputs are those of the whole graph.
Weights go to the runtime as they are mapped or made, without a file of their own (``lent`` of
:class:`compressor.runtime.sessions.Setup`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper

from compressor.core.arrays import Array
from compressor.errors import ModelError
from compressor.graph.disk.stream import placeholder_proto
from compressor.graph.ir.opsets import FREE_WEIGHTS
from compressor.graph.ir.walk import nested
from compressor.graph.tensors.weights import weight_bytes
from compressor.runtime.stored import Feed, Ready, ReadySession, Runnable, Runs, Tried, WeightChange

if TYPE_CHECKING:
    from compressor.runtime.sessions import Session

PIECE_BYTES: Final = 1 << 28
"""Weights of a piece; one weight may be larger."""
INLINE_BELOW: Final = 1024
"""Bytes below which a weight is in the message of a piece, where the runtime looks for shapes and axes."""
_FILE: Final = "model.onnx"
"""What a written graph is called in its folder."""
NOTE: Final = "models of {size:.1f} GB were run in {count} pieces, as they would not fit into memory beside each other"


class ExternalWeights(Runnable):
    """A model whose weights the runtime reads where they are: mapped from its file, or in memory.

    Only the graph is written, when this is made; what becomes of the model later matters to :meth:`changed` alone. On
    the CPU alone, as other providers have memory of their own.

    Args:
        model: a model whose tensors nobody edits.
        folder: where the file of the graph goes.
    """

    def __init__(self, model: ir.Model, folder: Path) -> None:
        self._model = model
        proto, weights = placeholder_proto(model)
        # A weight that is an input as well may be overridden by a feed, so it is not lent but stays in the message.
        fed = {value.name for value in proto.graph.input}
        # The runtime drops a weight that nothing reads, and then refuses one that is lent under its name. By the nodes
        # of the message: uses that the model knows of may be those of nodes outside it.
        read = {name for node in proto.graph.node for name in _read(node)} - fed
        self._weights = {name: t for name, t in weights.items() if _is_lent(t) and name in read}
        for header in proto.graph.initializer:
            _place(header, weights.get(header.name), lent=header.name in self._weights)
        # A folder for each, as several models of one proof are written to the same place.
        self._path = Path(tempfile.mkdtemp(dir=folder)) / _FILE
        self._path.write_bytes(proto.SerializeToString())

    def open(self) -> ReadySession:
        """A session for it; raises as :meth:`compressor.runtime.stored.Stored.open`."""
        from compressor.runtime.sessions import Setup, start_session  # noqa: PLC0415 - ONNX Runtime is loaded only where it runs

        # ReadySession holds these arrays too: the runtime reads them in place and does not keep them alive.
        lent = _lent(self._weights)
        return ReadySession(start_session(self._path, "cpu", Setup.for_results(lent=lent)), lent)

    def changed(self, change: WeightChange, folder: Path) -> ExternalWeights:
        """The same with other weights; the model must not have been edited since this was made."""
        return ExternalWeights(change(self._model), folder)


def _is_lent(tensor: ir.TensorProtocol) -> bool:
    """Does the runtime read a weight where it is? Types of less than a byte have no array of that form."""
    return tensor.nbytes >= INLINE_BELOW and tensor.dtype.bitwidth % 8 == 0


def _lent(weights: Mapping[str, ir.TensorProtocol]) -> dict[str, Array]:
    """Weights as the runtime reads them in place: in rows, else it makes a copy and refuses to have it lent."""
    return {name: np.asarray(tensor.numpy(), order="C") for name, tensor in weights.items()}


def _place(header: onnx.TensorProto, tensor: ir.TensorProtocol | None, *, lent: bool) -> None:
    """Says in the description of a weight where its data is: with the session, or in the message itself."""
    if tensor is None:
        return  # strings are in the message already
    # Cleared first: the description may name the file that the weight was read from, and only one place may hold it.
    header.ClearField("external_data")
    header.ClearField("data_location")
    if lent:
        header.data_location = onnx.TensorProto.EXTERNAL
        # The runtime wants a file and reads nothing of it, as the session has the weight under this name.
        header.external_data.add(key="location", value=_FILE)
    else:
        header.raw_data = tensor.tobytes()


@dataclass(frozen=True)
class Segment:
    """Some nodes in a row.

    Attributes:
        nodes: in the order in which they run.
        inputs: names of values that they read and do not make.
        weights: names of initializers that they read.
        outputs: names of values that they make, and that later pieces or the caller read.
    """

    nodes: Sequence[onnx.NodeProto]
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    outputs: tuple[str, ...]


class Piecewise(Runnable, Ready):
    """A model that is run in pieces.

    Args:
        model: a model in topological order; it must not be edited while this is used.
        folder: where the small files of pieces may be put.
        provider: short or full name.
    """

    def __init__(self, model: ir.Model, folder: Path, provider: str) -> None:
        self._model, self._folder, self._provider = model, folder, provider

    def open(self) -> Piecewise:
        """Itself, as no session lasts longer than its piece."""
        return self

    def changed(self, change: WeightChange, folder: Path) -> Piecewise:
        """The same with other weights, each made when its piece is run."""
        return Piecewise(change(self._model), folder, self._provider)

    def run(self, feeds: Sequence[Feed]) -> Runs:
        """Runs the model on each feed.

        Raises:
            ModelError: a piece is refused, or does not run on one of them.
            OutOfMemory: memory ran out.
        """
        rows = []
        # All feeds go through a piece before the next one is loaded, so that weights are read once for all of them.
        for row in self._each(feeds):
            if isinstance(row, ModelError):
                raise row
            rows.append(row)
        return Runs(self.names, list(feeds), rows)

    def tried(self, feeds: Sequence[Feed], enough: int) -> Tried:
        """Runs the model on the feeds that it takes; several at once, as each pass reads all weights."""
        runs: list[Runs] = []
        problem = None
        # The first pass takes as many feeds as are wanted; only where some of these fail is a second pass worth it.
        for wanted in (feeds[:enough], feeds[enough:]):
            rows = self._each(wanted) if wanted and len(runs) < enough else []
            for feed, row in zip(wanted, rows, strict=False):
                if isinstance(row, ModelError):
                    problem = problem or row
                elif len(runs) < enough:
                    runs.append(Runs(self.names, [feed], [row]))
        return Tried(runs, problem)

    @property
    def names(self) -> list[str]:
        """Names of the outputs."""
        return [str(value.name) for value in self._model.graph.outputs]

    @property
    def note(self) -> str:
        """What a reader of a proof should know."""
        return NOTE.format(size=weight_bytes(self._model) / 1e9, count=len(self._pieces))

    # ---- runs -----------------------------------------------------------------------------------------------

    def _each(self, feeds: Sequence[Feed]) -> list[list[Array] | ModelError]:
        """Outputs for each feed, or why it does not run."""
        # A feed that fails keeps its error in its place, so that rows and feeds still correspond.
        known: list[dict[str, Array] | ModelError] = [dict(feed) for feed in feeds]
        # The last piece that reads a value, by overwriting: after it the value is dropped, to keep memory small.
        last = {name: number for number, piece in enumerate(self._pieces) for name in piece.inputs}
        wanted = set(self.names)
        for number, piece in enumerate(self._pieces):
            for place, row in enumerate(self._through(piece, known)):
                before = known[place]
                if isinstance(before, dict) and not isinstance(row, ModelError):
                    left = {n: a for n, a in (before | row).items() if n in wanted or last.get(n, -1) > number}
                    known[place] = left
                elif isinstance(row, ModelError):
                    known[place] = row
        return [row if isinstance(row, ModelError) else [self._output(n, row) for n in self.names] for row in known]

    def _output(self, name: str, row: Mapping[str, Array]) -> Array:
        """An output; it may be a weight or a table of words that no node makes."""
        if name in row:
            return row[name]
        held = self._weights.get(name)
        return np.asarray(onnx.numpy_helper.to_array(self._headers[name]) if held is None else held.numpy())

    def _through(
        self, piece: Segment, known: Sequence[dict[str, Array] | ModelError]
    ) -> Iterator[dict[str, Array] | ModelError]:
        """What a piece makes of each row of values."""
        from compressor.runtime.sessions import run_session  # noqa: PLC0415 - ONNX Runtime is loaded only where it runs

        fed = {name for row in known if isinstance(row, dict) for name in row}
        held = {n: self._weights[n] for n in piece.weights if n in self._weights and n not in fed}
        lent = _lent({name: tensor for name, tensor in held.items() if _is_lent(tensor)})
        alike = _sizes_alike(row for row in known if isinstance(row, dict))
        # One session at a time, as each holds the weights of the piece.
        sessions: dict[tuple[object, ...], Session] = {}  # by what is fed: types of inputs are those of arrays
        for row in known:
            if isinstance(row, ModelError):
                yield row
                continue
            given = {name: row[name] for name in piece.inputs if name in row}
            kind = tuple((name, array.dtype, array.ndim) for name, array in given.items())
            try:
                if kind not in sessions:
                    inputs = [_described(name, array.dtype, alike[name, array.ndim]) for name, array in given.items()]
                    sessions = {kind: self._session(piece, inputs, lent)}
                yield dict(zip(piece.outputs, run_session(sessions[kind], given, piece.outputs), strict=True))
            except ModelError as error:
                yield error

    def _session(self, piece: Segment, inputs: Sequence[onnx.ValueInfoProto], lent: Mapping[str, Array]) -> Session:
        from compressor.runtime.sessions import Setup, start_session  # noqa: PLC0415 - as above

        message = self._message(piece, inputs, lent)
        with tempfile.TemporaryDirectory(dir=self._folder) as place:
            path = Path(place) / _FILE
            path.write_bytes(message.SerializeToString())
            return start_session(path, self._provider, Setup.for_results(lent=lent))

    def _message(
        self, piece: Segment, inputs: Sequence[onnx.ValueInfoProto], lent: Mapping[str, Array]
    ) -> onnx.ModelProto:
        given = {value.name for value in inputs}
        headers = []
        for name in piece.weights:
            if name in given:
                continue
            header = onnx.TensorProto()
            header.CopyFrom(self._headers[name])
            _place(header, self._weights.get(name), lent=name in lent)
            headers.append(header)
        # Types of results are left out; the runtime infers them.
        outputs = [onnx.ValueInfoProto(name=name) for name in piece.outputs]
        graph = helper.make_graph(piece.nodes, "piece", inputs, outputs, headers)
        # Its weights are no inputs, whatever the format of the file demanded.
        message = onnx.ModelProto(ir_version=max(FREE_WEIGHTS, self._proto.ir_version), graph=graph)
        message.opset_import.extend(self._proto.opset_import)
        message.functions.extend(self._proto.functions)
        return message

    # ---- pieces ---------------------------------------------------------------------------------------------

    @cached_property
    def _parsed(self) -> tuple[onnx.ModelProto, dict[str, ir.TensorProtocol]]:
        return placeholder_proto(self._model)

    @property
    def _proto(self) -> onnx.ModelProto:
        return self._parsed[0]

    @property
    def _weights(self) -> dict[str, ir.TensorProtocol]:
        return self._parsed[1]

    @cached_property
    def _headers(self) -> dict[str, onnx.TensorProto]:
        return {header.name: header for header in self._proto.graph.initializer}

    @cached_property
    def _pieces(self) -> list[Segment]:
        """The graph in pieces of ``PIECE_BYTES`` of weights; more where the nodes between hand on what is no tensor."""
        nodes = self._proto.graph.node
        until = {name: place for place, node in enumerate(nodes) for name in _read(node) if name in self._no_tensors}
        rows, size, whole = list[list[onnx.NodeProto]](), 0, 0
        for place, node in enumerate(nodes):
            more = sum(self._weights[name].nbytes for name in set(_read(node)) & self._weights.keys())
            # A node of more weights than a piece has gets one of its own, and never leaves an empty one behind.
            if not rows or (size + more > PIECE_BYTES and size and place > whole):
                rows.append([])
                size = 0
            rows[-1].append(node)
            size += more
            whole = max([whole, *(until.get(name, 0) for name in node.output)])
        read = [set(_outer(row)) for row in rows]
        # From the end backwards, so that what later pieces read is known when a piece is closed.
        later = set(self.names)
        pieces = []
        for row, names in zip(reversed(rows), reversed(read), strict=True):
            outputs = [name for node in row for name in node.output if name]
            inputs = tuple(sorted(n for n in names if n not in self._headers or n in self._defaults))
            weights = tuple(sorted(n for n in names if n in self._headers))
            pieces.append(Segment(row, inputs, weights, tuple(name for name in outputs if name in later)))
            later |= names
        return pieces[::-1]

    @cached_property
    def _no_tensors(self) -> set[str]:
        """Names of values that are sequences, maps or optional ones."""
        graph = onnx.shape_inference.infer_shapes(self._proto).graph
        typed = (value for value in (*graph.value_info, *graph.output) if value.HasField("type"))
        return {value.name for value in typed if not value.type.HasField("tensor_type")}

    @cached_property
    def _defaults(self) -> set[str]:
        """Initializers that the caller may override."""
        return {value.name for value in self._proto.graph.input} & self._headers.keys()


def _sizes_alike(rows: Iterable[Mapping[str, Array]]) -> dict[tuple[str, int], list[int | None]]:
    """By name and rank of a value: its sizes where all rows have the same; None where they differ, which one session
    must take. Kernels ask some of them when they are loaded, as Attention the width of what its heads share.
    """
    found: dict[tuple[str, int], list[int | None]] = {}
    for row in rows:
        for name, array in row.items():
            before = found.setdefault((name, array.ndim), list(array.shape))
            found[name, array.ndim] = [a if a == b else None for a, b in zip(before, array.shape, strict=True)]
    return found


def _described(name: str, dtype: np.dtype[np.generic], sizes: Sequence[int | None]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, int(ir.DataType.from_numpy(dtype)), sizes)


def _read(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node reads, also inside its subgraphs."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in [attribute.g] if attribute.HasField("g") else [*attribute.graphs]:
            # Names that the body makes itself shadow nothing outside: ONNX demands unique names across nested graphs.
            for body in nested(graph):
                made = {name for inner in body.node for name in inner.output}
                for inner in body.node:
                    yield from (name for name in inner.input if name and name not in made)
                if isinstance(body, onnx.GraphProto):
                    yield from (value.name for value in body.output if value.name not in made)


def _outer(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """Names that nodes in a row read and do not make before."""
    inner_names: set[str] = set()
    for node in nodes:
        yield from (name for name in _read(node) if name not in inner_names)
        inner_names.update(node.output)
