"""A parity check as text."""

from rich.console import Console

from compressor.core.formatting import count, metric_value, percentage, portion
from compressor.render import draw
from compressor.render.text import metric_title, told_settings
from compressor.results.verify import Divergence, VerifyReport


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
            f"{row.tolerance:.1e}",
            "-" if row.cosine is None else f"{row.cosine:.6f}",
            "-" if row.agreement is None else f"{row.agreement:.2%}",
            "not compared" if row.left_out else "equal" if row.passed else "differs" if report.meant else "DIFFERS",
        ]
        draw.add_row(table, *cells)
    draw.show(console, table)
    console.print()
    for run in report.runs if verbose else ():
        shapes = ", ".join(f"{name} {'x'.join(map(str, shape)) or 'scalar'}" for name, shape in run.inputs.items())
        draw.line(console, f"  {run.source}: {shapes}: {'equal' if run.passed else 'differs'}")
    for item in report.accuracy:
        before, after = (metric_value(value, share=item.share) for value in (item.before, item.after))
        draw.line(console, f"{metric_title(item)}: A {before}, B {after}.", style="bold")
    if report.divergence is not None:
        _divergence(console, report.divergence, verbose=verbose)
    if report.meant and not report.passed:
        _meant(console, report)
        return
    verdict = "B equals A within tolerance" if report.passed else "B DIFFERS from A"
    style = "bold green" if report.passed else "bold red"
    draw.line(console, f"{verdict}, {_compared(report)}.", style=style)


def _compared(report: VerifyReport) -> str:
    """What the models were compared on: samples of the data, or sets of seeded inputs."""
    samples = [run.samples for run in report.runs if run.samples is not None]
    return count(sum(samples), "sample") if samples else f"{count(len(report.runs), 'set')} of inputs"


def _meant(console: Console, report: VerifyReport) -> None:
    """How far a model is from what it was made of, which is no fault, and what would make it one."""
    steps = " and ".join(" ".join(told_settings(step)) for step in report.made_by)
    draw.line(console, f"B differs from A as it is meant to: it says that it was made of A by {steps}.", style="bold")
    worst = max(report.outputs, key=lambda row: row.distance)
    agree = "" if worst.agreement is None else f"; the largest class is the same in {percentage(worst.agreement)}"
    most = " most" if len(report.outputs) > 1 else ""
    written, link = portion(worst.distance)
    off = f"{worst.name}, by {written(worst.distance)} {link} its norm{agree}"
    draw.line(console, f"Off{most}: {off} ({_compared(report)}).")
    if any(run.source != "data" for run in report.runs):
        draw.line(console, "These inputs are noise: --data compares on samples, on which a model is meant to work.")
    said = report.made_by[-1].get("distance")
    if said is not None:
        draw.line(console, f"When it was made, it was off by {said}.")
    draw.line(
        console,
        "What is allowed is a default, and no limit was asked for: with --rtol or --atol, what exceeds it is an error "
        "(exit code 5).",
    )


def _divergence(console: Console, found: Divergence, *, verbose: bool) -> None:
    first, looked = found.first, f"{len(found.layers):,} of {found.total:,} values that A computes were compared"
    same = " of results of the same sizes" if found.resized else ""
    if first is None:
        draw.line(console, f"No value inside{same} differs ({looked}).")
    else:
        weights = f"; its weights differ: {', '.join(found.weights)}" if found.weights else ""
        draw.line(
            console,
            f"First difference{same}: node {first.node} ({first.op_type}), value {first.value}, "
            f"by {first.max_rel_err:.2e} of its range{weights} ({looked}).",
            style="bold",
        )
    if found.resized:
        more = f" and {count(len(found.resized) - 1, 'more value')}" if len(found.resized) > 1 else ""
        place = " before it" if first is not None else ""
        draw.line(console, f"{found.resized[0]}{more}{place} cannot be compared: B has other sizes there.")
    # The neighbourhood of the first difference is what one wants to see.
    at = found.layers.index(first) if first is not None else 0
    shown = found.layers if verbose else found.layers[max(0, at - 3) : max(0, at - 3) + draw.FEW_ROWS]
    table = draw.table(["value", "operator", "max error", "of range", ""])
    for row in shown:
        cells = (row.value, row.op_type, f"{row.max_abs_err:.2e}", f"{row.max_rel_err:.2e}")
        draw.add_row(table, *cells, "" if row.passed else "differs")
    console.print(table)
    if len(shown) < len(found.layers):
        draw.line(console, f"  and {len(found.layers) - len(shown):,} more; -v lists them all.")
    console.print()
