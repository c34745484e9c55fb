"""``onnx-compress finetune IN``: train the weights of a model on data, and write them back into it."""

from functools import partial
from pathlib import Path

import click

from compressor.cli.command import CONTEXT_SETTINGS, EXIT_CODES, Command, resume_from
from compressor.cli.console import View, card_option, file_option, model_option, report_option, view_options
from compressor.cli.options import part, settings_options
from compressor.cli.paths import Destinations
from compressor.cli.training import watched
from compressor.config import SparsifySettings
from compressor.config.data import DataSection
from compressor.config.graph import GraphSection
from compressor.config.proof import ProofSection
from compressor.config.sparsity import RegularizerSection
from compressor.config.training import LossSection, StepsSection, TrainingSection, demand_teacher
from compressor.core.checkpoint_folder import folder_beside

_EPILOG = f"""\b
Examples:
  onnx-compress finetune small.onnx --teacher model.onnx --data train.npz
  onnx-compress finetune small.onnx --data photos/ --loss cross-entropy
  onnx-compress finetune small.onnx --teacher model.onnx --data x.npz --resume
  onnx-compress finetune a.onnx --data x.npz --regularizer iss --sparsity 0.5
  accelerate launch -m compressor finetune small.onnx --data x.npz ...

{EXIT_CODES}"""


_BRIEF = (
    *("teacher", "data", "val_data", "mean", "std", "loss", "epochs", "learning_rate"),
    *("batch_size", "device", "resume", "metrics", "report_to", "card_to"),
)
"""Options that --help shows."""


@click.command("finetune", cls=Command, brief=_BRIEF, context_settings=dict(CONTEXT_SETTINGS), epilog=_EPILOG)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@file_option(
    "--teacher",
    metavar="ORIGINAL",
    help="The model that IN was made from, whose outputs are imitated.",
)
@settings_options(
    SparsifySettings,
    part(DataSection, without=("samples",)),  # all of the data is trained on
    LossSection,
    StepsSection,
    RegularizerSection,
    TrainingSection,
    part(GraphSection, "external_data", "keep_metadata"),
    ProofSection,
)
@model_option(".tuned.onnx")
@report_option
@card_option
@view_options
def finetune_command(
    *,
    source: Path,
    teacher: Path | None,
    destinations: Destinations,
    settings: SparsifySettings,
    view: View,
) -> None:
    """Train the weights of the model IN, by default until it does what the model it was made from does, which
    needs data but no labels. Graph, names and shapes stay as they are.

    Ctrl-C leaves a checkpoint that --resume goes on from.
    """
    # Before torch is imported, which takes seconds.
    destinations.check([source, teacher], {"--metrics": settings.metrics, "--json": view.json_to})
    demand_teacher(settings, given=teacher is not None)
    from compressor.commands.finetune import finetune_file
    from compressor.render.finetune import render_finetune
    from compressor.train.summary import tune_report

    resume_from(folder_beside(settings.checkpoint, destinations.place))
    with watched(view, settings.metrics, resumed=settings.resume) as observe:
        result = finetune_file(source, destinations.place, settings, teacher=teacher, observe=observe)
    # Of several processes one reports.
    if not result.main:
        return
    report = tune_report(result, settings, source=source, teacher=teacher, output=destinations.place)
    draw = partial(render_finetune, report, verbose=view.verbose)
    destinations.write_card(report)
    destinations.write_report(report, draw)
    view.show(report, report.warnings, draw)
