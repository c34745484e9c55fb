"""``onnx-compress robustness A B [C ...]``: do they still do what A does where inputs are noisy or corrupted?"""

from pathlib import Path

import click

from compressor.cli.command import CONTEXT_SETTINGS, EXIT_CODES, Command
from compressor.cli.console import View, report_option, view_options
from compressor.cli.options import HelpPart, settings_options
from compressor.cli.paths import check_destinations
from compressor.config.robustness import JudgementSection, RobustnessSettings, ShiftsSection

_INPUTS = HelpPart(
    "Inputs",
    (
        *("data", "val_data", "labels", "samples", "batch_size", "mean", "std", "input_range", "normalised", "layout"),
        *("input_shapes", "dims", "seed"),
    ),
)
_WHERE = HelpPart("Where it runs", ("provider",))
_EPILOG = f"""\b
Examples:
  onnx-compress robustness model.onnx model.pruned.onnx
  onnx-compress robustness model.onnx p30.onnx p50.onnx --data test.npz
  onnx-compress robustness a.onnx b.onnx --data photos/ --report page.html
  onnx-compress robustness a.onnx b.onnx --data test.npz --normalised \\
    --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225

{EXIT_CODES}"""


_BRIEF = (
    *("data", "val_data", "labels", "samples", "mean", "std", "normalised", "input_shapes", "dims"),
    *("noise", "corruptions", "margin", "compression", "provider", "report_to"),
)
"""Options that --help shows."""


@click.command("robustness", cls=Command, brief=_BRIEF, context_settings=dict(CONTEXT_SETTINGS), epilog=_EPILOG)
@click.argument("a", metavar="A", type=click.Path(path_type=Path))
@click.argument("others", metavar="B [C ...]", nargs=-1, required=True, type=click.Path(path_type=Path))
@settings_options(RobustnessSettings, _INPUTS, ShiftsSection, JudgementSection, _WHERE)
@report_option
@view_options
def robustness_command(
    *, a: Path, others: tuple[Path, ...], report_to: Path | None, settings: RobustnessSettings, view: View
) -> None:
    """Show both the original A and its compressed descendants B, C ... noisy inputs and corrupted images, and
    say how often they still agree. With labels also: the accuracy that each keeps, and how much compression
    costs none.
    """
    from compressor.commands.robustness import robustness
    from compressor.core.extras import require
    from compressor.render.robustness import render_robustness
    from compressor.render.robustness_page import write_robustness

    check_destinations([a, *others], {"--json": view.json_to, "--report": report_to})
    # Before the measurement, not after it.
    if report_to is not None:
        require("--report", "jinja2")
    with view.phases() as progress:
        report = robustness(a, others, settings, progress)
    if report_to is not None:
        write_robustness(report, report_to)
    view.show(report, report.warnings, lambda console: render_robustness(report, console, verbose=view.verbose))
