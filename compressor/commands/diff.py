"""Comparing two model files: sizes, operators, weights, signature, layers."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path

import onnx_ir as ir

from compressor.config import RunSettings
from compressor.core.compare import same_bits
from compressor.graph.disk import files
from compressor.graph.form.normalise import normalise
from compressor.results import DiffReport, InitializerChange, OperatorChange
from compressor.steps.run_files import read_back


def diff_files(a: Path, b: Path) -> DiffReport:
    """What differs between two model files: sizes, operators, initializers, signature."""
    settings = RunSettings()
    models = [files.load_model(p) for p in (a, b)]
    tensors = [{str(v.name): v.const_value for v in normalise(m.clone()).graph.initializers.values()} for m in models]
    counts = [Counter(node.op_type for node in m.graph) for m in models]
    signatures = [
        [(v.name, v.dtype, str(v.shape)) for v in [*m.graph.inputs, None, *m.graph.outputs] if v is not None]
        for m in models
    ]
    return DiffReport(
        a=read_back(a, settings),
        b=read_back(b, settings),
        same_signature=signatures[0] == signatures[1],
        initializers=_changed(tensors[0], tensors[1]),
        operators=[
            OperatorChange(op_type=op, count_a=counts[0][op], count_b=counts[1][op])
            for op in sorted(counts[0] | counts[1])
            if counts[0][op] != counts[1][op]
        ],
    )


def diff_report_file(a: Path, b: Path, report: DiffReport, path: Path) -> None:
    """Writes what differs as one HTML file, layer by layer.

    Args:
        a: the first model.
        b: the second one.
        report: on both, from :func:`diff_files`.
        path: the file to write.

    Raises:
        ModelError: shapes do not fit.
        UsageError: jinja2 is not installed, or the place cannot be written to.
    """
    from compressor.evaluate.profile import layer_rows
    from compressor.render.diff_page import write_diff

    rows = layer_rows(files.load_model(a), files.load_model(b), RunSettings())
    write_diff(report.model_copy(update={"layers": rows}), path, created=datetime.now().astimezone())


def _changed(
    one: dict[str, ir.TensorProtocol | None], two: dict[str, ir.TensorProtocol | None]
) -> list[InitializerChange]:
    changes = []
    for name in dict.fromkeys([*one, *two]):
        a, b = one.get(name), two.get(name)
        shapes = [None if t is None else [int(d) for d in t.shape.numpy()] for t in (a, b)]
        if shapes[0] != shapes[1] or (a is not None and b is not None and not same_bits(a.numpy(), b.numpy())):
            changes.append(InitializerChange(name=name, shape_a=shapes[0], shape_b=shapes[1]))
    return changes
