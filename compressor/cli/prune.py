"""``onnx-prune IN``: remove channels together with everything that depends on them."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compressor.cli.command import CONTEXT_SETTINGS, EXIT_CODES, Command, resume_from
from compressor.cli.console import (
    View,
    card_option,
    dry_run_option,
    file_option,
    model_option,
    output_option,
    report_option,
    view_options,
)
from compressor.cli.options import flag, settings_options, was_given
from compressor.cli.paths import Destinations, results_beside
from compressor.config import PruneSettings
from compressor.config.selection import SelectionSection
from compressor.config.structure import StructureSection
from compressor.config.target import TargetSection
from compressor.core.checkpoint_folder import folder_beside
from compressor.core.notation import parse_also
from compressor.errors import NotPossible, TargetOutOfReach, UsageError
from compressor.version import VERSION

if TYPE_CHECKING:
    from compressor.steps.prune.result import PruneResult

_EPILOG = f"""\b
Examples:
  onnx-prune model.onnx --ratio 0.5
  onnx-prune model.onnx -o small.onnx --target-macs 40% --scope global
  onnx-prune model.onnx --exclude 'head.*' --layer-ratio 'layer4.*=0.7'
  onnx-prune model.onnx --target-size 1.5MB --json - -q | jq .output.bytes
  onnx-prune model.onnx --target-latency 2.5ms --threads 1
  onnx-prune model.onnx --dry-run --explain
  onnx-prune model.onnx --recover finetune --data train.npz --epochs 5

{EXIT_CODES}"""


_BRIEF = (
    *("ratio", "target_macs", "target_size", "target_latency", "round_to"),
    *("include", "exclude", "recover", "data", "val_data", "epochs"),
    *("max_drop", "max_distance", "plan", "plan_out", "report_to", "card_to", "dry_run", "explain"),
)
"""Options that --help shows."""


@click.command("prune", cls=Command, brief=_BRIEF, context_settings=dict(CONTEXT_SETTINGS), epilog=_EPILOG)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@settings_options(PruneSettings)
@model_option(".pruned.onnx")
@file_option(
    "--plan-out",
    metavar="PATH",
    help="Write the plan, which says what is removed from each group, as JSON.",
)
@file_option(
    "--plan",
    metavar="PATH",
    help="Replay a plan; takes no option on how much or which, and simplifies as the plan did.",
)
@report_option
@card_option
@dry_run_option
@output_option(
    "--explain",
    is_flag=True,
    help="List the channels that had to stay, and why.",
)
@view_options
@click.version_option(VERSION)
def prune_command(
    *,
    source: Path,
    destinations: Destinations,
    plan: Path | None,
    explain: bool,
    settings: PruneSettings,
    view: View,
) -> None:
    """Make the exported model IN smaller and faster: remove whole channels, filters and attention heads
    together with everything in the graph that depends on them.

    The result has the same inputs and outputs. Before it is written, ONNX Runtime proves that it equals
    IN where the same channels do not count. IN itself is never changed.
    """
    from compressor.commands import prune_file, prune_report
    from compressor.render.text import explain_frozen, render_report
    from compressor.results import FrozenRow
    from compressor.steps.tokens import mapping_beside

    _demand_open(plan)
    also = [Path(parse_also(text)[0]) for text in settings.also]
    others = results_beside(destinations.place, settings.also)
    if settings.keep_tokens is not None:
        others["the numbers of --keep-tokens"] = mapping_beside(destinations.place)
    more = {**others, "--metrics": settings.metrics, "--json": view.json_to}
    destinations.check([source, plan, *also], more)
    if settings.trains:
        resume_from(folder_beside(settings.checkpoint, destinations.model))
    try:
        with view.phases() as progress:
            result = prune_file.prune_file(
                source, destinations.model, settings, plan=plan, plan_out=destinations.plan, progress=progress
            )
            page = destinations.report
            if page is not None or view.json_to is not None:
                result.report = prune_report.with_layers(source, result, settings, timed=page is not None)
            if page is not None:
                prune_report.report_file(result, page)
    except NotPossible as refusal:
        rows = [row for row in refusal.frozen if isinstance(row, FrozenRow)]
        if explain and rows:
            view.draw(lambda console: explain_frozen(rows, console, verbose=view.verbose))
        # Of a target the message says what can be had.
        if explain or not rows or isinstance(refusal, TargetOutOfReach):
            raise
        raise type(refusal)(f"{refusal}; --explain lists what had to stay, and why") from refusal
    report = result.report
    destinations.write_card(report)
    view.show(
        report,
        report.warnings,
        lambda console: render_report(report, console, explain=explain, verbose=view.verbose),
    )
    # After the report is shown: it tells what missed the limit.
    _demand_asked(result, settings, destinations.plan)


def _demand_asked(result: "PruneResult", settings: PruneSettings, plan_out: Path | None) -> None:
    """Raises GateMissed where a limit is missed, or a plan was asked for and there is none."""
    from compressor.steps.gates import demand_gates
    from compressor.steps.prune.write import demand_single_plan

    demand_gates(result.report, settings)
    if plan_out is not None:
        demand_single_plan(result)


def _demand_open(plan: Path | None) -> None:
    """Raises UsageError for options that a plan has decided, which would be passed over in silence."""
    # A plan has its own answers to these, but none to tokens, as it holds channels alone.
    decided = (*TargetSection.own_fields(), *StructureSection.own_fields(), *SelectionSection.own_fields(), "simplify")
    ignored = [flag(PruneSettings, name) for name in decided if name != "keep_tokens" and was_given(name)]
    if plan is not None and ignored:
        raise UsageError(f"a plan already says what to remove; drop {' and '.join(ignored)}, or --plan")
