"""Reports as text: plain lines and aligned tables that read well at 80 columns, in colour or without."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from statistics import fmean

from rich.console import Console

from compressor.channels.residual import DEPTH
from compressor.core.formatting import count, metric_value, percentage, portion, share
from compressor.core.globs import any_match
from compressor.render import draw
from compressor.render.few_channels import few_save_much
from compressor.render.gates import show_gates
from compressor.render.opaque import opaque_nodes
from compressor.render.robustness import show_curves
from compressor.render.savings import structures
from compressor.render.undone import show_undone
from compressor.results.detail import AccuracyRow, OutputsRow, Share, off_by
from compressor.results.records import DiffReport, FrozenRow, GroupRow, ProofResult, Report, targets_reached

ROUNDED = 0.1
"""A share of a group further from the ratio than this is worth a word."""
ACCURACY_UNMEASURED = "Accuracy was not measured: give --val-data with labels."


def render_report(report: Report, console: Console, *, explain: bool = False, verbose: bool = False) -> None:
    """Prints what pruning or cleaning did.

    Args:
        report: the result; its warnings are not repeated here.
        console: where to print.
        explain: list what had to stay, by reason.
        verbose: list every group, and the seconds of each phase.
    """
    if report.output is not None:
        draw.sizes(console, {"before": report.input, "after": report.output})
        console.print()
    # Where only single layers changed, a line on channels would say that none went.
    channels = not report.changed or any(group.removed for group in report.groups)
    draw.targets(console, targets_reached(report.done, report.input, report.output))
    if report.groups and channels:
        draw.line(console, f"{_what_was_removed(report)} {few_save_much(report)}".rstrip())
    _changed(console, report, verbose=verbose)
    if report.proof is not None:
        masked = any(group.removed for group in report.groups)
        _proof(console, report.proof, masked=masked, recovered=report.recovered)
    elif report.output is not None:
        draw.line(console, "Proof: not run.", style="yellow")
    if report.synthetic is not None:
        draw.made_up_line(console, report.synthetic)
    _recovered(console, report)
    if report.latency is not None:
        draw.latency(console, report.latency)
    show_curves(console, report.curves)
    show_gates(console, report.gates)
    if report.gates or not all(curve.of_training for curve in report.curves):
        console.print()
    if verbose:
        _groups(console, report.groups if channels else [], removed=True)
    if explain:
        _together(console, report.proof)
    _frozen(console, report.frozen if channels or explain else [], explain=explain, verbose=verbose)
    _written(console, report, verbose=verbose)


def _written(console: Console, report: Report, *, verbose: bool) -> None:
    """How long it took, and where the result is."""
    if verbose and report.seconds:
        draw.line(console, "Seconds: " + ", ".join(f"{name} {took:.2f}" for name, took in report.seconds.items()))
    if report.output is not None:
        path = report.output.path and " and ".join([report.output.path, *report.output.also])
        seconds = f" ({sum(report.seconds.values()):.1f} s)" if report.seconds else ""
        draw.line(console, f"Wrote {path}{seconds}" if path else "Nothing was written.", style="bold")


def render_inspection(
    report: Report, console: Console, *, explain: bool = False, operators: bool = False, verbose: bool = False
) -> None:
    """Prints the groups of a model, how much of it can be pruned, and what stands in the way."""
    draw.sizes(console, {"": report.input})
    _groups(console, report.groups, removed=False)
    rows, blocks = _by_kind(report)
    channels = sum(group.channels for group in rows)
    more = "".join(f", and {count(row.channels, 'residual block')}," for row in blocks)
    text = f"{count(channels, 'channel')} in {count(len(rows), 'group')}{more} can be pruned"
    if report.prunable_params is not None:
        owned = share(report.prunable_params, report.input.params)
        text += f"; their weights hold {owned} of the parameters"
    draw.line(console, f"{text}.", style="bold")
    structures(console, report.savings, verbose=verbose)
    if operators:
        opaque_nodes(console, report.opaque)
    _frozen(console, report.frozen, explain=explain, verbose=verbose, by_reason=True)
    _provenance(console, report.provenance, verbose=verbose)


def _provenance(console: Console, steps: Sequence[Mapping[str, str]], *, verbose: bool) -> None:
    """The commands that wrote the file, by its own account: a line each, and every fact where it is asked for."""
    for number, facts in enumerate(steps, 1):
        told = [facts.get("tool", ""), *told_settings(facts), facts.get("accuracy", "")]
        draw.line(console, f"Step {number}: {', '.join(part for part in told if part)}")
        for name, value in facts.items() if verbose else ():
            draw.line(console, f"  {name}: {value}")


def told_settings(facts: Mapping[str, str]) -> list[str]:
    """The command of a step and the settings that were given, if there were any."""
    settings = facts.get("settings", "")
    return [facts.get("command", ""), *([settings] if settings not in ("", "{}") else [])]


def render_diff(report: DiffReport, console: Console, *, verbose: bool = False) -> None:
    """Prints two models side by side: sizes, operator counts, initializers that differ."""
    draw.sizes(console, {"a": report.a, "b": report.b})
    console.print()
    draw.line(console, "Inputs and outputs: " + ("the same." if report.same_signature else "DIFFERENT."))
    if report.operators:
        table = draw.table(("operator", "a", "b"))
        for change in report.operators:
            draw.add_row(table, change.op_type, f"{change.count_a:,}", f"{change.count_b:,}")
        draw.show(console, table, title="Operator counts that differ:")
    if not report.initializers:
        draw.line(console, "Initializers: the same.")
        return
    shown = report.initializers if verbose else report.initializers[: 2 * draw.FEW_ROWS]
    table = draw.table(("initializer", "a", "b"))
    for item in shown:
        same = item.shape_a == item.shape_b
        draw.add_row(table, item.name, _shape(item.shape_a), "other values" if same else _shape(item.shape_b))
    draw.show(console, table, title=f"Initializers that differ ({len(report.initializers):,}):")
    draw.rest(console, len(report.initializers) - len(shown), "-v lists them all")


def _shape(shape: Sequence[int] | None) -> str:
    return "absent" if shape is None else "x".join(str(size) for size in shape) or "scalar"


def _what_was_removed(report: Report) -> str:
    """Says what the asked amount means: a ratio is a share of channels, a target a share that is kept."""
    rows, blocks = _by_kind(report)
    channels = sum(group.channels for group in rows)
    removed = sum(group.removed for group in rows)
    pruned = sum(group.removed > 0 for group in rows)
    done = f"{removed:,} of {channels:,} ({share(removed, channels)}) were removed,"
    done += f" in {pruned:,} of {count(len(rows), 'group')}"
    done += "".join(f", and {row.removed:,} of {count(row.channels, 'residual block')}" for row in blocks)
    ratio = report.done.get("ratio")
    if ratio is None or report.output is None:
        return f"Channels: {done}."
    macs = share(report.output.macs, report.input.macs)
    if report.done.get("scope") == "loss":
        return (
            f"Ratio {ratio:g} as a budget of MACs: {macs} of them are left, as many as if every group lost {ratio:g} "
            f"of its channels; channels went where outputs lose least: {done}."
        )
    return f"Ratio {ratio:g} as a share of the channels: {done}; MACs left {macs}.{_rounding(report, ratio)}"


def _by_kind(report: Report) -> tuple[list[GroupRow], list[GroupRow]]:
    """Groups of channels, and that of the residual blocks."""
    rows = [row for row in report.groups if row.name != DEPTH]
    return rows, [row for row in report.groups if row.name == DEPTH]


def _changed(console: Console, report: Report, *, verbose: bool) -> None:
    """What single layers became: one line, or all of them."""
    rows = report.changed
    if not rows:
        return
    macs, params = (
        share(sum(getattr(row, f"{what}_after") for row in rows), sum(getattr(row, f"{what}_before") for row in rows))
        for what in ("macs", "params")
    )
    draw.line(
        console,
        f"Structure ({report.done.get('structure')}): {count(len(rows), 'layer')} changed, "
        f"{sum(row.lowered for row in rows):,} of them written as something cheaper; {macs} of their MACs and {params} "
        f"of their parameters left{'' if verbose else '; -v lists them'}.",
    )
    if verbose:
        table = draw.table(("layer", "became", "MACs before", "after"))
        for row in rows:
            draw.add_row(table, row.node, row.became, f"{row.macs_before:,}", f"{row.macs_after:,}")
        draw.show(console, table)


def _rounding(report: Report, ratio: float) -> str:
    """Says what whole units (heads, chunks of --round-to) made of a ratio that holds for each group."""
    # Only where each group was asked for the same share can one be off it.
    if report.done.get("scope") != "local" or report.done.get("layer_ratio"):
        return ""
    off = {g.name: abs(g.removed / g.channels - ratio) for g in report.groups if g.channels}
    moved = [g for g in report.groups if off.get(g.name, 0.0) > ROUNDED and (g.removed or _was_open(report, g))]
    if not moved:
        return ""
    worst = max(moved, key=lambda g: off[g.name])
    lost = f"{worst.name} lost {worst.removed:,} of {worst.channels:,} ({share(worst.removed, worst.channels)})"
    return f" Whole units, --round-to and limits made it another share in {count(len(moved), 'group')}: {lost}."


def _was_open(report: Report, group: GroupRow) -> bool:
    """Did --include and --exclude leave a group to be pruned, by the names that reports have of it?"""
    names = [group.name, *(axis.rpartition(":")[0] for axis in group.axes)]
    included, excluded = (report.done.get(name) or () for name in ("include", "exclude"))
    return (not included or any_match(names, included)) and not any_match(names, excluded)


def _proof(console: Console, proof: ProofResult, *, masked: bool, recovered: bool) -> None:
    reference = proof.reference or ("the original with the same channels masked" if masked else "the original")
    verdict = f"{'' if proof.passed else 'FAILED, '}{proof.verdict(reference)}"
    runs = count(len(proof.inputs), "input size")
    subject = "Proof (before recovery)" if recovered else "Proof"
    text = f"{subject}: {verdict}; error {proof.max_rel_err:.1e}, allowed {proof.tolerance:.1e}"
    text += f" (ONNX Runtime {proof.provider}, {runs}"
    text += ", norms over the kept channels)." if proof.masked_statistics else ")."
    draw.line(console, text, style="green" if proof.passed else "bold red")
    not_proved(console, proof)


def not_proved(console: Console, proof: ProofResult) -> None:
    """Says what nothing is claimed of: one line a reason, with the first groups that it holds for."""
    for reason in dict.fromkeys(row.reason for row in proof.not_proved):
        names = [row.group for row in proof.not_proved if row.reason == reason]
        draw.line(console, f"Not proved for {draw.first_names(names)}: {reason}.", style="bold yellow")


def _together(console: Console, proof: ProofResult | None) -> None:
    """Names the groups of which a wrong cut was noticed along with others' only."""
    if text := draw.noticed_together(proof):
        draw.line(console, text)


def _recovered(console: Console, report: Report) -> None:
    """What recovery did to the layers, and what accuracy is left."""
    if report.recovery:
        before, after = (fmean(getattr(r, f"error_{when}") for r in report.recovery) for when in ("before", "after"))
        fit, kept = report.ran.get("fitted", "none"), report.trained
        # Layers are held against the original's before training moves them.
        errors = f"{after:.3f}" if report.changed else f"{before:.3f} before, {after:.3f} after"
        errors += f" {fit}" if kept else ""
        # A layer is fitted again in every step.
        layers, steps = len({row.name for row in report.recovery}), report.done.get("steps", 1)
        fitted = count(layers, "layer") + (f" in {steps} steps" if len(report.recovery) > layers else "")
        done = f"{fit}, then training" if kept else fit
        draw.line(console, f"Recovery ({done}): {fitted}, mean error of their outputs {errors}.")
    show_undone(console, report.undone)
    if report.trainability is not None:
        row = report.trainability
        draw.line(
            console,
            f"Trainability: mean singular value of the Jacobian {row.mean_before:.3g} before, {row.mean_after:.3g} "
            f"after ({count(row.samples, 'sample')}).",
        )
    show_outcome(console, report)
    if report.output is not None and report.unmeasured and any(group.removed for group in report.groups):
        draw.line(console, ACCURACY_UNMEASURED, style="yellow")


def show_outcome(console: Console, report: Report) -> None:
    """How good the result is: accuracy, and how far outputs are from the original's."""
    for item in report.accuracy:
        steps = [item.before, *([item.pruned] if item.pruned is not None else []), item.after]
        words = ["original", *(["pruned"] if item.pruned is not None else []), "result"]
        # Metrics that are no shares are shown as numbers.
        values = [metric_value(value, share=item.share) for value in steps]
        text = ", ".join(f"{word} {value}" for word, value in zip(words, values, strict=True))
        about = "" if item.low is None or item.high is None else f" ({percentage(item.low)} to {percentage(item.high)})"
        draw.line(console, f"{metric_title(item)}: {text}{about}.", style="bold")
    if report.outputs is not None:
        _outputs(console, report.outputs)


def metric_title(item: AccuracyRow) -> str:
    """``Accuracy (top-1, 500 samples)``; other metrics by their name, and their direction where lower is better."""
    accuracy = item.metric.startswith("top-")
    facts = [item.metric] if accuracy else []
    facts += [count(item.samples, "sample")] if item.samples is not None else []
    facts += [] if item.higher_is_better else ["lower is better"]
    return ("Accuracy" if accuracy else item.metric) + (f" ({', '.join(facts)})" if facts else "")


def _outputs(console: Console, row: OutputsRow) -> None:
    """How far outputs are from the original's: the nearest to the truth without labels."""
    parts = []
    if row.agreement is not None:
        which = f" of {row.agreement.output!r}" if row.compared > 1 else ""
        parts.append(f"the largest class{which} is the same in {_share(row.agreement)}{_little(row)}")
    written, link = portion(row.distance.value)
    parts.append(off_by(_share(row.distance, written), row.farthest, link))
    if row.drawn:
        parts.append(f"{', '.join(row.drawn)} left out, as drawn at random")
    seen = ", which the result was made with" if row.seen else ""
    what = count(row.samples, "sample" if row.real else "made-up sample")
    draw.line(console, f"Against the original, on {what}{seen}: {'; '.join(parts)}.", style="bold")


def _little(row: OutputsRow) -> str:
    """That chance alone would make models agree so often, where the original puts nearly all samples into one class;
    empty elsewhere."""
    if row.telling:
        return ""
    remedy = "samples of more classes tell more" if row.real else "real samples (--data) tell more"
    return f", as {row.chance:.0%} would by chance, most samples having one class in the original; {remedy}"


def _share(found: Share, written: Callable[[float], str] = percentage) -> str:
    """A share with its interval, and what it was before recovery; each as ``written``."""
    about = [] if found.low is None or found.high is None else [f"{written(found.low)} to {written(found.high)}"]
    about += [] if found.cut is None else [f"{written(found.cut)} before recovery"]
    return written(found.value) + (f" ({'; '.join(about)})" if about else "")


def _groups(console: Console, groups: Sequence[GroupRow], *, removed: bool) -> None:
    if not groups:
        return
    table = draw.table(("group", "channels", *(["removed"] if removed else []), "weight axes"))
    for group in groups:
        gone = [f"{group.removed:,}"] if removed else []
        name = f"{group.name} of {group.file}" if group.file else group.name
        draw.add_row(table, name, f"{group.channels:,}", *gone, f"{len(group.axes):,}")
    draw.show(console, table)
    console.print()


def explain_frozen(rows: Sequence[FrozenRow], console: Console, *, verbose: bool = False) -> None:
    """What had to stay, and why, of a run that ended without a report."""
    _frozen(console, rows, explain=True, verbose=verbose)


def _frozen(
    console: Console, rows: Iterable[FrozenRow], *, explain: bool, verbose: bool, by_reason: bool = False
) -> None:
    """What had to stay: one sentence, a table by reason, or every row under its reason."""
    ordered = sorted(rows, key=lambda row: row.reason)
    reasons = {reason: list(found) for reason, found in groupby(ordered, key=lambda row: row.reason)}
    ranked = sorted(reasons.items(), key=lambda item: -_channels(item[1]))
    if not ranked:
        return
    if explain:
        for reason, found in ranked:
            _reason(console, reason, found, verbose)
        console.print()
    elif by_reason:
        table = draw.table(("kept because", "channels", "places"))
        for reason, found in ranked:
            draw.add_row(table, reason, f"{_channels(found):,}", f"{len(found):,}")
        draw.show(console, table)
        draw.line(console, "--explain lists the places.")
    else:
        first, found = ranked[0]
        text = f"{count(_channels(ordered), 'channel')} had to stay; --explain lists them."
        main = f"Main reason, for {_channels(found):,}" if len(ranked) > 1 else "Reason"
        draw.line(console, f"{text} {main}: {first}.")


def _reason(console: Console, reason: str, rows: Sequence[FrozenRow], verbose: bool) -> None:
    shown = sorted(rows, key=lambda row: -row.channels)[: None if verbose else draw.FEW_ROWS]
    table = draw.table(("value", "axis", "channels", "node"))
    for row in shown:
        channels = f"{row.channels:,}" if row.channels else "-"
        draw.add_row(table, row.value, "-" if row.axis is None else str(row.axis), channels, row.node)
    # Nodes are names, which read better from the left.
    table.columns[-1].justify = "left"
    stay = count(_channels(rows), "channel") if _channels(rows) else count(len(rows), "weight")
    draw.show(console, table, title=f"{stay} had to stay: {reason}")
    draw.rest(console, len(rows) - len(shown), "-v lists them all")


def _channels(rows: Iterable[FrozenRow]) -> int:
    return sum(row.channels for row in rows)
