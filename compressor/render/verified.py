"""What a parity check reports: how far the outputs of two models are apart, and where they part."""

from pydantic import Field
from rich.console import Console

from compressor.core.formatting import count
from compressor.render import draw
from compressor.results.base import PathText, Record
from compressor.results.detail import Environment
from compressor.results.records import Document


class OutputRow(Record):
    """How far one output of B is from that of A, over all inputs; infinite errors are null in JSON."""

    name: str
    type_a: str = Field(description="Element type in A.")
    type_b: str
    max_abs_err: float = Field(description="Largest difference; for integers, the share of positions that differ.")
    mean_abs_err: float
    max_rel_err: float = Field(description="Largest difference as a share of the largest value of A in the same run.")
    cosine: float | None = Field(description="Smallest cosine similarity of a run; null where it means nothing.")
    agreement: float | None = Field(
        description="Share of rows whose largest entry is at the same place, for outputs [n, classes]; else null."
    )
    tolerance: float = Field(description="Relative error allowed.")
    compared: int = Field(description="Finite entries that were compared.")
    worst_run: int = Field(description="Index in runs of the largest error.")
    passed: bool


class VerifyRun(Record):
    """One set of inputs."""

    source: str = Field(description="data, or seeded inputs.")
    inputs: dict[str, list[int]] = Field(description="Shape by input name.")
    passed: bool


class LayerError(Record):
    """A value inside both models, of the same name and shape."""

    value: str
    node: str = Field(description="The node of A that computes it.")
    op_type: str
    max_abs_err: float
    max_rel_err: float
    passed: bool


class Divergence(Record):
    """Where the models part."""

    run: int = Field(description="Index in runs of the inputs that were used.")
    first: LayerError | None = Field(description="The first value, in the order of A's nodes, beyond tolerance.")
    weights: list[str] = Field(description="Initializers of that node whose values differ.")
    layers: list[LayerError] = Field(description="Every value that was compared, in the order of A's nodes.")
    shared: int = Field(description="Values that both models have under the same name.")
    total: int = Field(description="Values that nodes of A compute.")
    sessions: int = Field(description="Sessions that were opened to expose them.")


class VerifyReport(Document):
    """The result of holding two models against each other."""

    schema_name: str = Field(default="onnx-compressor.verify/1", alias="schema")
    a: PathText
    b: PathText
    provider_a: str
    provider_b: str
    passed: bool
    outputs: list[OutputRow]
    runs: list[VerifyRun]
    divergence: Divergence | None = Field(default=None, description="Null when it was not looked for.")
    seconds: dict[str, float] = Field(default={}, description="Time of each phase.")
    warnings: list[str] = Field(default=[])
    settings: dict[str, object] = Field(default={}, description="The settings of the run, defaults filled in.")
    environment: Environment


_FEW = 10


def render_verify(report: VerifyReport, console: Console, *, verbose: bool = False) -> None:
    """Prints the errors by output, and where the models part if that was looked for."""
    draw.line(console, f"A: {report.a} ({report.provider_a})", style="bold")
    draw.line(console, f"B: {report.b} ({report.provider_b})", style="bold")
    table = draw.table(["output", "max error", "mean error", "of range", "allowed", "cosine", "top-1 agrees", ""])
    for row in report.outputs:
        cells = [
            row.name,
            f"{row.max_abs_err:.2e}",
            f"{row.mean_abs_err:.2e}",
            f"{row.max_rel_err:.2e}",
            f"{row.tolerance:.0e}",
            "-" if row.cosine is None else f"{row.cosine:.6f}",
            "-" if row.agreement is None else f"{row.agreement:.2%}",
            "equal" if row.passed else "DIFFERS",
        ]
        draw.row(table, *cells)
    draw.show(console, table)
    console.print()
    for run in report.runs if verbose else ():
        shapes = ", ".join(f"{name} {'x'.join(map(str, shape)) or 'scalar'}" for name, shape in run.inputs.items())
        draw.line(console, f"  {run.source}: {shapes}: {'equal' if run.passed else 'differs'}")
    if report.divergence is not None:
        _divergence(console, report.divergence, verbose=verbose)
    verdict = "B equals A within tolerance" if report.passed else "B DIFFERS from A"
    style = "bold green" if report.passed else "bold red"
    draw.line(console, f"{verdict}, {count(len(report.runs), 'set')} of inputs.", style=style)


def _divergence(console: Console, found: Divergence, *, verbose: bool) -> None:
    first, looked = found.first, f"{len(found.layers):,} of {found.total:,} values that A computes were compared"
    if first is None:
        draw.line(console, f"No value inside differs ({looked}).")
    else:
        weights = f"; its weights differ: {', '.join(found.weights)}" if found.weights else ""
        draw.line(
            console,
            f"First difference: node {first.node} ({first.op_type}), value {first.value}, by {first.max_rel_err:.2e} "
            f"of its range{weights} ({looked}).",
            style="bold",
        )
    at = found.layers.index(first) if first is not None else 0
    shown = found.layers if verbose else found.layers[max(0, at - 3) : max(0, at - 3) + _FEW]
    table = draw.table(["value", "operator", "max error", "of range", ""])
    for row in shown:
        cells = (row.value, row.op_type, f"{row.max_abs_err:.2e}", f"{row.max_rel_err:.2e}")
        draw.row(table, *cells, "" if row.passed else "differs")
    console.print(table)
    if len(shown) < len(found.layers):
        draw.line(console, f"  and {len(found.layers) - len(shown):,} more; -v lists them all.")
    console.print()
