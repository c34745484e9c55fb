"""``onnx-compress bench A [B]``: how long a run takes, and how much faster B is."""

from pathlib import Path

import click

from compressor.cli.command import CONTEXT_SETTINGS, EXIT_CODES, Command
from compressor.cli.console import View, view_options
from compressor.cli.options import HelpPart, settings_options
from compressor.cli.paths import check_destinations
from compressor.config.bench import BenchSettings, LengthSection, SpeedGatesSection, WhatSection, WhereSection

_INPUTS = HelpPart("Inputs", ("input_shapes", "dims", "seed"))
_EPILOG = f"""\b
Examples:
  onnx-compress bench model.onnx
  onnx-compress bench model.onnx model.pruned.onnx --threads 1
  onnx-compress bench a.onnx b.onnx --provider cuda --batch 1,32 --profile
  onnx-compress bench a.onnx b.onnx --json - -q | jq '.runs[0].speed_up'

{EXIT_CODES}"""


@click.command("bench", cls=Command, context_settings=dict(CONTEXT_SETTINGS), epilog=_EPILOG)
@click.argument("a", metavar="A", type=click.Path(path_type=Path))
@click.argument("b", metavar="[B]", required=False, type=click.Path(path_type=Path))
@settings_options(BenchSettings, WhereSection, WhatSection, _INPUTS, LengthSection, SpeedGatesSection)
@view_options
def bench_command(*, a: Path, b: Path | None, settings: BenchSettings, view: View) -> None:
    """Time the model A, or A and B in turns, in ONNX Runtime: latency by percentile, throughput, memory, load
    time, and the speed-up of B over A with an interval that allows for the noise of the machine.
    """
    from compressor.commands.bench import bench, demand_speed
    from compressor.render.bench import render_bench

    check_destinations([a, b], {"--json": view.json_to})
    with view.phases() as progress:
        report = bench(a, b, settings, progress)
    view.show(report, report.warnings, lambda console: render_bench(report, console, verbose=view.verbose))
    demand_speed(report, settings)
