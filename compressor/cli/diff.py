"""``onnx-compress diff A B``: what differs between two models."""

from pathlib import Path

import click

from compressor.cli.command import CONTEXT_SETTINGS, EXIT_CODES, Command
from compressor.cli.console import View, report_option, view_options
from compressor.cli.paths import check_destinations

_EPILOG = f"""\b
Examples:
  onnx-compress diff model.onnx model.pruned.onnx
  onnx-compress diff model.onnx model.pruned.onnx --report diff.html
  onnx-compress diff a.onnx b.onnx --json - -q | jq .same_signature

{EXIT_CODES}"""


@click.command("diff", cls=Command, context_settings=dict(CONTEXT_SETTINGS), epilog=_EPILOG)
@click.argument("a", metavar="A", type=click.Path(path_type=Path))
@click.argument("b", metavar="B", type=click.Path(path_type=Path))
@report_option
@view_options
def diff_command(*, a: Path, b: Path, report_to: Path | None, view: View) -> None:
    """Compare the models A and B: size, parameters, MACs, operators, inputs and outputs, and every
    initializer that differs; with --report layer by layer. Models that differ are no error.
    """
    from compressor.commands.diff import diff_files
    from compressor.core.extras import require
    from compressor.render.text import render_diff

    check_destinations([a, b], {"--json": view.json_to, "--report": report_to})
    if report_to is not None:
        require("--report", "jinja2")
    with view.phases() as progress:
        if progress is not None:
            progress("comparing")
        report = diff_files(a, b)
        if report_to is not None:
            from compressor.commands.diff import diff_report_file

            diff_report_file(a, b, report, report_to)
    view.show(report, report.warnings, lambda console: render_diff(report, console, verbose=view.verbose))
