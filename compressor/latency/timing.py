"""Times of models in memory against the original: of their operators, and end to end."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from compressor.config import PruneSettings
from compressor.judge import pair
from compressor.judge.statistics import Floats, speed_up
from compressor.report.detail import LatencyResult
from compressor.report.environment import environment

RUNS, SECONDS, MAX_SECONDS, ROUNDS = 40, 1.0, 20.0, 5
WARMUP_RUNS, WARMUP_SECONDS = 3, 0.05
LEVEL = 0.99
PRECISION = 0.02
"""Half the width of the interval up to which a measurement is repeated."""
REPEATS = 4
"""How often it is made at most."""


class Timer(Protocol):
    """Measures models against one original."""

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
        ProviderUnavailable: the provider is missing, did not start, or took no node.
        ModelError: a model does not run.
    """

    def __init__(self, original: ir.Model, settings: PruneSettings) -> None:
        from compressor.runtime import sessions  # noqa: PLC0415 - imports the runtime

        self._settings = settings
        self._folder = tempfile.TemporaryDirectory(prefix="onnx-compressor-")
        self._original = self._write(original, "original")
        opened = pair.open_model(self._original)
        dims = dict.fromkeys(pair.batch_symbols(opened, settings), settings.batch)
        self._feeds = pair.seeded(opened, pair.bind(opened, settings, dims), settings.seed)
        self._provider = sessions.full_name(settings.provider)
        self._device = environment(sessions.device_name(settings.provider))
        sizes = {array.shape[0] for array in self._feeds.values() if array.ndim}
        self._batch: int | None = sizes.pop() if len(sizes) == 1 else None

    def made_for(self) -> dict[str, Any]:
        """Device, runtime, provider, threads and the shapes of the inputs."""
        runtime = {name: version for name, version in self._device.packages.items() if name.startswith("onnxruntime")}
        return {
            "device": self._device.device,
            "cores": self._device.cores,
            "runtime": runtime,
            "provider": self._provider,
            "threads": self._settings.threads,
            "inputs": {name: list(array.shape) for name, array in self._feeds.items()},
        }

    def operators(self, model: ir.Model) -> Mapping[str, float]:
        """See :class:`Timer`."""
        from compressor.runtime import sessions, turns  # noqa: PLC0415 - imports the runtime

        setup = sessions.Setup(threads=self._settings.threads, polite=True)
        path = self._write(model, "candidate")
        return turns.operator_shares(self._original, path, self._settings.provider, self._feeds, setup)

    def against(self, model: ir.Model) -> LatencyResult:
        """See :class:`Timer`."""
        from compressor.runtime import latency, sessions  # noqa: PLC0415 - imports the runtime

        setup = sessions.Setup(threads=self._settings.threads, polite=True)
        paths = (self._original, self._write(model, "candidate"))
        subjects = [latency.Subject(path, self._settings.provider, self._feeds, setup) for path in paths]
        series: list[list[Floats]] = [[], []]
        for repeat in range(REPEATS):
            seed = self._settings.seed + repeat
            timing = latency.Timing(RUNS, SECONDS, MAX_SECONDS, WARMUP_RUNS, WARMUP_SECONDS, ROUNDS, seed)
            for rounds, more in zip(series, latency.measure(subjects, timing), strict=True):
                rounds.extend(more.seconds)
            found = speed_up(series[0], series[1], LEVEL, seed)
            if found.high <= found.low * (1 + PRECISION) ** 2:
                break
        before, after = (1000 * float(np.median(np.concatenate(one))) for one in series)
        return LatencyResult(
            before_ms=before,
            after_ms=after,
            low=found.low,
            high=found.high,
            level=LEVEL,
            provider=self._provider,
            device=self._device.device,
            batch=self._batch,
        )

    def _write(self, model: ir.Model, name: str) -> Path:
        path = Path(self._folder.name) / f"{name}.onnx"
        ir.save(model, path, external_data=f"{name}.data", max_workers=1)
        return path
