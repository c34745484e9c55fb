"""ONNX Runtime's quantiser is run, and run again without the nodes of which it makes what does not run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from compressor.config.quantize import QuantizeSettings
from compressor.core.arrays import Array
from compressor.core.compare import is_real
from compressor.core.formatting import count
from compressor.core.scratch import scratch
from compressor.data import batches, subset
from compressor.errors import ModelError, NothingToProve, UsageError
from compressor.graph.disk import files
from compressor.graph.form import gemm_weights
from compressor.graph.ir import exporter_metadata
from compressor.graph.ir.nodes import REALS
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.operators.quantization_grid import beside_odd_scales
from compressor.results.quantize import QuantizedRow
from compressor.runtime import quantizer
from compressor.runtime.stored import Runs, Stored
from compressor.steps.quantize import QuantizeTask, layer_weights
from compressor.steps.run_samples import RunSamples

LEFT = "node {node!r} stays as it was, since ONNX Runtime does not run what its quantiser makes of it: {reason}"
ENDLESS = (
    "{nodes}, such as {node!r}, stay as they were: on the samples they read or make numbers that are not finite, as "
    "masks of attention are, which no scale fits"
)
NO_SCALE = "ONNX Runtime's quantiser gives {node!r} a scale that is not finite and positive; {remedy}"
NO_BATCH = (
    "the model takes {fixed} samples at a time, and there are {count}; give more of them, with --samples or --data"
)
REASON = 160
"""Letters of what the runtime says that are repeated to the user."""


@dataclass(frozen=True)
class Quantised:
    """What the quantiser made.

    Attributes:
        model: in memory.
        rows: which weights it took.
        notes: nodes that it was kept from, and why.
    """

    model: ir.Model
    rows: list[QuantizedRow]
    notes: list[str]


@dataclass(frozen=True)
class _Run:
    """One run of the quantiser; its files lie in ``folder``."""

    task: QuantizeTask
    samples: RunSamples
    settings: QuantizeSettings
    folder: Path

    @property
    def plain(self) -> Path:
        return self.folder / "ready.onnx"

    @property
    def read(self) -> Path:
        """What the quantiser reads.

        ONNX Runtime does not optimise what has weights beside it, and it hides float16 weights behind casts.
        """
        narrow = any(value.dtype == ir.DataType.FLOAT16 for value in self.task.weights.values())
        return self.plain if self.task.asked.large or narrow else self.folder / "better.onnx"

    @property
    def given(self) -> Path:
        """What the quantiser is given: :attr:`read`, or that with shared weights in another form."""
        once = self.folder / "once.onnx"
        return once if once.exists() else self.read

    @property
    def output(self) -> Path:
        """The file that the quantiser writes."""
        return self.folder / "quantised.onnx"

    def write(self, left: Sequence[str]) -> None:
        """Writes the quantised model, and runs it once; nodes in ``left`` are as they were."""
        files.save_model(self.task.model, self.plain, external_data=self.task.asked.large)
        if self.read != self.plain:
            quantizer.optimised(self.plain, self.read)
        quantization = replace(self.task.asked, left=self._left_out(left))
        if self.task.mode == "static":
            quantizer.static(self.read, self.output, self._feeds(), quantization, self.settings.provider)
        elif self.task.mode == "dynamic":
            quantizer.dynamic(self.given, self.output, quantization)
        else:
            quantizer.four_bits(self.read, self.output, quantization)
        self._try(self.output)

    def _left_out(self, left: Sequence[str]) -> tuple[str, ...]:
        """Nodes that the quantiser leaves alone, by the names that it knows; writes :attr:`given` where it has to be.

        The optimiser gives nodes other names where it joins them, so that what is left is known by its weight.
        """
        model = files.load_model(self.read)
        asked = {*self.task.asked.left}
        weights = {
            name
            for name, value in self.task.weights.items()
            if all(str(node.name) in asked for node, _ in value.uses())
        }
        readers = [str(n.name) for n in model.graph.all_nodes() if any(v and v.name in weights for v in n.inputs)]
        names = dict.fromkeys((*self.task.asked.left, *readers, *left))
        if self.task.mode != "dynamic":
            return tuple(names)
        if gemm_weights.transpose_shared(model):
            files.save_model(model, self.folder / "once.onnx", external_data=self.task.asked.large)
        there = {node.name for node in model.graph}
        products = (gemm_weights.product_name(name) for name in names)
        return (*names, *(name for name in products if name not in there))

    def to_blame(self, error: ModelError, left: Mapping[str, str]) -> tuple[str, str]:
        """The node that an error of :meth:`write` is about, and why.

        ONNX Runtime tells of a node by its name alone, and the quantiser derives names from those that it read.

        Raises:
            ModelError: the model does not run before it is quantised either, the quantiser names no node, or what it
                made does not run and there is no node to be left alone.
            NothingToProve: no output is a finite number, so that activations have no range.
        """
        self._demand_model()
        said = str(error)
        graph = files.load_model(self.read if self.read.exists() else self.plain).graph
        named = [str(n.name) for n in graph if n.name and (f"'{n.name}" in said or f"({n.name}" in said)]
        # The longest name is the node's own; shorter ones are how it begins, and no fault of the nodes of that name.
        node = max(named, key=len, default=None)
        if node is not None and node not in left:
            return node, " ".join(said.split())[:REASON].rstrip(" .;:")
        if not self.output.exists():
            raise error
        near = self._weights_near(said)
        remedy = f"leave {', '.join(near)} out with --exclude, or choose another --mode"
        raise ModelError(
            "what ONNX Runtime's quantiser makes of the model, which runs by itself, does not run: "
            f"{said}; {remedy if near else quantizer.QUANTISER_REMEDY}"
        )

    def _weights_near(self, said: str) -> list[str]:
        """Weights of nodes that are quantised and that the runtime names, or something that they read or make."""
        names = {
            node: [str(node.name), *(str(v.name) for v in (*node.inputs, *node.outputs) if v is not None)]
            for node in self.task.model.graph
            if node.name not in self.task.asked.left
        }
        named = {name for texts in names.values() for name in texts if f"'{name}" in said or f"({name}" in said}
        longest = max(named, key=len, default=None)
        read = {str(v.name) for node, texts in names.items() if longest in texts for v in node.inputs if v is not None}
        return sorted(read & self.task.weights.keys())

    def _demand_model(self) -> None:
        """Raises unless the model itself runs and gives numbers."""
        try:
            runs = self._try(self.plain)
        except ModelError as error:
            raise type(error)(f"the model does not run on the samples, before it is quantised: {error}") from None
        reals = [array.astype(np.float64) for row in runs.outputs for array in row if is_real(array)]
        if reals and not any(np.isfinite(array).any() for array in reals):
            why = "; ".join(self.task.notes) or "weights or samples may hold numbers that are not"
            raise NothingToProve(
                f"no output of the model is a finite number, so there is nothing to calibrate: {why}; give --data"
            )

    def _try(self, path: Path) -> Runs:
        """Runs a model on the first batch; raises UsageError where there are too few samples for one."""
        feed = next(self._feeds(), None)
        if feed is None:
            limit = batch_limit(self.task.model)
            raise UsageError(NO_BATCH.format(fixed=limit, count=len(self.samples.train)))
        # As its users will load it: only then does the runtime fuse what it may refuse to run.
        return Stored(path, self.settings.provider, optimised=True).run([feed])

    def _feeds(self) -> Iterator[Mapping[str, Array]]:
        model, settings = self.task.model, self.settings
        fixed = batch_limit(model)
        chosen = subset(self.samples.train, max(settings.samples, fixed or 0), settings.seed)
        wanted = {str(v.name) for v in model.graph.inputs}
        for batch in batches(chosen, fixed or min(settings.batch_size, 32)):
            # A part of a batch does not run where the size is fixed.
            if fixed is None or len(batch) == fixed:
                yield {name: array for name, array in batch.inputs.items() if name in wanted}


def quantised(task: QuantizeTask, samples: RunSamples, settings: QuantizeSettings) -> Quantised:
    """The model that the quantiser makes; nodes that do not run as it writes them are left as they were.

    Raises:
        ModelError: the quantiser refuses the model, the model does not run before, or what the quantiser makes does
            not run and there is no node that could be left alone.
        UsageError: there are fewer samples than the model takes at a time.
    """
    left: dict[str, str] = {}
    endless: list[str] = []
    while True:
        with scratch() as folder:
            run = _Run(task, samples, settings, folder)
            try:
                run.write([*left, *endless])
            except ModelError as error:
                node, reason = run.to_blame(error, left)
                left[node] = reason
                continue
            result = _in_memory(run.output)
            # The optimised model, as the optimiser renames and merges weights before they are quantised.
            before = files.load_model(run.given)
        more = _without_scale(before, result, {*left, *endless})
        if not more:
            break
        endless += more
    rows = _rows(before, result)
    result.graph.meta.clear()  # its file goes with the folder
    result.graph.meta.update(task.model.graph.meta)
    result.metadata_props.update(task.model.metadata_props)
    if not settings.keep_metadata:
        exporter_metadata.strip_metadata(result)
    # What the file declares is what callers bind to; the optimiser writes down what it infers beside that.
    for one, two in zip(task.model.graph.outputs, result.graph.outputs, strict=True):
        two.shape = one.shape if one.dtype == two.dtype and one.shape is not None else two.shape
    remedy = "; --no-per-channel may be run" if task.asked.per_channel and task.mode != "int4" else ""
    notes = [LEFT.format(node=n, reason=reason) + remedy for n, reason in left.items()]
    if endless:
        notes.append(ENDLESS.format(nodes=count(len(endless), "node"), node=endless[0]))
    return Quantised(result, rows, notes)


def _without_scale(before: ir.Model, after: ir.Model, left: Set[str]) -> list[str]:
    """Nodes to leave as they were, as what they read or make has a scale that is not finite and positive.

    Raises:
        ModelError: there is such a scale, and no node that could be left.
    """
    beside = [str(node.name) for node in beside_odd_scales(after.graph)]
    there = {node.name for node in before.graph}
    more = [name for name in beside if name in there and name not in left]
    if beside and not more:
        raise ModelError(NO_SCALE.format(node=beside[0], remedy=quantizer.QUANTISER_REMEDY))
    return more


def _in_memory(path: Path) -> ir.Model:
    """The model of a file that is about to be removed."""
    model = files.load_model(path)
    for value in model.graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            value.const_value = ir.tensor(value.const_value.numpy().copy(), dtype=value.dtype, name=value.name)
    return model


def _rows(before: ir.Model, after: ir.Model) -> list[QuantizedRow]:
    """Which weights the quantiser took: those that are no initializers of real numbers any more."""
    kept = {str(v.name) for v in after.graph.initializers.values() if v.dtype in REALS}
    return [
        QuantizedRow(
            name=name,
            label=exporter_metadata.readable(v),
            operator=next(use.node.op_type for use in v.uses()),
            weights=elements(v),
            quantized=name not in kept,
        )
        for name, v in layer_weights(before).items()
    ]


def elements(value: ir.Value) -> int:
    """How many numbers a weight has."""
    assert value.const_value is not None
    return int(value.const_value.size)
