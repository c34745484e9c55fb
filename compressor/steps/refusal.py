"""Is a failure ours, or does ONNX Runtime not run the file either?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import onnx_ir as ir

from compressor.config import RunSettings
from compressor.core.scratch import scratch
from compressor.errors import CompressorError, ModelError, ProofFailed, RuleFault
from compressor.graph.disk.joined import ModelOrigin
from compressor.pruning.cut.analysis import prepared_model
from compressor.pruning.proofs.preparation import NOT_RUNNING
from compressor.pruning.proofs.runs.chained import runnable_given
from compressor.pruning.proofs.runs.inputs import Inputs
from compressor.runtime.stored import Answers


@contextmanager
def blamed_on(read: Callable[[], tuple[ModelOrigin, ir.Model]], settings: RunSettings) -> Iterator[None]:
    """Where what was made of a file fails its proof, a file that ONNX Runtime does not run either is told of instead.

    Args:
        read: gives the file, several of a joined model, or a model in memory, and what was read from it.
        settings: sizes of inputs, seed and provider.

    Raises:
        ModelError: it does not run.
    """
    try:
        yield
    except (ProofFailed, RuleFault):
        if (refused := _refusal(*read(), settings)) is not None:
            raise refused from None
        raise


def demand_running(given: ModelOrigin, model: ir.Model, settings: RunSettings) -> None:
    """Refuses what ONNX Runtime does not run as it was read, where all is to be proved, before any work is done on it.

    For commands that prove nothing of the graph that they prepare, and write what is run before it is put in place.

    Args:
        given: the file, or a model in memory.
        model: what was read from it.
        settings: sizes of inputs, seed and provider.

    Raises:
        ModelError: it does not run.
    """
    if settings.verify == "full" and (refused := _refusal(given, model, settings)) is not None:
        raise ModelError(f"{str(refused).rstrip(' .')}; export it anew or mend that")


def _refusal(given: ModelOrigin, model: ir.Model, settings: RunSettings) -> ModelError | None:
    """What is wrong with a file that ONNX Runtime does not run as it was read, in a sentence; None where it runs.

    Asked once something has failed: a file may be sound by ONNX's checks and still be one that no runtime takes. Its
    smaller form then fails in ways that look like a fault of this tool.
    """
    try:
        prepared, shapes = prepared_model(model, settings)
        inputs = Inputs(prepared, shapes, settings.seed)
        with scratch() as folder:
            # As its users load it: the runtime's optimisations may be what does not run.
            stored = runnable_given(given, prepared, folder, settings.provider, optimised=True)
            Answers.to_some(stored, inputs.both, inputs.instead(), enough=1)
    except ModelError as error:
        return ModelError(NOT_RUNNING.format(error=error))
    except CompressorError:
        return None  # of memory or a provider, say, which is no word on the model
    return None
