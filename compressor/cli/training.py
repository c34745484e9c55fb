"""Progress of training: a bar on stderr, and lines of JSON in a file."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compressor.cli.console import View
from compressor.core.metrics import Metrics

if TYPE_CHECKING:
    from compressor.train.loop.history import Event

Observer = Callable[["Event"], None]


@contextmanager
def watched(view: View, metrics: Path | None, *, resumed: bool) -> Iterator[Observer]:
    """What to call with each event of training. Nothing is opened or shown before the first, because of several
    processes only one has any. Where stderr is no terminal, each epoch is a line there.

    Args:
        view: whether a bar may be shown; it is shown in a terminal only.
        metrics: file of JSON lines; a resumed run goes on writing where the first one stopped.
        resumed: whether it is one.
    """
    shown = not (view.quiet or view.no_progress) and sys.stderr.isatty()
    lines = None if metrics is None else Metrics(metrics, resumed=resumed)
    with ExitStack() as stack:
        bars: list[Observer] = []

        def observe(event: "Event") -> None:
            if lines is not None:
                lines.add(event.as_json())
            if not shown and not view.quiet and not view.no_progress and event.kind == "epoch":
                click.echo(event.as_line(), err=True)
            # Only at the first event: processes that have none show no bar.
            if shown and not bars:
                bars.append(stack.enter_context(_bar()))
            for bar in bars:
                bar(event)

        yield observe


@contextmanager
def _bar() -> Iterator[Observer]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[told]}"))
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=None, told="")
        kept: dict[str, Any] = {}

        def show(event: "Event") -> None:
            # Kept for the steps of the next epoch, which have no metric of their own.
            if event.metric is not None:
                kept["metric"] = f"  {event.metric_name} {event.metric:.3f} ({event.judged_on})"
            told = (
                f"loss {event.loss:.4g}{kept.get('metric', '')}  {event.images_per_second:,.0f} images/s"
                f"  {_duration(event.eta_seconds)} left"
            )
            name = f"epoch {event.epoch}/{event.epochs}"
            bar.update(task, completed=event.step, total=event.steps, description=name, told=told)

        yield show


def _duration(seconds: float) -> str:
    """``4:05`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
