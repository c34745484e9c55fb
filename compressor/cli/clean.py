"""``onnx-compress clean IN``: remove what the outputs do not need, and nothing else."""

from pathlib import Path

import click

from compressor.cli.command import CONTEXT_SETTINGS, EXIT_CODES, Command
from compressor.cli.console import View, card_option, model_option, view_options
from compressor.cli.options import settings_options
from compressor.cli.paths import Destinations
from compressor.config import CleanSettings

_EPILOG = f"""\b
Examples:
  onnx-compress clean model.onnx
  onnx-compress clean model.onnx -o tidy.onnx --input-shape x:1,3,224,224

{EXIT_CODES}"""


@click.command("clean", cls=Command, context_settings=dict(CONTEXT_SETTINGS), epilog=_EPILOG)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@settings_options(CleanSettings)
@model_option(".clean.onnx")
@card_option
@view_options
def clean_command(*, source: Path, destinations: Destinations, settings: CleanSettings, view: View) -> None:
    """Remove from the model IN what its outputs do not need: dead nodes, unused and duplicate weights,
    identities, stale shape information. No channel is removed and no output changes.
    """
    from compressor.commands.clean import clean_file
    from compressor.render.text import render_report

    # Before the model is read: a place that cannot be written to is found at once.
    destinations.check([source], {"--json": view.json_to})
    with view.phases() as progress:
        report = clean_file(source, destinations.place, settings, progress)
    destinations.write_card(report)
    view.show(report, report.warnings, lambda console: render_report(report, console, verbose=view.verbose))
