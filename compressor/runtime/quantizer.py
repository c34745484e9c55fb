"""ONNX Runtime's own quantiser: int8 with calibrated or dynamic activations, and 4-bit weights.

https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

import logging
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressor.core.arrays import Array
from compressor.errors import CompressorError, ModelError
from compressor.runtime.library import silenced
from compressor.runtime.sessions import full_name

Feed = Mapping[str, Array]
QUANTISER_REMEDY = "leave nodes out with --exclude, or choose another --mode"
"""What a user can do where the quantiser does not know a model."""


@dataclass(frozen=True)
class Quantization:
    """What the quantiser is asked for.

    Attributes:
        per_channel: a scale for each output of a weight; otherwise one for a weight.
        calibration: ``minmax``, ``entropy`` or ``percentile``: how the range of an activation is taken from samples.
        block: inputs that share a scale, of 4-bit weights.
        left: names of nodes that are left alone.
        large: the model does not fit into one file of 2 GiB.
    """

    per_channel: bool
    calibration: str
    block: int
    left: Sequence[str]
    large: bool


def optimised(source: Path, output: Path) -> None:
    """Writes the model as the quantiser wants it: batch norms folded away, shapes inferred.

    Where ONNX Runtime cannot optimise it, shapes alone are inferred.

    Raises:
        ModelError: not even that.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415 - slow to import

    with _guarded("cannot be prepared for quantization"):
        try:
            quant_pre_process(str(source), str(output), skip_symbolic_shape=True)
        except (RuntimeError, ValueError, TypeError):  # what ONNX Runtime raises where it cannot optimise
            quant_pre_process(str(source), str(output), skip_symbolic_shape=True, skip_optimization=True)


def static(source: Path, output: Path, feeds: Iterable[Feed], asked: Quantization, provider: str) -> None:
    """Weights and activations in int8, as QuantizeLinear and DequantizeLinear; ranges of activations are calibrated.

    Args:
        source: the model.
        output: the file to write.
        feeds: samples, in batches.
        asked: by channel or not, and how ranges are calibrated.
        provider: where the samples are run.

    Raises:
        ModelError: the quantiser refuses the model, or it does not run on the samples.
    """
    from onnxruntime import quantization as q  # noqa: PLC0415 - slow to import

    class Reader(q.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(feeds)

        def get_next(self) -> dict[str, Any] | None:  # type: ignore[override]  # None ends it
            return next((dict(feed) for feed in self.batches), None)

    methods = {
        "minmax": q.CalibrationMethod.MinMax,
        "entropy": q.CalibrationMethod.Entropy,
        "percentile": q.CalibrationMethod.Percentile,
    }
    with _guarded("cannot be quantised"):
        q.quantize_static(
            str(source),
            str(output),
            Reader(),
            quant_format=q.QuantFormat.QDQ,
            per_channel=asked.per_channel,
            activation_type=q.QuantType.QInt8,
            weight_type=q.QuantType.QInt8,
            nodes_to_exclude=list(asked.left),
            use_external_data_format=asked.large,
            calibrate_method=methods[asked.calibration],
            calibration_providers=[full_name(provider)],
        )


def dynamic(source: Path, output: Path, asked: Quantization) -> None:
    """Weights in int8; activations are quantised while the model runs, by the range that they have then.

    Raises:
        ModelError: the quantiser refuses the model.
    """
    from onnxruntime import quantization as q  # noqa: PLC0415 - slow to import

    with _guarded("cannot be quantised"):
        q.quantize_dynamic(
            str(source),
            str(output),
            per_channel=asked.per_channel,
            weight_type=q.QuantType.QInt8,
            nodes_to_exclude=list(asked.left),
            use_external_data_format=asked.large,
        )


def taken_dynamically(operator: str) -> bool:
    """Does the quantiser know how to store weights of such an operator, whose activations stay real numbers outside?"""
    from onnxruntime.quantization.registry import IntegerOpsRegistry  # noqa: PLC0415 - slow to import

    return operator in IntegerOpsRegistry


def taken_in_four_bits(operator: str) -> bool:
    """Does :func:`four_bits` store weights of such an operator?"""
    from onnxruntime.quantization.matmul_nbits_quantizer import (  # noqa: PLC0415 - slow to import
        DefaultWeightOnlyQuantConfig,
    )

    return operator in DefaultWeightOnlyQuantConfig().op_types_to_quantize


def four_bits(source: Path, output: Path, asked: Quantization) -> None:
    """Weights of matrix products in 4 bits (``com.microsoft::MatMulNBits``), a scale for every ``block`` inputs.

    Raises:
        ModelError: the quantiser refuses the model.
    """
    import onnx  # noqa: PLC0415
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer  # noqa: PLC0415 - slow to import

    with _guarded("cannot be quantised"):
        quantizer: Any = MatMulNBitsQuantizer(
            onnx.load(source), bits=4, block_size=asked.block, is_symmetric=True, nodes_to_exclude=list(asked.left)
        )
        quantizer.process()
        quantizer.model.save_model_to_file(str(output), asked.large)


@contextmanager
def _guarded(fact: str) -> Iterator[None]:
    """Errors as sentences, and none of the quantiser's advice on the terminal."""
    try:
        # The log first, which one thread silences at a time: what the others put back is then what was there before.
        with silenced(), _no_advice(), _random_names(), warnings.catch_warnings(action="ignore"):
            yield
    except CompressorError:
        raise
    except Exception as error:  # the quantiser raises whatever its operators meet
        text = " ".join(str(error).split())[:300].rstrip(" .;:") or type(error).__name__
        raise ModelError(f"the model {fact} by ONNX Runtime: {text}; {QUANTISER_REMEDY}") from error


@contextmanager
def _no_advice() -> Iterator[None]:
    """Inside, the root logger tells no errors: the quantiser logs advice there."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(level)


@contextmanager
def _random_names() -> Iterator[None]:
    """Inside, uuid1, by which onnx names files, gives random names, and asks no network card for its address."""
    by_address, uuid.uuid1 = uuid.uuid1, lambda *_: uuid.uuid4()
    try:
        yield
    finally:
        uuid.uuid1 = by_address
