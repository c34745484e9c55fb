"""What a command prints as JSON where it fails before it has a report."""

from pydantic import Field

from compressor.results.records import Document


class Failure(Document):
    """Why a command failed."""

    schema_name: str = Field(default="onnx-compressor.error/1", alias="schema")
    command: str = Field(description="As it was called, such as `onnx-compress verify`.")
    kind: str = Field(description="Class of the error in `compressor.errors`, or of Python's; Interrupted, Terminated.")
    exit_code: int
    message: str = Field(description="What stderr says, in full.")
    remedy: str | None = Field(
        default=None, description="What stands behind the fact in the message: what to do; else null."
    )
