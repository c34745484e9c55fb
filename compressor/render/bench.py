"""A latency measurement as text."""

from rich.console import Console

from compressor.core.formatting import count, quantity
from compressor.render import draw
from compressor.render.gates import show_gates
from compressor.results.bench import BenchReport, BenchRun


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
    show_gates(console, report.gates)


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
        draw.add_row(table, name, *cells)
    console.print(table)
    if run.speed_up is not None:
        _speed_up(console, run)
    _profile(console, run, verbose=verbose)


def _speed_up(console: Console, run: BenchRun) -> None:
    found = run.speed_up
    assert found is not None
    text = f"B is {found.value:.3g} times as fast as A"
    # An interval that holds 1 shows no difference, whatever the middle says.
    if found.low <= 1 <= found.high:
        text = f"No difference shown: B is {found.value:.3g} times as fast as A"
    between = f"{found.level:.0%} interval {found.low:.3g} to {found.high:.3g}"
    draw.line(console, f"{text} ({between}, {count(run.a.test_times, 'pair')}).", style="bold")


def _profile(console: Console, run: BenchRun, *, verbose: bool) -> None:
    if not run.operators:
        return
    sides = ["A", "B"] if run.b is not None else ["A"]
    table = draw.table(["operator", *(f"nodes {s}" for s in sides), *(f"ms {s}" for s in sides)])
    for row in run.operators[: None if verbose else draw.FEW_ROWS]:
        counts = [row.count_a, row.count_b][: len(sides)]
        times = [row.ms_a, row.ms_b][: len(sides)]
        cells = [row.op_type, *(f"{c or 0:,}" for c in counts), *(f"{t or 0:.3f}" for t in times)]
        draw.add_row(table, *cells)
    draw.show(console, table)
    # The slowest of either model, as a node that only got slower matters too.
    slowest = sorted(run.nodes, key=lambda n: -max(n.ms_a or 0, n.ms_b or 0))
    table = draw.table(["node", "operator", *(f"ms {s}" for s in sides)])
    for node in run.nodes if verbose else slowest[: draw.FEW_ROWS]:
        times = [node.ms_a, node.ms_b][: len(sides)]
        cells = [node.name, node.op_type, *("-" if t is None else f"{t:.3f}" for t in times)]
        draw.add_row(table, *cells)
    draw.show(console, table)
    if not verbose and len(run.nodes) > draw.FEW_ROWS:
        draw.line(console, f"  the slowest of {len(run.nodes):,} nodes; -v lists them all.")


def _nodes(nodes: dict[str, int]) -> str:
    short = (f"{name.removesuffix('ExecutionProvider')} {number:,}" for name, number in sorted(nodes.items()))
    return ", ".join(short) or "unknown"


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.3f} ms" if milliseconds < 10 else f"{milliseconds:.1f} ms"


def _bytes(number: int | None) -> str:
    return "-" if number is None else quantity(number, "B")
