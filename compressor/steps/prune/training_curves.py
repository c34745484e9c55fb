"""Curves of a training run, for reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compressor.results.detail import EPOCHS, Curve, Series

if TYPE_CHECKING:
    from compressor.train.loop.history import History


def training_curves(history: History, phase: str, on: str | None = None) -> list[Curve]:
    """Loss by epoch, and accuracy where there are labels; epoch 0 is before training.

    ``on`` says in words which samples are judged on.
    """
    on = on or "samples set aside"
    learnt = [(float(row.epoch), row.loss) for row in history.epochs]
    later = [(float(row.epoch), row.valid) for row in history.epochs if row.valid is not None]
    judged = [(0.0, history.before), *later] if later else []
    series = [Series(name="training samples", points=learnt)]
    metric = [(epoch, score.metric) for epoch, score in judged if score.metric is not None]
    if judged:
        series.append(Series(name=on, points=[(epoch, score.loss) for epoch, score in judged]))
    note = f"The weights of epoch {history.best_epoch} were kept."
    drawn = [Curve(title=f"Loss, {phase}", x_label=EPOCHS, y_label="loss", series=series, note=note)]
    if metric and history.metric_name is not None:
        aside = [Series(name=on, points=metric)]
        title = f"{history.metric_name.capitalize()}, {phase}"
        drawn.append(Curve(title=title, x_label=EPOCHS, y_label=history.metric_name, series=aside))
    return drawn
