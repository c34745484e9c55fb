"""``onnx-compress verify A B``: do the two give the same?"""

from pathlib import Path

import click

from compressor.cli.command import CONTEXT_SETTINGS, EXIT_CODES, Command
from compressor.cli.console import View, view_options
from compressor.cli.options import HelpPart, settings_options
from compressor.cli.paths import check_destinations
from compressor.config.verify import EqualitySection, ProvidersSection, SearchSection, VerifySettings

_DATA = ("data", "labels", "eval", "samples", "batch_size", "mean", "std", "layout")
_INPUTS = HelpPart("Inputs", (*_DATA, "input_shapes", "dims"))
_EPILOG = f"""\b
Examples:
  onnx-compress verify model.onnx model.clean.onnx
  onnx-compress verify model.onnx model.fp16.onnx --rtol 0.02 --data test.npz
  onnx-compress verify model.onnx model.onnx --provider-b cuda --bisect

{EXIT_CODES}"""


@click.command("verify", cls=Command, context_settings=dict(CONTEXT_SETTINGS), epilog=_EPILOG)
@click.argument("a", metavar="A", type=click.Path(path_type=Path))
@click.argument("b", metavar="B", type=click.Path(path_type=Path))
@settings_options(VerifySettings, _INPUTS, ProvidersSection, EqualitySection, SearchSection)
@view_options
def verify_command(*, a: Path, b: Path, settings: VerifySettings, view: View) -> None:
    """Run the models A and B on the same inputs and compare their outputs; exit with 5 where they differ, and
    name the first node at which they do. Inputs are made up at several sizes, or read from --data.
    """
    from compressor.commands.verify import demand_equal, verify
    from compressor.render.verify import render_verify

    check_destinations([a, b], {"--json": view.json_to})
    with view.phases() as progress:
        report = verify(a, b, settings, progress)
    view.show(report, report.warnings, lambda console: render_verify(report, console, verbose=view.verbose))
    # After the report is shown, which says where they differ.
    demand_equal(report)
