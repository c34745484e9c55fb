"""``onnx-compress sensitivity IN``: what each group of channels costs when it is pruned alone."""

from pathlib import Path

import click

from compressor.cli.command import CONTEXT_SETTINGS, EXIT_CODES, Command, resumable
from compressor.cli.console import View, file_option, view_options
from compressor.cli.options import HelpPart, part, settings_options
from compressor.cli.paths import check_destinations, default_output
from compressor.config.data import DataSection
from compressor.config.graph import GraphSection
from compressor.config.selection import SelectionSection
from compressor.config.sensitivity import SensitivitySettings, SweepSection
from compressor.config.target import TargetSection

_RESIZES = ("cache_heads", "free_outputs", "keep_tokens")
_SECTIONS = (
    SweepSection,
    part(TargetSection, "min_channels"),
    part(SelectionSection, without=("scope", "normalise", "sensitivity", *_RESIZES, "depth")),
    part(DataSection, without=("val_share", "augment", "crop_padding")),
    part(GraphSection, without=("external_data", "keep_metadata")),
    HelpPart("Where it runs", ("provider", "seed")),
)
_EPILOG = f"""\b
Examples:
  onnx-compress sensitivity model.onnx
  onnx-compress sensitivity model.onnx --data test.npz --max-drop 1%
  onnx-compress sensitivity model.onnx --ratios 0.25,0.5,0.75 --plot sens.html

{EXIT_CODES}"""


_BRIEF = (
    *("ratios", "max_drop", "max_distance", "jobs", "criterion", "include", "exclude"),
    *("data", "val_data", "samples", "input_shapes", "plot"),
)
"""Options that --help shows."""


@click.command("sensitivity", cls=Command, brief=_BRIEF, context_settings=dict(CONTEXT_SETTINGS), epilog=_EPILOG)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@settings_options(SensitivitySettings, *_SECTIONS)
@file_option(
    "-o",
    "--output",
    metavar="OUT",
    help="Where the report goes; measurements are kept beside it, in a file of the same name that ends in .jsonl, "
    "and an interrupted run goes on from them.  [default: IN with .sensitivity.json]",
)
@file_option("--plot", metavar="PATH.html", help="Draw the report as one HTML file.")
@view_options
def sensitivity_command(
    *, source: Path, output: Path | None, plot: Path | None, settings: SensitivitySettings, view: View
) -> None:
    """Prune every group of channels of the model IN alone, at several ratios, and measure what is lost: how far the
    outputs move on data or noise, and accuracy where the data has labels. No model is written.
    """
    from compressor.commands.sensitivity import sensitivity_file
    from compressor.core.extras import require
    from compressor.render.sensitivity import render_sensitivity
    from compressor.render.sensitivity_page import write_plot
    from compressor.results.sensitivity import ledger_of

    target = output or default_output(source, ".sensitivity.json")
    written = {"--output": target, "--plot": plot, "--json": view.json_to}
    # Measurements of earlier runs are read, so no report may be written over them.
    check_destinations([source, ledger_of(target)], written)
    if plot is not None:
        require("--plot", "jinja2")
    resumable(lambda: f"What was measured is kept in {ledger_of(target)}; run the same command again to go on.")
    with view.phases() as progress:
        report = sensitivity_file(source, target, settings, progress)
    if plot is not None:
        write_plot(report, plot)
    view.show(
        report,
        report.warnings,
        lambda console: render_sensitivity(report, console, place=target, verbose=view.verbose),
    )
