"""A quantization run as text."""

from types import MappingProxyType

from rich.console import Console

from compressor.core.formatting import count, count_of, quantity, share
from compressor.render import draw
from compressor.render.gates import show_gates
from compressor.render.text import ACCURACY_UNMEASURED, show_outcome
from compressor.results.quantize import QuantizeReport

_WORDS = MappingProxyType(
    {
        "static": "int8 weights and activations, calibrated on {samples}",
        "dynamic": "int8 weights, activations quantised while it runs",
        "int4": "weights of matrix products in 4 bits",
    }
)

UNTIMED = "How fast it runs was not measured: --latency times it, as smaller may be slower on this processor."


def render_quantized(report: QuantizeReport, console: Console, *, explain: bool = False, verbose: bool = False) -> None:
    """Prints what quantization did.

    Args:
        report: the result; its warnings are not repeated here.
        console: where to print.
        explain: list the weights that stayed as they were.
        verbose: the seconds of each phase.
    """
    assert report.output is not None
    draw.sizes(console, {"before": report.input, "after": report.output})
    console.print()
    done = [row for row in report.weights if row.quantized]
    numbers, total = (sum(row.weights for row in rows) for rows in (done, report.weights))
    how = _WORDS[report.mode].format(samples=count_of(report.calibrated, report.available, "sample"))
    draw.line(console, f"{draw.times_smaller(report.input.bytes, report.output.bytes)}: {how}.")
    if report.why is not None:
        draw.line(console, f"Mode {report.mode}, by --mode auto: {report.why}.")
    draw.line(
        console,
        f"{len(done):,} of {count(len(report.weights), 'weight')} of linear and recurrent operators, with "
        f"{share(numbers, total)} of their numbers.",
    )
    if report.synthetic is not None:
        draw.made_up_line(console, report.synthetic)
    show_outcome(console, report)
    # How far outputs move says little to most users; so it is said that accuracy is missing.
    if report.unmeasured:
        draw.line(console, ACCURACY_UNMEASURED, style="yellow")
    _speed(console, report)
    show_gates(console, report.gates)
    if report.gates:
        console.print()
    left = [row for row in report.weights if not row.quantized]
    if left and not explain:
        draw.line(console, f"{count(len(left), 'weight')} left as they were; --explain lists them.")
    elif left:
        table = draw.table(("left as it was", "numbers"))
        for row in left:
            draw.add_row(table, row.label, quantity(row.weights))
        draw.show(console, table)
    if verbose and report.seconds:
        draw.line(console, "Seconds: " + ", ".join(f"{name} {took:.2f}" for name, took in report.seconds.items()))
    path, seconds = report.output.path, sum(report.seconds.values())
    draw.line(console, f"Wrote {path} ({seconds:.1f} s)" if path else "Nothing was written.", style="bold")


def _speed(console: Console, report: QuantizeReport) -> None:
    """How fast it runs, or that nobody knows."""
    if report.latency is None:
        draw.line(console, UNTIMED)
    else:
        draw.latency(console, report.latency)
