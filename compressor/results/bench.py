"""What a latency measurement reports; timings carry the names that ONNX Runtime's benchmark tools give them."""

from pydantic import Field

from compressor.results.base import Record
from compressor.results.records import ModelStats, RunDocument


class LatencyStats(Record):
    """Time of single runs of one model; milliseconds unless said otherwise."""

    test_times: int = Field(description="Timed runs.")
    average_latency_ms: float
    latency_variance: float = Field(description="Variance of the seconds, times 1000, as ONNX Runtime's tools have it.")
    latency_90_percentile: float
    latency_95_percentile: float
    latency_99_percentile: float
    QPS: float = Field(description="Samples in a second: batch size over average latency.")
    median_latency_ms: float
    min_latency_ms: float
    max_latency_ms: float
    spread: float = Field(description="Interquartile range as a share of the median.")
    load_ms: float = Field(description="Median time until a session was ready.")
    first_load_ms: float = Field(description="The same for the first session of the run.")
    peak_memory: int | None = Field(
        description="Bytes by which loading and running it grew the largest resident set of a process of its own."
    )
    settled_memory: int | None = Field(description="Bytes by which the resident set had grown after the last run.")
    device_memory: int | None = Field(
        description="Bytes by which the memory in use on the accelerator grew, all its users together."
    )
    nodes: dict[str, int] = Field(description="Nodes that each execution provider took, before they are fused.")


class SpeedUpResult(Record):
    """How many times as fast the second model is as the first."""

    value: float = Field(description="Ratio of the medians; above 1, the second is faster.")
    low: float
    high: float
    level: float = Field(description="Confidence of the interval.")
    block: int = Field(description="Neighbouring pairs that were resampled together.")


class OperatorTime(Record):
    """Milliseconds of one run that an operator type takes, in both models."""

    op_type: str = Field(description="As it ran, such as FusedConv.")
    count_a: int
    count_b: int | None = Field(description="Null where one model was measured.")
    ms_a: float
    ms_b: float | None


class NodeTimeRow(Record):
    """Milliseconds of one run that a node takes; a side that does not have it is null."""

    name: str = Field(description="Of the node that ran; the runtime names what it fuses.")
    op_type: str
    provider: str
    ms_a: float | None
    ms_b: float | None


class BenchRun(Record):
    """Both models at one batch size."""

    batch_size: int | None = Field(description="Samples in one run; null where inputs do not share a first dimension.")
    inputs: dict[str, list[int]] = Field(description="Shape by input name.")
    rounds: int = Field(description="How often the models were loaded anew.")
    a: LatencyStats
    b: LatencyStats | None
    speed_up: SpeedUpResult | None = Field(description="Null where one model was measured.")
    noisy: bool = Field(description="The machine was too busy for the numbers to mean much.")
    operators: list[OperatorTime] = Field(default=[], description="With --profile, by time.")
    nodes: list[NodeTimeRow] = Field(default=[], description="With --profile, in the order in which they ran.")


class BenchReport(RunDocument):
    """The result of measuring one model, or two in turns."""

    schema_name: str = Field(default="onnx-compressor.bench/1", alias="schema")
    engine: str = "onnxruntime"
    providers: str = Field(description="The execution provider asked for, by its full name.")
    io_binding: bool = Field(description="Inputs and outputs were in the accelerator's memory.")
    cuda_graph: bool
    threads: int = Field(description="Threads inside an operator; 0 stands for the runtime's choice.")
    a: ModelStats
    b: ModelStats | None
    runs: list[BenchRun]

    def headline(self) -> list[tuple[str, str]]:
        """Median times, and the speed-up with its interval, by batch size."""
        rows = []
        for run in self.runs:
            size = f" at batch {run.batch_size}" if run.batch_size else ""
            times = [f"{column.median_latency_ms:.3g} ms" for column in (run.a, run.b) if column is not None]
            rows.append((f"median{size}", " -> ".join(times)))
            if run.speed_up is not None:
                found = run.speed_up
                interval = f"{found.level:.0%} interval {found.low:.2f} to {found.high:.2f}"
                noisy = ", noisy" if run.noisy else ""
                rows.append((f"speed{size}", f"{found.value:.2f} times as fast, {interval}{noisy}"))
        return rows
