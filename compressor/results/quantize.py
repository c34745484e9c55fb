"""What quantization reports, with stable JSON keys."""

from pydantic import Field

from compressor.results.base import Record
from compressor.results.records import AVAILABLE, Report


class QuantizedRow(Record):
    """A weight of a linear or recurrent operator."""

    name: str
    label: str = Field(description="What it is called: its name, or the module that reads it.")
    operator: str = Field(default="", description="Operator that reads it, such as Conv.")
    weights: int
    quantized: bool


class ModeRow(Record):
    """A mode that --mode auto tried."""

    mode: str = Field(description="static or dynamic.")
    distance: float | None = Field(
        default=None, description="‖y - y₀‖ / ‖y₀‖ on the samples that both were tried on; null where nothing compares."
    )
    output: str = Field(default="", description="The output that moved most; empty where there is one alone.")
    agreement: float | None = Field(
        default=None, description="Share of places whose largest class is the original's; null without scores."
    )
    quantized: float = Field(default=0.0, description="Share of the numbers of weights that it took.")
    refused: str | None = Field(default=None, description="Why nothing was made; null where something was.")


class QuantizeReport(Report):
    """The result of quantising one model."""

    schema_name: str = Field(default="onnx-compressor.quantize/1", alias="schema")
    mode: str = Field(default="static", description="static, dynamic or int4: what was done.")
    why: str | None = Field(default=None, description="Why that mode, where --mode auto chose it.")
    tried: list[ModeRow] = Field(default=[], description="What --mode auto tried; empty where a mode was given.")
    weights: list[QuantizedRow] = Field(
        default=[], description="Weights of real numbers of linear and recurrent operators."
    )
    calibrated: int = Field(default=0, description="Samples that ranges of activations were taken from.")
    available: int | None = Field(default=None, description=AVAILABLE)

    def headline(self) -> list[tuple[str, str]]:
        """Sizes and accuracy, and how far outputs moved: nothing is proved of rounded weights."""
        return [row for row in super().headline() if row[0] != "proof"]
