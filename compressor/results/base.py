"""The base of every record, and text that is safe in JSON."""

import html
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


class Summarised:
    """Shows itself in an interpreter by its few most important facts: as one line, and in notebooks as a table."""

    def headline(self) -> list[tuple[str, str]]:
        """Name and value of each fact, in words."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {'; '.join(f'{name} {value}' for name, value in self.headline())}>"

    def _repr_html_(self) -> str:
        cell = '<td style="text-align:left">'
        rows = "".join(
            f"<tr>{cell}{html.escape(name)}</td>{cell}{html.escape(value)}</td></tr>" for name, value in self.headline()
        )
        return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"
