"""What quantization reports, with stable JSON keys."""

from pydantic import Field

from compressor.results.base import Record
from compressor.results.records import Report


class QuantizedRow(Record):
    """A weight of a linear operator."""

    name: str
    label: str = Field(description="What it is called: its name, or the module that reads it.")
    weights: int
    quantized: bool


class QuantizeReport(Report):
    """The result of quantising one model."""

    schema_name: str = Field(default="onnx-compressor.quantize/1", alias="schema")
    mode: str = Field(default="static", description="static, dynamic or int4.")
    weights: list[QuantizedRow] = Field(default=[], description="Weights of linear operators of real numbers.")
    calibrated: int = Field(default=0, description="Samples that ranges of activations were taken from.")
