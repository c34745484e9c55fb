"""Every batch under every shift through every model; of each sample a few numbers are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compressor.core.arrays import Array
from compressor.core.clock import Clock
from compressor.core.formatting import printable
from compressor.errors import UsageError
from compressor.evaluate import pair
from compressor.evaluate.pair import Opened
from compressor.evaluate.resemblance import ComparedOutputs
from compressor.evaluate.shift_plan import ShiftPlan
from compressor.evaluate.shift_rows import RIGHT, Tally
from compressor.evaluate.shift_samples import RobustnessSamples
from compressor.results.robustness import LeftOut
from compressor.runtime import sessions


@dataclass(frozen=True)
class RunPlace:
    """Which run results are of: the number of the shift, of the first sample, and the labels of the samples."""

    shift: int
    start: int
    labels: Array | None


@dataclass(frozen=True)
class ShiftedRuns:
    """What models gave under shifts.

    Attributes:
        tally: a number for each measure, shift and sample.
        scored: some output was held against labels.
        left_out: what could not be compared, and why.
    """

    tally: Tally
    scored: bool
    left_out: list[LeftOut]


def run_shifted(
    models: Sequence[Opened], samples: RobustnessSamples, plan: ShiftPlan, provider: str, clock: Clock
) -> ShiftedRuns:
    """Runs all models on the same shifted inputs, and compares them with the first.

    Raises:
        UsageError: no output can be compared.
        ModelError: a model does not run.
        ProviderUnavailable: the provider is missing or did not start.
    """
    tally = Tally(plan.shifts, len(samples))
    outputs = _run(models, samples, plan, tally, provider, clock)
    if not tally.outputs:
        reasons = "; ".join(f"{printable(name)}: {reason}" for name, reason in outputs.left_out.items())
        raise UsageError(f"no output can be compared ({reasons}); robustness needs one with a row for each sample")
    left_out = [LeftOut(what=f"output {printable(name)!r}", reason=reason) for name, reason in outputs.left_out.items()]
    if samples.labels is not None and not outputs.scored:
        left_out.append(LeftOut(what="accuracy", reason="no output holds a score of each class for each label"))
    return ShiftedRuns(tally, bool(outputs.scored), left_out)


def _run(
    models: Sequence[Opened],
    samples: RobustnessSamples,
    plan: ShiftPlan,
    tally: Tally,
    provider: str,
    clock: Clock,
) -> ComparedOutputs:
    """Fills the tally; returns what outputs were compared by."""
    opened = [(sessions.start_session(model.runs, provider, sessions.Setup(placement=True)), model) for model in models]
    for session, _ in opened:
        sessions.demand_active(session, provider)
    outputs, start = ComparedOutputs(samples.labels), 0
    for batch in samples.batches():
        clock.tell(f"run: samples {start + 1} to {start + len(batch)} of {len(samples)}")
        # Models inside shifts and shifts inside batches: every model sees the same draw, and one batch is held at a
        # time.
        for number, shift in enumerate(plan.shifts):
            for draw in range(shift.draws):
                inputs = plan.disturbance(batch.inputs, shift, draw, start)
                results = [_results(session, model, inputs) for session, model in opened]
                # The first run is of clean inputs, by which outputs are told apart.
                if not (start or number or draw):
                    outputs.decide(results[0], len(batch))
                _record(tally, outputs, results, RunPlace(number, start, batch.labels))
        start += len(batch)
    return outputs


def _results(session: sessions.Session, model: Opened, inputs: Mapping[str, Array]) -> dict[str, Array]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, sessions.run_session(session, pair.cast(dict(inputs), model)), strict=True))


def _record(tally: Tally, outputs: ComparedOutputs, results: Sequence[Mapping[str, Array]], place: RunPlace) -> None:
    """Compares the outputs of one run of all models, and holds them against the labels."""
    for model, found in enumerate(results):
        if outputs.scored:
            tally.add((model, "", RIGHT), place.shift, place.start, outputs.right(found, np.asarray(place.labels)))
        for name in [name for name in found if model and name not in outputs.left_out]:
            measures = outputs.compare(name, results[0][name], found[name])
            for kind, values in measures.items():
                tally.add((model, name, kind), place.shift, place.start, values)
            if not measures:
                # Shapes that differ in one batch make all numbers of this output worthless.
                tally.drop(name)
