"""``onnx-compress inspect IN``: what could be pruned, and what stands in the way."""

from pathlib import Path

import click

from compressor.cli.command import CONTEXT_SETTINGS, EXIT_CODES, Command
from compressor.cli.console import View, output_option, view_options
from compressor.cli.options import HelpPart, part, settings_options
from compressor.cli.paths import check_destinations
from compressor.config import PruneSettings
from compressor.config.graph import GraphSection
from compressor.config.rules import RulesSection
from compressor.config.selection import SelectionSection

# Only what decides which channels may go; scoring does not matter where nothing is removed.
_CHANNELS = HelpPart(
    SelectionSection.title,
    ("include", "exclude", "attention", "cache_heads", "free_outputs", "depth", "keep_norm_axes", "lossless"),
)
_EPILOG = f"""\b
Examples:
  onnx-compress inspect model.onnx
  onnx-compress inspect model.onnx --explain --dim batch=1
  onnx-compress inspect model.onnx --structures 0.5 -v
  onnx-compress inspect model.onnx --json - -q | jq '.frozen[].reason'

{EXIT_CODES}"""


@click.command("inspect", cls=Command, context_settings=dict(CONTEXT_SETTINGS), epilog=_EPILOG)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@settings_options(
    PruneSettings, _CHANNELS, part(RulesSection), part(GraphSection, without=("external_data", "keep_metadata"))
)
@output_option(
    "--explain",
    is_flag=True,
    help="List each place where channels have to stay.",
)
@output_option(
    "--operators",
    is_flag=True,
    help="List each node whose operator has no rule, or one that declines it, and how much stops there.",
)
@output_option(
    "--structures",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="RATIO",
    help="List what each --structure of onnx-prune could save in each layer: a layer keeps (1 - RATIO)² of its "
    "multiply-accumulates at most. -v lists every layer.",
)
@view_options
def inspect_command(
    *,
    source: Path,
    explain: bool,
    operators: bool,
    structures: float | None,
    settings: PruneSettings,
    view: View,
) -> None:
    """Show the groups of channels in the model IN that live and die together, how much of the model they
    hold, and why the others have to stay. Nothing is written.
    """
    from compressor.commands.inspect import inspect_file
    from compressor.render.text import render_inspection

    check_destinations([source], {"--json": view.json_to})
    with view.phases() as progress:
        report = inspect_file(source, settings, progress, structures)
    view.show(
        report,
        report.warnings,
        lambda console: render_inspection(report, console, explain=explain, operators=operators, verbose=view.verbose),
    )
