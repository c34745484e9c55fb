"""A unification run as text."""

from rich.console import Console

from compressor.core.default_metric import DEFAULT_METRIC
from compressor.core.formatting import count, metric_change, metric_value, portion, quantity, share
from compressor.render import draw
from compressor.render.gates import show_gates
from compressor.render.text import not_proved
from compressor.render.undone import show_undone
from compressor.results.records import ModelStats, ProofResult, targets_reached
from compressor.results.unify import UnifyReport

_FEW = 12


def render_unified(report: UnifyReport, console: Console, *, explain: bool = False, verbose: bool = False) -> None:
    """Prints what unification did.

    Args:
        report: the result; its warnings are not repeated here.
        console: where to print.
        explain: list every weight that was left alone.
        verbose: list every layer, and the seconds of each phase.
    """
    if report.output is not None:
        draw.sizes(console, {"before": report.input, "after": report.output})
        _bytes(report, report.output, console)
        draw.targets(console, targets_reached(report.settings, report.input, report.output))
    _layers(report, console, verbose=verbose)
    _damage(report, console)
    _trained(report, console)
    if report.latency is not None:
        draw.latency(console, report.latency)
    show_gates(console, report.gates)
    if report.gates:
        console.print()
    if report.proof is not None:
        _proved(report, report.proof, console)
    elif report.output is not None:
        draw.line(console, "Proof: not run.", style="yellow")
    _left(report, console, explain=explain, verbose=verbose)
    if verbose and report.seconds:
        draw.line(console, "Seconds: " + ", ".join(f"{name} {took:.2f}" for name, took in report.seconds.items()))
    if report.output is not None:
        path, seconds = report.output.path, sum(report.seconds.values())
        draw.line(console, f"Wrote {path} ({seconds:.1f} s)" if path else "Nothing was written.", style="bold")


def _bytes(report: UnifyReport, output: ModelStats, console: Console) -> None:
    text = draw.times_smaller(report.input.bytes, output.bytes)
    if report.gzip_bytes is not None:
        text += f"; {quantity(report.gzip_bytes, 'B')} after gzip"
    draw.line(console, f"{text}; {quantity(report.ideal_bytes, 'B')} by an ideal coder.")


def _layers(report: UnifyReport, console: Console, *, verbose: bool) -> None:
    shown = report.layers if verbose else report.layers[:_FEW]
    table = draw.table(("weight", "block", "unified", "pruned", "free", "values", "error"))
    for row in shown:
        numbers = (f"{row.unified:,}", f"{row.pruned:,}", f"{row.free:,}", f"{row.values:,}", f"{row.error:.3f}")
        draw.add_row(table, row.label or row.name, row.block, *numbers)
    draw.show_whole(console, table)
    draw.rest(console, len(report.layers) - len(shown), "-v lists them all")


def _damage(report: UnifyReport, console: Console) -> None:
    if report.permuted:
        before, after = (sum(getattr(row, key) for row in report.permuted) for key in ("before", "after"))
        text = f"{count(len(report.permuted), 'channel group')} reordered: {share(after, before)} of the damage there."
        draw.line(console, text)
    weights = sum(row.weights for row in report.layers)
    text = f"{count(len(report.layers), 'weight')} with {share(weights, report.input.params)} of the parameters."
    if report.output_error is not None:
        link = portion(report.output_error)[1]
        text += f" Outputs change by {report.output_error:.2g} {link} their norm on random inputs."
    draw.line(console, text)
    macs = sum(row.macs for row in report.layers)
    products, sums = (sum(getattr(row, key) for row in report.layers) for key in ("multiplications", "additions"))
    draw.line(
        console,
        f"The structure needs {share(products, macs)} of the multiplications and {share(sums, macs)} of the additions "
        "of these layers. ONNX Runtime computes with plain weights, so the model is smaller, not faster.",
    )


def _trained(report: UnifyReport, console: Console) -> None:
    done, found = report.training, report.accuracy
    if done is not None:
        phases = [epochs for epochs in (done.epochs, done.retrain_epochs) if epochs]
        text = f"Trained for {count(sum(phases), 'epoch')} ({done.method})"
        text += f", {done.retrain_epochs} of them with values shared"
        if len(report.undone) == len(phases):
            text += "; nothing of it was kept"
        elif done.residuals:
            gap = done.residuals[-1].primal
            # Training along the set leaves rounding alone, which is no distance to tell of.
            near = f"came within {gap:.2g} of their norm of unified ones" if gap > 1e-6 else "ended as unified ones"
            text += f"; weights {near}"
        draw.line(console, f"{text}.")
    show_undone(console, report.undone)
    if found is not None:
        once = found.one_shot
        more = "" if once is None else f", without training {metric_value(once, share=found.share)}"
        name = "Top-1 accuracy" if found.metric == DEFAULT_METRIC else found.metric
        on = "" if found.samples is None else f" ({count(found.samples, 'sample')})"
        text = f"{name} {metric_change(found.before, found.after, share=found.share)}{more}{on}."
        draw.line(console, text, style="bold")


def _proved(report: UnifyReport, proof: ProofResult, console: Console) -> None:
    exact = "every weight is unpacked bit by bit and satisfies its constraint" if report.exact else "WEIGHTS DIFFER"
    verdict = proof.verdict("those of plain unified weights", several=True)
    text = f"Proof: {exact}; outputs {verdict}, error {proof.max_rel_err:.1e}, "
    text += f"allowed {proof.tolerance:.1e} (ONNX Runtime {proof.provider}, {count(len(proof.inputs), 'input size')})."
    draw.line(console, text, style="green" if proof.passed and report.exact else "bold red")
    not_proved(console, proof)


def _left(report: UnifyReport, console: Console, *, explain: bool, verbose: bool) -> None:
    if not report.left:
        return
    weights = sum(row.weights for row in report.left)
    text = f"{count(len(report.left), 'initializer')} with {quantity(weights)} weights left alone"
    if not explain:
        draw.line(console, f"{text}; --explain lists them.")
        return
    ordered = sorted(report.left, key=lambda row: -row.weights)
    shown = ordered if verbose else ordered[: 2 * _FEW]
    table = draw.table(("left alone", "weights", "because"))
    table.columns[-1].justify = "left"
    for row in shown:
        draw.add_row(table, row.label or row.name, f"{row.weights:,}", row.reason)
    draw.show(console, table, title=f"{text}:")
    draw.rest(console, len(ordered) - len(shown), "-v lists them all")
