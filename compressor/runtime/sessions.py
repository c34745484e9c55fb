"""ONNX Runtime sessions: the one place that imports it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from compressor.config import PROVIDERS
from compressor.errors import ModelError, ProviderUnavailable

Array = npt.NDArray[np.generic]


def open_session(path: Path, provider: str, *, optimise: bool = True) -> ort.InferenceSession:
    """A session on the provider asked for, CPU as its fall-back for single nodes only.

    Args:
        path: the model file; never bytes, so that external data is found and checked.
        provider: short or full name.
        optimise: graph optimisations on.

    Raises:
        ProviderUnavailable: it is not installed, or did not become active.
        ModelError: ONNX Runtime refuses the model.
    """
    name = PROVIDERS.get(provider, provider)
    if name not in ort.get_available_providers():
        raise ProviderUnavailable(
            f"provider {name} is not available here; available: {', '.join(ort.get_available_providers())}"
        )
    if name != "CPUExecutionProvider":
        with redirect_stdout(sys.stderr):  # it prints what it does not find, and stdout is for results
            ort.preload_dlls()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    chosen = [name] if name == "CPUExecutionProvider" else [name, "CPUExecutionProvider"]
    try:
        session = ort.InferenceSession(str(path), options, providers=chosen)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
        raise ModelError(f"ONNX Runtime refuses the model: {_sentence(error)}") from None
    if name not in session.get_providers():
        raise ProviderUnavailable(
            f"provider {name} is installed but did not start (driver or libraries missing)"
        )
    return session


def run(
    session: ort.InferenceSession, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
) -> list[Array]:
    """Outputs of one run; raises ModelError with the runtime's own words where it fails."""
    try:
        return [np.asarray(a) for a in session.run(list(outputs) if outputs else None, dict(feeds))]
    except Exception as error:  # noqa: BLE001 - as above
        raise ModelError(f"the model does not run: {_sentence(error)}") from None


def _sentence(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]
