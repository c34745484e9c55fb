"""``onnx-compress finetune IN``: train the weights of a model on data, and write them back into it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compressor.cli.command import CONTEXT_SETTINGS, EXIT_CODES, Command
from compressor.cli.console import View, output_option, view_options
from compressor.cli.options import Section, settings_options
from compressor.cli.paths import check_destinations, default_output
from compressor.cli.training import watched
from compressor.config import TuneSettings
from compressor.errors import UsageError

if TYPE_CHECKING:
    from compressor.report.tuning import TuneReport
    from compressor.tune.finetune import TuneResult

DATA = Section(
    "Data",
    ("data", "val_data", "val_share", "labels", "mean", "std", "layout", "augment", "crop_padding"),
)
LOSS = Section("Loss", ("loss", "temperature", "alpha", "features", "feature_weight", "output_form"))
TRAINING = Section(
    "Training",
    (
        "epochs",
        "batch_size",
        "optimiser",
        "learning_rate",
        "momentum",
        "weight_decay",
        "warmup",
        "final_rate",
        "clip_norm",
        "ema",
        "patience",
        "train_bn",
        "seed",
    ),
)
RUNNING = Section("Running", ("device", "amp", "compile", "checkpoint", "keep_checkpoint", "resume", "metrics"))
RESULT = Section("Result", ("verify", "provider", "rtol", "atol", "external_data"))

_EPILOG = f"""\b
Examples:
  onnx-compress finetune small.onnx --teacher model.onnx --data train.npz
  onnx-compress finetune small.onnx --data photos/ --loss cross-entropy --augment flip,crop
  onnx-compress finetune small.onnx --teacher model.onnx --data train.npz --resume
  accelerate launch -m compressor finetune small.onnx --teacher model.onnx --data train.npz

{EXIT_CODES}"""


@click.command("finetune", cls=Command, context_settings=dict(CONTEXT_SETTINGS), epilog=_EPILOG)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@output_option(
    "--teacher",
    metavar="ORIGINAL",
    type=click.Path(path_type=Path),
    help="The model that IN was made from, whose outputs are imitated.",
)
@settings_options(TuneSettings, DATA, LOSS, TRAINING, RUNNING, RESULT)
@output_option(
    "-o",
    "--output",
    metavar="OUT",
    type=click.Path(path_type=Path),
    help="File to write.  [default: IN with .tuned.onnx]",
)
@view_options
def command(*, source: Path, teacher: Path | None, output: Path | None, settings: TuneSettings, view: View) -> None:
    """Train the weights of the model IN, by default until it does what the model it was made from does, which
    needs data but no labels. Graph, names and shapes stay as they are.

    Ctrl-C leaves a checkpoint that --resume goes on from.
    """
    target = output or default_output(source, ".tuned.onnx")
    written = {"--output": target, "--metrics": settings.metrics, "--json": view.json_to}
    check_destinations([source, teacher], written)
    _demand_torch()
    from compressor.tune.finetune import finetune_file

    with watched(view, settings.metrics, resumed=settings.resume) as observe:
        result = finetune_file(source, target, settings, teacher=teacher, observe=observe)
    if not result.main:
        return
    from compressor.report.tuning import render

    report = _report(result, (source, teacher, target), settings)
    view.show(report, report.warnings, lambda console: render(report, console, verbose=view.verbose))


def _demand_torch() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("torch", "safetensors") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"fine-tuning needs {' and '.join(missing)}, not installed here; run pip install 'onnx-compressor[tune]'"
        )


def _report(result: "TuneResult", paths: tuple[Path, Path | None, Path], settings: TuneSettings) -> "TuneReport":
    from dataclasses import asdict

    from compressor.graph.files import size_on_disk
    from compressor.report.tuning import EpochRow, Score, TuneReport

    history, (source, teacher, target) = result.history, paths
    rows = [{k: v for k, v in asdict(row).items() if k != "seconds"} for row in history.epochs]
    return TuneReport(
        input=str(source),
        teacher=None if teacher is None else str(teacher),
        output=str(target),
        bytes=size_on_disk(target),
        compared=result.compared,
        metric_name=history.metric_name,
        before=Score(**asdict(history.before)),
        after=Score(**asdict(history.after)),
        best_epoch=history.best_epoch,
        stopped_early=history.stopped_early,
        steps=history.steps,
        epochs=[EpochRow(**row) for row in rows],
        device=history.device,
        max_rel_err=result.max_rel_err,
        seconds=round(history.seconds, 3),
        warnings=result.warnings,
        settings=settings.model_dump(mode="json"),
    )
