"""``onnx-compress unify IN``: make blocks of weights share one absolute value, and store them packed."""

from functools import partial
from pathlib import Path

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
from compressor.cli.options import flag, part, settings_options, was_given
from compressor.cli.paths import Destinations
from compressor.config.blocks import BlocksSection, StorageSection, WeightsSection
from compressor.config.choosing import ChoosingSection, ChoosingSettings
from compressor.config.data import DataSection
from compressor.config.graph import GraphSection
from compressor.config.proof import ProofSection
from compressor.config.training import LossSection, StepsSection, TrainingSection
from compressor.config.unify import MethodSection
from compressor.core.checkpoint_folder import folder_beside
from compressor.errors import UsageError

_SECTIONS = (
    BlocksSection,
    ChoosingSection,
    WeightsSection,
    StorageSection,
    DataSection,
    MethodSection,
    LossSection,
    part(StepsSection, without=("expand",)),
    TrainingSection,
    GraphSection,
    ProofSection,
)
_DECIDED = (BlocksSection, ChoosingSection, WeightsSection)
"""What a plan says already."""
_EPILOG = f"""\b
Examples:
  onnx-compress unify model.onnx
  onnx-compress unify model.onnx --data train.npz --epochs 30
  onnx-compress unify model.onnx --codebook 16
  onnx-compress unify model.onnx --target-size 15%
  onnx-compress unify model.onnx --max-distance 0.3 --plan-out blocks.json

{EXIT_CODES}"""


_BRIEF = (
    *("block", "codebook", "prune_share", "target_size", "max_drop", "max_distance", "include", "exclude"),
    *("data", "val_data", "epochs", "method", "plan_out", "report_to", "card_to", "dry_run", "explain"),
)
"""Options that --help shows."""


@click.command("unify", cls=Command, brief=_BRIEF, context_settings=dict(CONTEXT_SETTINGS), epilog=_EPILOG)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@settings_options(ChoosingSettings, *_SECTIONS)
@model_option(".unified.onnx")
@file_option(
    "--plan-out",
    metavar="PATH",
    help="Write the blocks that were chosen as JSON; measurements are kept beside it, and an interrupted run goes on.",
)
@file_option(
    "--plan",
    metavar="PATH",
    help="Replay a plan; takes no option on blocks or which weights.",
)
@report_option
@card_option
@dry_run_option
@output_option("--explain", is_flag=True, help="List the weights that were left alone, and why.")
@view_options
def unify_command(
    *,
    source: Path,
    destinations: Destinations,
    plan: Path | None,
    explain: bool,
    settings: ChoosingSettings,
    view: View,
) -> None:
    """Make the weights of the model IN share absolute values in blocks, and store them packed: a bit for each
    sign, one number for each block. Or, with --codebook, a few values a tensor: a code for each weight. The file
    becomes several times smaller; the model runs as fast as before. With --data it is trained until it is accurate
    that way, by default with ADMM and without labels; without, blocks are a quick look that costs most of the
    accuracy, and codebooks of 16 values cost little of it.

    What is written has the same inputs and outputs and uses standard operators only. Before it is written,
    ONNX Runtime proves that it unpacks to exactly these weights. IN itself is never changed.
    """
    from compressor.commands import choose_blocks
    from compressor.render.unify import render_unified

    # A plan has its own answers to these, and an option that is silently ignored would mislead.
    decided = (*(name for section in _DECIDED for name in section.own_fields()), "magnitudes", "simplify")
    ignored = [flag(ChoosingSettings, name) for name in decided if was_given(name)]
    if plan is not None and ignored:
        raise UsageError(f"a plan already says what is unified; drop {' and '.join(ignored)}, or --plan")
    # The teacher is only read, and must not be written over.
    destinations.check([source, plan, settings.teacher], {"--metrics": settings.metrics, "--json": view.json_to})
    if settings.trains:
        resume_from(folder_beside(settings.checkpoint, destinations.model))
    with view.phases() as progress:
        report = choose_blocks.unify_chosen_file(
            source, destinations.model, settings, plan=plan, plan_out=destinations.plan, progress=progress
        )
    draw = partial(render_unified, report, explain=explain, verbose=view.verbose)
    destinations.write_card(report)
    destinations.write_report(report, draw)
    view.show(report, report.warnings, draw)
