"""``onnx-compress quantize IN``: store weights in few bits, by ONNX Runtime's own quantiser."""

from functools import partial
from pathlib import Path

import click

from compressor.cli.command import CONTEXT_SETTINGS, EXIT_CODES, Command
from compressor.cli.console import (
    View,
    card_option,
    dry_run_option,
    model_option,
    output_option,
    report_option,
    view_options,
)
from compressor.cli.options import part, settings_options
from compressor.cli.paths import Destinations
from compressor.config.data import DataSection
from compressor.config.gates import GatesSection
from compressor.config.graph import GraphSection
from compressor.config.proof import ProofSection
from compressor.config.quantize import QuantizeSection, QuantizeSettings

_EPILOG = f"""\b
Examples:
  onnx-compress quantize model.onnx
  onnx-compress quantize model.onnx --data samples.npz --max-drop 1% --latency
  onnx-compress quantize model.onnx --mode dynamic
  onnx-compress quantize llm.onnx --mode int4 --exclude lm_head*

{EXIT_CODES}"""


_BRIEF = (
    *("mode", "per_channel", "include", "exclude", "latency", "data", "val_data", "max_drop", "max_size"),
    *("max_distance", "report_to", "card_to", "dry_run", "explain"),
)
"""Options that --help shows."""


@click.command("quantize", cls=Command, brief=_BRIEF, context_settings=dict(CONTEXT_SETTINGS), epilog=_EPILOG)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@settings_options(
    QuantizeSettings,
    QuantizeSection,
    part(DataSection, without=("augment", "crop_padding")),
    part(GatesSection, "max_drop", "max_size", "max_distance"),
    GraphSection,
    ProofSection,
)
@model_option(".int8.onnx")
@report_option
@card_option
@dry_run_option
@output_option("--explain", is_flag=True, help="List the weights that stayed as they were.")
@view_options
def quantize_command(
    *,
    source: Path,
    destinations: Destinations,
    explain: bool,
    settings: QuantizeSettings,
    view: View,
) -> None:
    """Store the weights of the model IN in 8 bits, or in 4, and compute with activations of 8 bits, by ONNX
    Runtime's own quantiser. A file of about a quarter of the size; whether it is faster depends on the processor
    (--latency).

    Inputs and outputs stay as they are. The report says how far outputs move from the original's on samples, given
    or made up, and how accurate the result is where samples have labels. Prune and recover first, quantise last.
    """
    from compressor.commands.quantize import quantize_file
    from compressor.render.quantize import render_quantized
    from compressor.steps.gates import demand_gates

    destinations.check([source], {"--json": view.json_to})
    with view.phases() as progress:
        report = quantize_file(source, destinations.model, settings, progress)
    draw = partial(render_quantized, report, explain=explain, verbose=view.verbose)
    destinations.write_card(report)
    destinations.write_report(report, draw)
    view.show(report, report.warnings, draw)
    # After the report is shown: it tells what missed the limit.
    demand_gates(report, settings)
