"""What a parity check reports: how far the outputs of two models are apart, and where they part."""

from pydantic import Field

from compressor.core.formatting import printable
from compressor.results.base import PathText, Record
from compressor.results.detail import AccuracyRow
from compressor.results.records import RunDocument


class OutputRow(Record):
    """How far one output of B is from that of A, over all inputs; infinite errors are null in JSON."""

    name: str
    type_a: str = Field(description="Element type in A.")
    type_b: str
    max_abs_err: float = Field(description="Largest difference; for integers, the share of positions that differ.")
    mean_abs_err: float
    max_rel_err: float = Field(description="Largest difference as a share of the largest value of A in the same run.")
    cosine: float | None = Field(description="Smallest cosine similarity of a run; null where it means nothing.")
    agreement: float | None = Field(
        description="Share of rows whose largest entry is at the same place, for outputs [n, classes]; else null."
    )
    distance: float = Field(
        description="Norm of the difference as a share of that of A, over all runs, of the part that moved most."
    )
    tolerance: float = Field(description="Relative error allowed.")
    compared: int = Field(description="Finite entries that were compared.")
    worst_run: int = Field(description="Index in runs of the largest error.")
    passed: bool
    left_out: str | None = Field(default=None, description="Why it cannot be compared; null where it was.")


class VerifyRun(Record):
    """One set of inputs."""

    source: str = Field(description="data, or seeded inputs.")
    inputs: dict[str, list[int]] = Field(description="Shape by input name.")
    samples: int | None = Field(default=None, description="How many of the data; null of seeded inputs.")
    passed: bool


class LayerError(Record):
    """A value inside both models, of the same name and shape."""

    value: str
    node: str = Field(description="The node of A that computes it.")
    op_type: str
    max_abs_err: float
    max_rel_err: float
    passed: bool


class Divergence(Record):
    """Where the models part."""

    run: int = Field(description="Index in runs of the inputs that were used.")
    first: LayerError | None = Field(description="The first value, in the order of A's nodes, beyond tolerance.")
    weights: list[str] = Field(description="Initializers of that node whose values differ.")
    layers: list[LayerError] = Field(description="Every value that was compared, in the order of A's nodes.")
    shared: int = Field(description="Values that both models have under the same name.")
    total: int = Field(description="Values that nodes of A compute.")
    sessions: int = Field(description="Sessions that were opened to expose them.")
    resized: list[str] = Field(default=[], description="Values before the first that have other sizes in B.")


class VerifyReport(RunDocument):
    """The result of holding two models against each other."""

    schema_name: str = Field(default="onnx-compressor.verify/1", alias="schema")
    a: PathText
    b: PathText
    provider_a: str
    provider_b: str
    passed: bool = Field(description="Every output is within tolerance.")
    made_by: list[dict[str, str]] = Field(
        default=[], description="What B says was done to A to make it: facts by command, first to last."
    )
    meant: bool = Field(
        default=False, description="A difference is no failure: made_by changes outputs, and no limit was given."
    )
    outputs: list[OutputRow]
    runs: list[VerifyRun]
    divergence: Divergence | None = Field(default=None, description="Null when it was not looked for.")
    accuracy: list[AccuracyRow] = Field(default=[], description="The metric of A and B, with --eval.")

    def headline(self) -> list[tuple[str, str]]:
        """The verdict, and the worst output."""
        worst = max(self.outputs, key=lambda row: row.max_rel_err)
        error = f"{worst.max_rel_err:.1e} of its range in {printable(worst.name)} (allowed {worst.tolerance:.1e})"
        where = self.divergence.first.node if self.divergence and self.divergence.first else ""
        parted = [("first difference", printable(where))] if where else []
        verdict = "the same" if self.passed else "differ, as they are meant to" if self.meant else "differ"
        return [("outputs", verdict), ("largest error", error), *parted]
