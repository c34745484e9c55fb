"""Times of models in memory against the original: of their operators, and end to end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from compressor.config import PruneSettings
from compressor.config.bench import CONFIDENCE
from compressor.core.arrays import Floats
from compressor.core.scratch import scratch
from compressor.evaluate import pair
from compressor.evaluate.statistics import speed_up
from compressor.graph.disk.stream import write_beside
from compressor.results.detail import LatencyResult
from compressor.results.environment import environment

RUNS, TIMING_SECONDS, MAX_SECONDS, IN_TURNS = 40, 1.0, 20.0, 5
WARMUP_RUNS, WARMUP_SECONDS = 3, 0.05
PRECISION = 0.02
"""Half the width of the interval up to which a measurement is repeated."""
MOST_REPEATS = 4
"""How often it is made at most."""
OPEN_SIZES = (
    "the model leaves {} open and sizes were made up, on which latency depends; give those you deploy with --dim or "
    "--input-shape"
)


class Timer(Protocol):
    """Measures models against one original."""

    @property
    def warnings(self) -> list[str]:
        """What a reader of the numbers should know."""
        ...

    def made_for(self) -> dict[str, Any]:
        """What decides the times besides the graph, as JSON values."""
        ...

    def operators(self, model: ir.Model) -> Mapping[str, float]:
        """Share of a run of the original by the name of what ran, in the order in which it ran."""
        ...

    def against(self, model: ir.Model) -> LatencyResult:
        """Runs of the model and of the original, in turns."""
        ...


class RuntimeTimer:
    """Measures in ONNX Runtime, on the provider and at the batch size and threads of the settings.

    Args:
        original: what times are held against.
        settings: of the run.

    Raises:
        UsageError: the model fixes another batch size than the one asked for.
    """

    def __init__(self, original: ir.Model, settings: PruneSettings) -> None:
        from compressor.runtime import sessions  # noqa: PLC0415 - imports the runtime

        self._original, self._settings = original, settings
        with scratch() as folder:
            opened = pair.open_model(_written(original, folder, "original"))
            dims = dict.fromkeys(pair.batch_symbols(opened, settings), settings.batch)
            # The same inputs for every model, as times depend on their sizes.
            self._feeds = pair.seeded(opened, pair.bind(opened, settings, dims), settings.seed)
        made_up = ", ".join(sorted(pair.open_symbols(opened, settings) - set(dims)))
        self.warnings = [OPEN_SIZES.format(made_up)] if made_up else []
        self._batch = pair.batch_of(self._feeds, settings.batch if settings.batch > 1 and not dims else None)
        self._provider = sessions.full_name(settings.provider)
        self._setup = sessions.Setup(threads=settings.threads, polite=True, guarded=False)
        self._surroundings = environment(sessions.device_name(settings.provider))

    def made_for(self) -> dict[str, Any]:
        """Device, runtime, provider, threads and the shapes of the inputs."""
        packages = self._surroundings.packages.items()
        return {
            "device": self._surroundings.device,
            "cores": self._surroundings.cores,
            "runtime": {name: version for name, version in packages if name.startswith("onnxruntime")},
            "provider": self._provider,
            "threads": self._settings.threads,
            "inputs": {name: list(array.shape) for name, array in self._feeds.items()},
        }

    def operators(self, model: ir.Model) -> Mapping[str, float]:
        """See :class:`Timer`; raises ProviderUnavailable and ModelError."""
        from compressor.runtime import turns  # noqa: PLC0415 - imports the runtime

        with self._files(model) as (original, candidate):
            return turns.operator_shares(original, candidate, self._provider, self._feeds, self._setup)

    def against(self, model: ir.Model) -> LatencyResult:
        """See :class:`Timer`; raises ProviderUnavailable and ModelError."""
        from compressor.runtime import latency  # noqa: PLC0415 - imports the runtime

        series: list[list[Floats]] = [[], []]
        with self._files(model) as paths:
            subjects = [latency.TimedModel(path, self._provider, self._feeds, self._setup) for path in paths]
            # Rounds of all repetitions are pooled: more rounds narrow the interval, as a fresh measurement would not.
            for repeat in range(MOST_REPEATS):
                seed = self._settings.seed + repeat
                timing = latency.Timing(RUNS, TIMING_SECONDS, MAX_SECONDS, WARMUP_RUNS, WARMUP_SECONDS, IN_TURNS, seed)
                for rounds, more in zip(series, latency.time_in_turns(subjects, timing), strict=True):
                    rounds.extend(more.seconds)
                found = speed_up(series[0], series[1], CONFIDENCE, seed)
                # The interval is symmetric as a ratio, hence the square.
                if found.high <= found.low * (1 + PRECISION) ** 2:
                    break
        before, after = (1000 * float(np.median(np.concatenate(rounds))) for rounds in series)
        return LatencyResult(
            before_ms=before,
            after_ms=after,
            low=found.low,
            high=found.high,
            level=CONFIDENCE,
            provider=self._provider,
            device=self._surroundings.device,
            batch=self._batch,
            inputs={name: list(array.shape) for name, array in self._feeds.items()},
        )

    @contextmanager
    def _files(self, model: ir.Model) -> Iterator[tuple[Path, Path]]:
        """The original and ``model`` as files."""
        with scratch() as folder:
            yield _written(self._original, folder, "original"), _written(model, folder, "candidate")


def _written(model: ir.Model, folder: Path, name: str) -> Path:
    path = folder / f"{name}.onnx"
    write_beside(model, path)
    return path
