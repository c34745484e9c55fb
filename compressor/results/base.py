"""The base of every record, and text that is safe in JSON."""

import os
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _readable(path: object) -> object:
    """Bytes of a path that are no UTF-8 cannot stand in JSON; they are shown as escapes."""
    if isinstance(path, (str, os.PathLike)):
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    return path


PathText = Annotated[str, BeforeValidator(_readable)]


class Record(BaseModel):
    """Base of all records: immutable, no unknown keys."""

    # Deferred: a run uses few of the records, and building all of them takes longer than loading numpy.
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)
