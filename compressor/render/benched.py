"""What a latency measurement reports; timings carry the names that ONNX Runtime's benchmark tools give them."""

from pydantic import Field
from rich.console import Console

from compressor.core.formatting import count, quantity
from compressor.render import draw
from compressor.results.base import Record
from compressor.results.detail import Environment
from compressor.results.records import Document, ModelStats


class LatencyStats(Record):
    """Time of single runs of one model; milliseconds unless said otherwise."""

    test_times: int = Field(description="Timed runs.")
    average_latency_ms: float
    latency_variance: float = Field(description="Variance of the seconds, times 1000, as ONNX Runtime's tools have it.")
    latency_90_percentile: float
    latency_95_percentile: float
    latency_99_percentile: float
    QPS: float = Field(description="Samples in a second: batch size over average latency.")
    median_latency_ms: float
    min_latency_ms: float
    max_latency_ms: float
    spread: float = Field(description="Interquartile range as a share of the median.")
    load_ms: float = Field(description="Median time until a session was ready.")
    first_load_ms: float = Field(description="The same for the first session of the run.")
    peak_memory: int | None = Field(
        description="Bytes by which loading and running it grew the largest resident set of a process of its own."
    )
    settled_memory: int | None = Field(description="Bytes by which the resident set had grown after the last run.")
    device_memory: int | None = Field(
        description="Bytes by which the memory in use on the accelerator grew, all its users together."
    )
    nodes: dict[str, int] = Field(description="Nodes that each execution provider took, before they are fused.")


class SpeedUpResult(Record):
    """How many times as fast the second model is as the first."""

    value: float = Field(description="Ratio of the medians; above 1, the second is faster.")
    low: float
    high: float
    level: float = Field(description="Confidence of the interval.")
    block: int = Field(description="Neighbouring pairs that were resampled together.")


class OperatorTime(Record):
    """Milliseconds of one run that an operator type takes, in both models."""

    op_type: str = Field(description="As it ran, such as FusedConv.")
    count_a: int
    count_b: int | None = Field(description="Null where one model was measured.")
    ms_a: float
    ms_b: float | None


class NodeTimeRow(Record):
    """Milliseconds of one run that a node takes; a side that does not have it is null."""

    name: str = Field(description="Of the node that ran; the runtime names what it fuses.")
    op_type: str
    provider: str
    ms_a: float | None
    ms_b: float | None


class BenchRun(Record):
    """Both models at one batch size."""

    batch_size: int | None = Field(description="Samples in one run; null where inputs do not share a first dimension.")
    inputs: dict[str, list[int]] = Field(description="Shape by input name.")
    rounds: int = Field(description="How often the models were loaded anew.")
    a: LatencyStats
    b: LatencyStats | None
    speed_up: SpeedUpResult | None = Field(description="Null where one model was measured.")
    noisy: bool = Field(description="The machine was too busy for the numbers to mean much.")
    operators: list[OperatorTime] = Field(default=[], description="With --profile, by time.")
    nodes: list[NodeTimeRow] = Field(default=[], description="With --profile, in the order in which they ran.")


class BenchReport(Document):
    """The result of measuring one model, or two in turns."""

    schema_name: str = Field(default="onnx-compressor.bench/1", alias="schema")
    engine: str = "onnxruntime"
    providers: str = Field(description="The execution provider asked for, by its full name.")
    io_binding: bool = Field(description="Inputs and outputs were in the accelerator's memory.")
    cuda_graph: bool
    threads: int = Field(description="Threads inside an operator; 0 stands for the runtime's choice.")
    a: ModelStats
    b: ModelStats | None
    runs: list[BenchRun]
    seconds: dict[str, float] = Field(default={}, description="Time of each phase.")
    warnings: list[str] = Field(default=[])
    settings: dict[str, object] = Field(default={}, description="The settings of the run, defaults filled in.")
    environment: Environment


_FEW = 10


def render_bench(report: BenchReport, console: Console, *, verbose: bool = False) -> None:
    """Prints latencies side by side, the speed-up with its interval, and where time goes if it was profiled."""
    sides = [("A", report.a), ("B", report.b)] if report.b is not None else [("A", report.a)]
    for letter, stats in sides:
        if stats is not None:
            size = f"{quantity(stats.bytes, 'B')}, {quantity(stats.macs)} MACs"
            draw.line(console, f"{letter}: {stats.path} ({size})", style="bold")
    threads = count(report.threads, "thread") if report.threads else "threads as the runtime likes"
    draw.line(console, f"{report.providers} on {report.environment.device}, {threads}")
    for run in report.runs:
        _run(console, run, verbose=verbose)


def _run(console: Console, run: BenchRun, *, verbose: bool) -> None:
    shapes = ", ".join(f"{name} {'x'.join(map(str, shape)) or 'scalar'}" for name, shape in run.inputs.items())
    console.print()
    draw.line(console, f"{'Batch ' + str(run.batch_size) if run.batch_size else 'One run'}: {shapes}", style="bold")
    columns = [run.a] if run.b is None else [run.a, run.b]
    table = draw.table(["", "A", "B"][: len(columns) + 1])
    rows = {
        "median": [_ms(c.median_latency_ms) for c in columns],
        "mean": [_ms(c.average_latency_ms) for c in columns],
        "p90": [_ms(c.latency_90_percentile) for c in columns],
        "p95": [_ms(c.latency_95_percentile) for c in columns],
        "p99": [_ms(c.latency_99_percentile) for c in columns],
        "samples a second": [f"{c.QPS:,.1f}" for c in columns],
        "spread": [f"{c.spread:.0%}" for c in columns],
        "load": [_ms(c.load_ms) for c in columns],
        "peak memory": [_bytes(c.peak_memory) for c in columns],
        "nodes": [_nodes(c.nodes) for c in columns],
    }
    if any(c.device_memory is not None for c in columns):
        rows["device memory"] = [_bytes(c.device_memory) for c in columns]
    for name, cells in rows.items():
        draw.row(table, name, *cells)
    console.print(table)
    if run.speed_up is not None:
        _speed_up(console, run)
    _profile(console, run, verbose=verbose)


def _speed_up(console: Console, run: BenchRun) -> None:
    found = run.speed_up
    assert found is not None
    text = f"B is {found.value:.3g} times as fast as A"
    if found.low <= 1 <= found.high:
        text = f"No difference shown: B is {found.value:.3g} times as fast as A"
    between = f"{found.level:.0%} interval {found.low:.3g} to {found.high:.3g}"
    draw.line(console, f"{text} ({between}, {count(run.a.test_times, 'pair')}).", style="bold")


def _profile(console: Console, run: BenchRun, *, verbose: bool) -> None:
    if not run.operators:
        return
    sides = ["A", "B"] if run.b is not None else ["A"]
    table = draw.table(["operator", *(f"nodes {s}" for s in sides), *(f"ms {s}" for s in sides)])
    for row in run.operators[: None if verbose else _FEW]:
        counts = [row.count_a, row.count_b][: len(sides)]
        times = [row.ms_a, row.ms_b][: len(sides)]
        cells = [row.op_type, *(f"{c or 0:,}" for c in counts), *(f"{t or 0:.3f}" for t in times)]
        draw.row(table, *cells)
    draw.show(console, table)
    slowest = sorted(run.nodes, key=lambda n: -max(n.ms_a or 0, n.ms_b or 0))
    table = draw.table(["node", "operator", *(f"ms {s}" for s in sides)])
    for node in run.nodes if verbose else slowest[:_FEW]:
        times = [node.ms_a, node.ms_b][: len(sides)]
        cells = [node.name, node.op_type, *("-" if t is None else f"{t:.3f}" for t in times)]
        draw.row(table, *cells)
    draw.show(console, table)
    if not verbose and len(run.nodes) > _FEW:
        draw.line(console, f"  the slowest of {len(run.nodes):,} nodes; -v lists them all.")


def _nodes(nodes: dict[str, int]) -> str:
    short = (f"{name.removesuffix('ExecutionProvider')} {number:,}" for name, number in sorted(nodes.items()))
    return ", ".join(short) or "unknown"


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.3f} ms" if milliseconds < 10 else f"{milliseconds:.1f} ms"


def _bytes(number: int | None) -> str:
    return "-" if number is None else quantity(number, "B")
